import { once } from 'node:events';
import { readFileSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import { connect, type AddressInfo } from 'node:net';
import { Webhook } from 'standardwebhooks';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { createProject, eventually, post, startTestApp, type TestApp } from '../support/app.js';
import { createTestDatabase, type TestDatabase } from '../support/database.js';

/** The receiver of README.md, word for word but for its imports. */

const README = readFileSync(new URL('../../README.md', import.meta.url), 'utf8');

let db: TestDatabase;
let app: TestApp;
let key: string;
beforeAll(async () => {
  db = await createTestDatabase();
  app = await startTestApp(db, { WEBHOOKS_TO: 'private' });
  key = await createProject(app.url);
});
afterAll(async () => {
  await app.close('test');
  await db.drop();
});

const ask = async (query: string, variables?: Record<string, unknown>): Promise<any> => {
  const { data, errors } = await post(app.url, key, query, variables);
  if (errors) throw new Error(JSON.stringify(errors));
  return data;
};
const send = (message: string): Promise<unknown> =>
  ask('mutation ($events: [EventInput!]!) { ingestEvents(events: $events) { accepted } }', {
    events: [{ type: 'log', message, user: { identity: 'ada@example.com' } }],
  });

test('the receiver verifies what it gets, takes it once, and refuses what is forged', async () => {
  const [, source] = /<!-- example: receiver -->\n```js\n([\s\S]*?)```/.exec(README)!;
  // The receiver listens before its secret is known here.
  const waiting = createServer().listen(0, '127.0.0.1');
  await eventually(() => waiting.listening);
  const { port } = waiting.address() as AddressInfo;
  waiting.close();
  const { createWebhook } = await ask(
    `mutation ($url: String!, $query: String!) { createWebhook(url: $url, query: $query) { secret webhook { id } } }`,
    {
      url: `http://127.0.0.1:${port}/`,
      query: 'subscription { changes(filter: { kinds: [EVENT] }) { cursor ... on EventChange { event { message } } } }',
    },
  );
  // Nobody listens yet.
  await send('one');
  const { id } = createWebhook.webhook;
  const deliveries = async (): Promise<any[]> =>
    (
      await ask(
        'query ($id: ID!) { node(id: $id) { ... on Webhook { deliveries { nodes { status error messageId } } } } }',
        { id },
      )
    ).node.deliveries.nodes;
  await eventually(async () => (await deliveries()).length === 1);
  expect(await deliveries()).toMatchObject([{ status: null, error: 'The receiver refused the connection.' }]);

  const got: any[] = [];
  const made: Server[] = [];
  const listening = (...args: Parameters<typeof createServer>): Server => {
    const server = createServer(...args);
    made.push(server);
    return server;
  };
  // oxlint-disable-next-line no-new-func, no-implied-eval
  new Function('createServer', 'Webhook', 'process', 'take', source!.replaceAll(/^import .*$/gm, ''))(
    listening,
    Webhook,
    { env: { WEBHOOK_SECRET: createWebhook.secret, PORT: port } },
    async (change: unknown) => void got.push(change),
  );
  await send('two');
  // Its owner does not wait for the next try.
  await ask('mutation ($id: ID!) { updateWebhook(id: $id, enabled: true) { id } }', { id });
  await eventually(() => got.length === 2);
  expect(got.map(({ event }) => event.message)).toEqual(['one', 'two']);
  await eventually(async () => (await deliveries())[0].status === 204);

  const test = await ask('mutation ($id: ID!) { testWebhook(id: $id) { status } }', { id });
  expect(test.testWebhook.status).toBe(204);
  expect(got).toHaveLength(2);
  const forged = await fetch(`http://127.0.0.1:${port}/`, { method: 'POST', body: '{"type":"changes","data":[]}' });
  expect(forged.status).toBe(401);
  // Who leaves in the middle of a message harms nobody.
  const left = connect(port, '127.0.0.1', () => left.end('POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{'));
  left.resume();
  await once(left, 'close');
  expect((await fetch(`http://127.0.0.1:${port}/`, { method: 'POST', body: '{}' })).status).toBe(401);
  made[0]!.close();
});
