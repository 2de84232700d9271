import { afterAll, beforeAll, expect, test } from 'vitest';
import WebSocket from 'ws';
import { createClient, type Change } from '../../src/client/client.js';
import { createProject, eventually, startTestApp, type TestApp } from '../support/app.js';
import { createTestDatabase, type TestDatabase } from '../support/database.js';
import { startProxy, type Proxy } from '../support/proxy.js';

/** The feed, followed by a client. */

let db: TestDatabase;
let app: TestApp;
let proxy: Proxy;
beforeAll(async () => {
  db = await createTestDatabase();
  app = await startTestApp(db, { REDIS_URL: '' });
  proxy = await startProxy(Number(new URL(app.url).port));
});
afterAll(async () => {
  await proxy.close();
  await app.close('test');
  await db.drop();
});

const valuesIn = (changes: readonly Change[]): (number | null)[] =>
  changes.flatMap((change) => (change.__typename === 'EventChange' ? [change.event.value] : []));

/** A client of a new project, through the proxy. `send` tracks so many events, with the values from 0 on. */
async function follow() {
  const key = await createProject(app.url);
  const client = createClient({ url: `http://127.0.0.1:${proxy.port}`, key, WebSocket });
  const sender = createClient({ url: app.url, key });
  const control = new AbortController();
  const heard: Change[] = [];
  let sent = 0;
  return {
    client,
    heard,
    signal: control.signal,
    async send(count: number) {
      for (const end = sent + count; sent < end; sent += 1)
        sender.track('step', { value: sent, user: { identity: 'ada' } });
      expect(await sender.flush()).toBe(0);
    },
    async end() {
      control.abort();
      await Promise.all([client.close(), sender.close()]);
    },
  };
}

const upTo = (count: number): number[] => Array.from({ length: count }, (_, at) => at);

test('everything stored comes once and in order, through lost connections, until the signal', async () => {
  const { client, heard, signal, send, end } = await follow();
  const reading = (async () => {
    for await (const change of client.changes({ signal })) heard.push(change);
  })();
  // It begins with what is stored after it has begun.
  await eventually(async () => {
    await send(1);
    return heard.length > 0;
  });
  const first = valuesIn(heard)[0] ?? 0;
  for (let round = 0; round < 3; round += 1) {
    proxy.cut();
    await send(50);
  }
  await eventually(() => valuesIn(heard).length >= 150, 30_000);
  const values = valuesIn(heard);
  expect(values).toEqual(upTo(values.length).map((at) => at + first));
  expect(new Set(heard.map(({ cursor }) => cursor)).size).toBe(heard.length);
  await end();
  await reading;
});

test('a slow reader gets everything; a filter holds', async () => {
  const { client, heard, send, end, signal } = await follow();
  const { changeCursor } = await client.query<{ changeCursor: string }>('{ changeCursor }');
  await send(2_500);
  // More than a client keeps: it reads on when these have been read.
  for await (const change of client.changes({ after: changeCursor, filter: { kinds: ['EVENT'] }, signal })) {
    heard.push(change);
    if (heard.length === 2_500) break;
  }
  expect(valuesIn(heard)).toEqual(upTo(2_500));
  await end();
}, 60_000);

test('where it cannot go on, it throws', async () => {
  const { client, end } = await follow();
  const changes = client.changes({ after: 'nonsense' });
  await expect(changes.next()).rejects.toMatchObject({ name: 'FootstepsError', code: 'INVALID_CURSOR' });
  await end();
});

test.each(['close', 'return', 'throw', 'signal'] as const)('%s ends it while it waits for a change', async (way) => {
  const { client, heard, send, end } = await follow();
  const control = new AbortController();
  const changes = client.changes({ signal: control.signal });
  const first = changes.next();
  // It begins with what is stored after it has begun.
  const isFirst = first.then(({ value }) => heard.push(value as Change));
  await eventually(async () => {
    await send(1);
    return heard.length > 0;
  });
  await isFirst;
  let isOver = false;
  const rest = (async () => {
    for (let step = await changes.next(); !step.done; step = await changes.next()) heard.push(step.value);
    isOver = true;
  })();
  const sent = heard.length;
  await send(1);
  await eventually(() => heard.length > sent);
  expect(isOver).toBe(false);
  if (way === 'close') await client.close();
  else if (way === 'return') expect(await changes.return()).toEqual({ done: true, value: undefined });
  else if (way === 'throw') await expect(changes.throw(new Error('enough'))).rejects.toThrow('enough');
  else control.abort();
  await rest;
  expect(await changes.next()).toEqual({ done: true, value: undefined });
  await end();
});

test('a client that is closed has no changes, nor one whose first question is broken off', async () => {
  const { client, end } = await follow();
  const asking = client.changes();
  const first = asking.next();
  await client.close();
  expect(await first).toEqual({ done: true, value: undefined });
  expect(await client.changes().next()).toEqual({ done: true, value: undefined });
  expect(await client.changes({ after: 'nonsense' }).next()).toEqual({ done: true, value: undefined });
  await end();
});

test('variables that cannot be written as JSON are refused, and nothing is thrown elsewhere', async () => {
  const { client, end } = await follow();
  const bad = { name: 'FootstepsError', code: 'BAD_USER_INPUT' };
  await expect(client.query('query ($a: Int) { project { name } }', { a: 1n })).rejects.toMatchObject(bad);
  const { changeCursor } = await client.query<{ changeCursor: string }>('{ changeCursor }');
  const filter: any = { kinds: [1n] };
  await expect(client.changes({ after: changeCursor, filter }).next()).rejects.toMatchObject(bad);
  await end();
});
