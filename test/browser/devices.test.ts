import { readFileSync } from 'node:fs';
import { createServer, request as ask, type Server } from 'node:http';
import { createRequire } from 'node:module';
import { connect as connectTo, type AddressInfo } from 'node:net';
import path from 'node:path';
import type { Browser, BrowserContext, Page } from 'playwright-core';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { createProject, eventually, post, startTestApp, type TestApp } from '../support/app.js';
import { startChromium } from '../support/chromium.js';
import { createTestDatabase, type TestDatabase } from '../support/database.js';
import { startProxy } from '../support/proxy.js';

/** Two devices and two tabs of one user, each a page of a site, and a page that watches. */

const clientFolder = path.dirname(createRequire(import.meta.url).resolve('graphql-ws/package.json'));
const client = readFileSync(path.join(clientFolder, 'umd/graphql-ws.min.js'), 'utf8');

/** Longer than one tab that closed is waited for (rule 21: 5 seconds). Milliseconds. */
const GRACE = 6_000;
/** On a busy machine a tab's own heartbeats may look like those of two: then it is waited for 35 seconds (rule 29). Milliseconds. */
const PATIENCE = 60_000;

/** A page of the site: its device begins the session, each of its tabs says that it is there, and says so when it closes. */
const tabOf = (key: string): string => `<!doctype html><title>Tab</title><script type="module">
  const sessionKey = localStorage.device ??= new URLSearchParams(location.search).get('device');
  const ask = (query, variables, keepalive = false) =>
    fetch('/graphql', {
      method: 'POST',
      keepalive,
      headers: { 'Content-Type': 'application/json', Authorization: 'Bearer ${key}' },
      body: JSON.stringify({ query, variables }),
    }).then((response) => response.json());
  const beat = (close = false) =>
    ask('mutation ($input: HeartbeatInput!) { recordHeartbeat(input: $input) { acknowledged } }', { input: { sessionKey, close } }, close);
  await ask('mutation ($events: [EventInput!]!) { ingestEvents(events: $events) { accepted } }', {
    events: [{ type: 'session', sessionKey, user: { identity: 'ada', name: 'Ada' } }],
  });
  addEventListener('pagehide', () => void beat(true));
  window.heard = [];
  let isLeaving = false;
  async function goOn() {
    while (!isLeaving) {
      const sent = Date.now();
      const { data } = await beat();
      if (data?.recordHeartbeat.acknowledged) window.heard.push(sent);
      await new Promise((resolve) => setTimeout(resolve, 300));
    }
  }
  const going = goOn();
  // A heartbeat under way could overtake the farewell, and mean that another tab is there.
  window.rest = () => {
    isLeaving = true;
    return going;
  };
</script>`;

/** A page that shows who is there, and notes each change in words. */
const watchOf = (
  key: string,
): string => `<!doctype html><title>Watch</title><ul></ul><script>${client}</script><script type="module">
  const online = new Map();
  // What the client asks with when it connects again: from where it was.
  const variables = {};
  window.changes = [];
  window.snapshots = 0;
  graphqlWs
    .createClient({
      url: location.origin.replace('http', 'ws') + '/graphql',
      connectionParams: { authorization: 'Bearer ${key}' },
      retryAttempts: Infinity,
      retryWait: () => new Promise((resolve) => setTimeout(resolve, 200)),
      shouldRetry: () => true,
    })
    .subscribe(
      {
        query: 'subscription ($after: String) { userPresence(after: $after) { kind hasMore cursor users { identity name status onlineSessions devices { key } } } }',
        variables,
      },
      {
        next({ data }) {
          const { kind, hasMore, cursor, users } = data.userPresence;
          if (!hasMore) variables.after = cursor;
          if (kind === 'SNAPSHOT') {
            online.clear();
            window.snapshots += 1;
          }
          for (const user of users) {
            if (user.status === 'ONLINE') online.set(user.identity, user);
            else online.delete(user.identity);
            if (kind === 'DIFF') window.changes.push(user.name + ' ' + user.status + ' ' + user.onlineSessions);
          }
          document.querySelector('ul').replaceChildren(
            ...[...online.values()].map((user) => {
              const item = document.createElement('li');
              item.textContent = user.name + ' on ' + user.devices.map((device) => device.key).sort().join(' and ');
              return item;
            }),
          );
          document.title = 'ready';
        },
        error: console.error,
        complete() {},
      },
    );
</script>`;

let db: TestDatabase;
let app: TestApp;
let site: Server;
let siteUrl: string;
let browser: Browser;
let key: string;
beforeAll(async () => {
  db = await createTestDatabase();
  app = await startTestApp(db);
  key = await createProject(app.url);
  const made = await post(app.url, key, 'mutation { createAccessToken(scopes: [INGEST, PRESENCE]) { token } }');
  site = startSite(Number(new URL(app.url).port), made.data.createAccessToken.token);
  await new Promise<void>((resolve) => site.listen(0, '127.0.0.1', resolve));
  siteUrl = `http://127.0.0.1:${(site.address() as AddressInfo).port}`;
  browser = await startChromium();
}, 300_000);
afterAll(async () => {
  await browser?.close();
  site.close();
  await app.close('test');
  await db.drop();
});

