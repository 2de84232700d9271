import { execFile, spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import path from 'node:path';
import { promisify } from 'node:util';
import { stripTypeScriptTypes } from './strip-types.js';
import { createClient } from 'graphql-ws';
import { afterAll, beforeAll, expect, test } from 'vitest';
import WebSocket from 'ws';
import { eventually, post } from '../support/app.js';
import { startChromium } from '../support/chromium.js';
import { startServer, temporaryFolder, type ServerProcess } from '../support/server.js';

/** The README's examples, word for word but for the port, on a server at its first start. */

const run = promisify(execFile);
const readme = readFileSync(new URL('../../README.md', import.meta.url), 'utf8');

let server: ServerProcess;
let remove: () => void;
beforeAll(async () => {
  const temporary = temporaryFolder();
  ({ remove } = temporary);
  server = await startServer({ DATA_DIR: path.join(temporary.folder, 'data') });
});
afterAll(async () => {
  await server.stop();
  remove();
});

function example(name: string): string {
  const found = new RegExp(`<!-- example: ${name} -->\\n\`\`\`\\w+\\n([\\s\\S]*?)\`\`\``).exec(readme);
  return found![1]!.replaceAll('127.0.0.1:4000', new URL(server.url).host);
}

const shell = async (name: string): Promise<any> =>
  JSON.parse((await run('sh', ['-c', example(name)], { env: { ...process.env, KEY: server.key! } })).stdout);

test('a first event, a first query, a heartbeat', async () => {
  const sent = await shell('event');
  expect(sent.data.ingestEvents).toMatchObject({
    accepted: 2,
    results: [{ status: 'ACCEPTED' }, { status: 'ACCEPTED' }],
  });
  const found = await shell('query');
  expect(found.data.sessions.nodes).toMatchObject([
    {
      user: { name: 'Ada', presence: { status: 'ONLINE' } },
      events: {
        nodes: [
          { type: 'page view', source: '/pricing' },
          { type: 'error', message: 'Payment failed' },
        ],
      },
    },
  ]);
  expect(await shell('heartbeat')).toMatchObject({ data: { recordHeartbeat: { acknowledged: true } } });
});

test('a first subscription, with curl and in TypeScript', async () => {
  const curl = spawn('sh', ['-c', example('subscription')], {
    env: { ...process.env, KEY: server.key! },
    detached: true,
  });
  let heard = '';
  curl.stdout.on('data', (data: Buffer) => (heard += data.toString()));
  await eventually(() => heard.includes('SNAPSHOT'));

  const code = stripTypeScriptTypes(example('typescript'));
  // The example's own client, with the WebSocket that Node 20 lacks.
  const withWebSocket = (options: Parameters<typeof createClient>[0]) =>
    createClient({ ...options, webSocketImpl: WebSocket });
  // The README's own text is what this test runs.
  // oxlint-disable-next-line no-new-func, no-implied-eval
  const make = new Function('createClient', 'key', `${code}; return { client, online };`);
  const { client, online } = make(withWebSocket, server.key) as {
    client: ReturnType<typeof createClient>;
    online: Map<string, boolean>;
  };
  await shell('event');
  await eventually(() => heard.includes('ada@example.com') && online.get('ada@example.com') === true);
  await client.dispose();
  process.kill(-curl.pid!, 'SIGKILL');
});

test('an event source in a browser: it watches, and goes on when its token has run out', async () => {
  const browser = await startChromium();
  const shop = createServer((_request, response) => {
    response.setHeader('Content-Type', 'text/html');
    response.end('<title>Shop</title>');
  });
  try {
    const page = await browser.newPage();
    // A page of another origin, as a front end's is.
    await new Promise<void>((resolve) => shop.listen(0, '127.0.0.1', resolve));
    await page.goto(`http://127.0.0.1:${(shop.address() as AddressInfo).port}`);
    let tokens = 0;
    await page.exposeFunction('newToken', async () => {
      tokens += 1;
      const expiresIn = tokens === 1 ? 2 : 600;
      const made = await post(
        server.url,
        server.key,
        `mutation { createAccessToken(scopes: [PRESENCE], identities: ["ada@example.com"], expiresIn: ${expiresIn}) { token } }`,
      );
      return made.data.createAccessToken.token as string;
    });
    await page.addScriptTag({ content: example('event source') });
    const isOnline = (expected: boolean) =>
      page.waitForFunction(`online.get('ada@example.com') === ${expected}`, undefined, { timeout: 20_000 });
    await shell('event');
    await isOnline(true);
    await page.evaluate('online.clear()');
    // The next snapshot comes of the next token.
    await isOnline(true);
    expect(tokens).toBe(2);
    const end = { type: 'sessionend', user: { identity: 'ada@example.com' } };
    await post(
      server.url,
      server.key,
      'mutation ($events: [EventInput!]!) { ingestEvents(events: $events) { accepted } }',
      { events: [end] },
    );
    await isOnline(false);
  } finally {
    await browser.close();
    shop.close();
  }
}, 60_000);

test('a value of the wrong type, or an unknown field, fails the whole request, and nothing of it is stored', async () => {
  const good = { type: 'page view', user: { identity: 'whole@example.com' } };
  for (const bad of [
    { type: 7, user: good.user },
    { typ: 'page view', user: good.user },
  ]) {
    const answer = await post(
      server.url,
      server.key,
      'mutation ($events: [EventInput!]!) { ingestEvents(events: $events) { accepted } }',
      { events: [good, bad] },
    );
    expect(answer.errors?.[0]?.extensions['code']).toBe('BAD_USER_INPUT');
  }
  const seen = await post(server.url, server.key, '{ user(identity: "whole@example.com") { identity } }');
  expect(seen.data.user).toBeNull();
});
