import { spawn } from 'node:child_process';
import { once } from 'node:events';
import WebSocket from 'ws';
import { eventually } from './app.js';
import { CHROMIUM_ARGUMENTS, chromiumProgram } from './chromium.js';
import { temporaryFolder } from './server.js';

/** A tab of a window. */
interface Tab {
  /** The value of an expression in its page. */
  evaluate(expression: string): Promise<any>;
  /** Brings it to the front: the tab that was there is hidden. */
  show(): Promise<void>;
  close(): Promise<void>;
}

export interface Tabs {
  open(url: string, cookies?: readonly { name: string; value: string }[]): Promise<Tab>;
  close(): Promise<void>;
}

/**
 * A window of Chromium with tabs of which one is in front, and the others are hidden. Playwright makes each page believe that
 * it is in front; so here the browser is spoken to by its own protocol.
 */
export async function startTabs(): Promise<Tabs> {
  const { folder, remove } = temporaryFolder();
  const args = [...CHROMIUM_ARGUMENTS, '--headless=new', '--remote-debugging-port=0', `--user-data-dir=${folder}`];
  const browser = spawn(chromiumProgram(), args, { stdio: ['ignore', 'ignore', 'pipe'] });
  const ended = once(browser, 'close');
  const address = await new Promise<string>((resolve, reject) => {
    let told = '';
    browser.stderr.on('data', (data: Buffer) => {
      told += data.toString();
      const found = /DevTools listening on (ws:\S+)/.exec(told);
      if (found) resolve(found[1]!);
    });
    browser.once('close', () => reject(new Error(told)));
  });
  const socket = new WebSocket(address);
  await once(socket, 'open');
  const waiting = new Map<number, { resolve: (result: any) => void; reject: (error: Error) => void }>();
  socket.on('message', (data: Buffer) => {
    const { id, result, error } = JSON.parse(data.toString());
    const asked = waiting.get(id);
    waiting.delete(id);
    if (error) asked?.reject(new Error(error.message));
    else asked?.resolve(result);
  });
  let lastId = 0;
  const send = (method: string, params: object, sessionId?: string): Promise<any> =>
    new Promise((resolve, reject) => {
      waiting.set((lastId += 1), { resolve, reject });
      socket.send(JSON.stringify({ id: lastId, method, params, sessionId }));
    });

  return {
    async open(url, cookies = []) {
      const { targetId } = await send('Target.createTarget', { url: 'about:blank' });
      const { sessionId } = await send('Target.attachToTarget', { targetId, flatten: true });
      for (const { name, value } of cookies) await send('Network.setCookie', { name, value, url }, sessionId);
      await send('Page.navigate', { url }, sessionId);
      return {
        async evaluate(expression) {
          const answer = await send(
            'Runtime.evaluate',
            { expression, awaitPromise: true, returnByValue: true },
            sessionId,
          );
          if (answer.exceptionDetails) throw new Error(answer.exceptionDetails.text);
          return answer.result.value;
        },
        show: () => send('Target.activateTarget', { targetId }),
        // As somebody closes it: the page is told. When this resolves, the page has gone: a tab that is closed at the same time
        // would still count on it.
        async close() {
          await send('Page.close', {}, sessionId);
          await eventually(async () => {
            const { targetInfos } = await send('Target.getTargets', {});
            return !targetInfos.some((one: { targetId: string }) => one.targetId === targetId);
          });
        },
      };
    },
    async close() {
      socket.close();
      browser.kill();
      await ended;
      remove();
    },
  };
}