/** A site that has its pages beside the server, under one origin, as behind a reverse proxy. */
function startSite(port: number, token: string): Server {
  const here = createServer((request, response) => {
    const { url = '/', method, headers } = request;
    if (url.startsWith('/site/')) {
      response.writeHead(200, { 'Content-Type': 'text/html' });
      response.end(url.startsWith('/site/watch') ? watchOf(token) : tabOf(token));
      return;
    }
    const there = ask({ port, path: url, method, headers }, (answer) => {
      response.writeHead(answer.statusCode!, answer.headers);
      answer.pipe(response);
    });
    there.on('error', () => response.destroy());
    request.pipe(there);
  });
  here.on('upgrade', (request, socket, head) => {
    const there = connectTo(port, '127.0.0.1');
    const { rawHeaders } = request;
    const lines = rawHeaders.flatMap((name, at) => (at % 2 === 0 ? [`${name}: ${rawHeaders[at + 1]}`] : []));
    there.write(`GET ${request.url} HTTP/1.1\r\n${lines.join('\r\n')}\r\n\r\n`);
    there.write(head);
    there.pipe(socket).pipe(there);
    for (const end of [socket, there]) end.on('error', () => [socket, there].forEach((one) => one.destroy()));
  });
  return here;
}

async function openTab(context: BrowserContext, device: string): Promise<Page> {
  const page = await context.newPage();
  await page.goto(`${siteUrl}/site/tab?device=${device}`);
  // Heard for the first time.
  await page.waitForFunction(() => (globalThis as any).heard?.length > 0);
  return page;
}

/** As somebody closes it between two heartbeats: what it does when it is hidden is done. */
async function closeTab(page: Page): Promise<void> {
  await page.evaluate(() => (globalThis as any).rest());
  await page.close({ runBeforeUnload: true });
}

test('a second device, a second tab and each one that closes: the page that watches shows the devices, and a tab is none', async () => {
  const [desk, laptop, phone] = await Promise.all([1, 2, 3].map(() => browser.newContext()));
  const watching = await desk!.newPage();
  await watching.goto(`${siteUrl}/site/watch`);
  await watching.waitForFunction(() => document.title === 'ready');
  const changes = (): Promise<string[]> => watching.evaluate(() => (globalThis as any).changes);
  const shows = (text: string) => watching.getByText(text, { exact: true }).waitFor({ timeout: PATIENCE });

  const first = await openTab(laptop!, 'laptop-of-ada');
  await shows('Ada on laptop-of-ada');
  const onPhone = await openTab(phone!, 'phone-of-ada');
  await shows('Ada on laptop-of-ada and phone-of-ada');
  const second = await openTab(laptop!, 'laptop-of-ada');

  // One tab closes, the other one says that the laptop is still there, for longer than it would be waited for.
  await closeTab(first);
  const closed = Date.now();
  await second.waitForFunction((until) => (globalThis as any).heard.at(-1) > until, closed + GRACE, {
    timeout: PATIENCE,
  });
  expect(await changes()).toEqual(['Ada ONLINE 1', 'Ada ONLINE 2']);

  // The last tab of the laptop: the phone is left.
  await closeTab(second);
  await shows('Ada on phone-of-ada');
  await closeTab(onPhone);
  await eventually(async () => (await changes()).length === 4, PATIENCE);
  expect(await changes()).toEqual(['Ada ONLINE 1', 'Ada ONLINE 2', 'Ada ONLINE 1', 'Ada OFFLINE 0']);
  expect(await watching.locator('li').count()).toBe(0);

  // Each device was one session, which its client ended.
  const { data } = await post(app.url, key, '{ sessions { nodes { key endReason } } }');
  expect(data.sessions.nodes.map(({ key: device, endReason }: any) => `${device} ${endReason}`).sort()).toEqual([
    'laptop-of-ada CLIENT',
    'phone-of-ada CLIENT',
  ]);
  await Promise.all([desk, laptop, phone].map((device) => device!.close()));
}, 240_000);

test('a page whose connection is lost goes on from where it was: what changed meanwhile, and no second snapshot', async () => {
  const proxy = await startProxy((site.address() as AddressInfo).port);
  const url = `http://127.0.0.1:${proxy.port}`;
  const send = (type: string, identity: string) =>
    post(app.url, key, 'mutation ($events: [EventInput!]!) { ingestEvents(events: $events) { accepted } }', {
      events: [{ type, sessionKey: `desk-of-${identity}`, user: { identity, name: identity } }],
    });
  for (const identity of ['ben', 'chiara', 'dora']) await send('log', identity);
  const desk = await browser.newContext();
  const watching = await desk.newPage();
  await watching.goto(`${url}/site/watch`);
  const shown = (): Promise<string[]> => watching.locator('li').allTextContents();
  await eventually(async () => (await shown()).length === 3);

  proxy.refuse();
  await send('sessionend', 'chiara');
  await send('log', 'emil');
  proxy.heal();
  const right = ['ben on desk-of-ben', 'dora on desk-of-dora', 'emil on desk-of-emil'];
  await eventually(async () => JSON.stringify((await shown()).sort()) === JSON.stringify(right), 20_000);
  // It is live again.
  await send('sessionend', 'dora');
  await eventually(async () => (await shown()).length === 2, 20_000);
  const changes: string[] = await watching.evaluate(() => (globalThis as any).changes);
  expect([...new Set(changes)].sort()).toEqual(['chiara OFFLINE 0', 'dora OFFLINE 0', 'emil ONLINE 1']);
  expect(await watching.evaluate(() => (globalThis as any).snapshots)).toBe(1);
  await desk.close();
  await proxy.close();
}, 120_000);
