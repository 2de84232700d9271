import { execFile, spawn } from 'node:child_process';
import { readFileSync } from 'node:fs';
import path from 'node:path';
import { promisify } from 'node:util';
import { stripTypeScriptTypes } from './strip-types.js';
import { createClient } from 'graphql-ws';
import { afterAll, beforeAll, expect, test } from 'vitest';
import WebSocket from 'ws';
import { eventually } from '../support/app.js';
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
