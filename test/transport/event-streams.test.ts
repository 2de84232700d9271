import { createClient as createSseClient } from 'graphql-sse';
import { GraphQLError } from 'graphql';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { messageOf, noteCursor } from '../../src/transport/graphql/event-stream.js';
import { LargeSends } from '../../src/transport/graphql/large-sends.js';
import { collect, createProject, eventually, post, startTestApp, type TestApp } from '../support/app.js';
import { createTestDatabase, type TestDatabase } from '../support/database.js';

/** Subscriptions as server-sent events, each on a connection of its own. */

let db: TestDatabase;
let app: TestApp;
let key: string;
beforeAll(async () => {
  db = await createTestDatabase();
  app = await startTestApp(db);
  key = await createProject(app.url);
});
afterAll(async () => {
  await app.close('test');
  await db.drop();
});

const PRESENCE = 'subscription { userPresence { kind users { identity status } } }';
const send = (event: object) =>
  post(app.url, key, 'mutation ($events: [EventInput!]!) { ingestEvents(events: $events) { accepted } }', {
    events: [event],
  });

/** A stream as EventSource opens it. */
async function openStream(query: string, { url = app.url, by = key, headers = {} } = {}) {
  const ending = new AbortController();
  const response = await fetch(`${url}/graphql?query=${encodeURIComponent(query)}&access_token=${by}`, {
    headers: { Accept: 'text/event-stream', ...headers },
    signal: ending.signal,
  });
  const stream = { response, text: '', isOver: false, stop: () => ending.abort() };
  void (async () => {
    for await (const chunk of response.body!) stream.text += Buffer.from(chunk).toString();
    stream.isOver = true;
  })().catch(() => {});
  return stream;
}

test('proxies are told to pass each message on at once', async () => {
  const stream = await openStream(PRESENCE);
  expect(Object.fromEntries(stream.response.headers)).toMatchObject({
    'content-type': 'text/event-stream',
    'cache-control': 'no-cache, no-transform',
    'x-accel-buffering': 'no',
  });
  await eventually(() => stream.text.includes('SNAPSHOT'));
  expect(stream.text.startsWith('retry: 3000\n\n')).toBe(true);
  stream.stop();
});

test('what many streams are sent is put into words once', async () => {
  const streams = await Promise.all(Array.from({ length: 20 }, () => openStream(PRESENCE)));
  await eventually(() => streams.every(({ text }) => text.includes('SNAPSHOT')));
  const written = vi.spyOn(JSON, 'stringify');
  await send({ user: { identity: 'shared' } });
  await eventually(() => streams.every(({ text }) => text.includes('"shared"')));
  const results = written.mock.calls.filter(([value]) => value?.data?.userPresence?.kind === 'DIFF');
  written.mockRestore();
  expect(results).toHaveLength(1);
  for (const { stop } of streams) stop();
});

test('large messages are written in turns, as those of WebSockets are', async () => {
  const own = await createProject(app.url);
  const events = Array.from({ length: 200 }, (_, at) => ({ user: { identity: `${'x'.repeat(90)} ${at}` } }));
  await post(app.url, own, 'mutation ($events: [EventInput!]!) { ingestEvents(events: $events) { accepted } }', {
    events,
  });
  const added = vi.spyOn(LargeSends.prototype, 'add');
  const streams = await Promise.all(Array.from({ length: 10 }, () => openStream(PRESENCE, { by: own })));
  await eventually(() => streams.every(({ text }) => text.split('"identity"').length > 200));
  expect(added).toHaveBeenCalledTimes(10);
  added.mockRestore();
  for (const { stop } of streams) stop();
});

describe('a message that has a cursor', () => {
  const idsOf = ({ text }: { text: string }) => [...text.matchAll(/^id: (.*)$/gm)].map(([, id]) => id!);
  const kindsOf = ({ text }: { text: string }) => [...text.matchAll(/"kind":"([A-Z]+)"/g)].map(([, kind]) => kind);

  test('has it as its id, selected or not; a stream that names it goes on after it', async () => {
    const identities = ['resumed', 'another'];
    const query = `subscription { userPresence(identities: ${JSON.stringify(identities)}) { kind users { identity status } } }`;
    const first = await openStream(query);
    await eventually(() => idsOf(first).length === 1);
    const selected = await openStream(query.replace('kind', 'kind place: cursor'));
    await eventually(() => idsOf(selected).length === 1);
    expect(selected.text).toContain(`"place":"${idsOf(selected)[0]}"`);
    for (const { stop } of [first, selected]) stop();

    await send({ user: { identity: 'resumed' } });
    const last = idsOf(first)[0]!;
    const resumed = await openStream(query, { headers: { 'Last-Event-ID': last } });
    await eventually(() => resumed.text.includes('"resumed"'));
    expect(kindsOf(resumed)[0]).toBe('DIFF');
    expect(resumed.text).not.toContain('"another"');
    // As fast as its id shows, it is after the first one's.
    expect(idsOf(resumed)[0]).not.toBe(last);
    resumed.stop();

    // A new EventSource begins with `after` in its address; when it connects again, the header is newer.
    const after = query.replace(')', `, after: "not a cursor")`);
    const newer = await openStream(after, { headers: { 'Last-Event-ID': last } });
    await eventually(() => newer.text.includes('"resumed"'));
    expect(kindsOf(newer)[0]).toBe('DIFF');
    newer.stop();
    const wrong = await openStream(query, { headers: { 'Last-Event-ID': 'not a cursor' } });
    await eventually(() => wrong.isOver);
    expect(wrong.text).toContain('INVALID_CURSOR');
  });

  test('is shared by those who go on after different ones', async () => {
    const first = await openStream(PRESENCE);
    await eventually(() => idsOf(first).length === 1);
    const second = await openStream(PRESENCE, { headers: { 'Last-Event-ID': idsOf(first)[0]! } });
    await eventually(() => idsOf(second).length === 1);
    let round = 0;
    // What comes in the first two seconds may depend on where each has begun.
    await eventually(async () => {
      const identity = `both ${(round += 1)}`;
      const written = vi.spyOn(JSON, 'stringify');
      await send({ user: { identity } });
      await eventually(() => [first, second].every(({ text }) => text.includes(`"${identity}"`)));
      const results = written.mock.calls.filter(([value]) =>
        value?.data?.userPresence?.users?.some((user: { identity: string }) => user.identity === identity),
      );
      written.mockRestore();
      return results.length === 1;
    });
    for (const { stop } of [first, second]) stop();
  });

  test('is passed over where there is nothing to go on after', async () => {
    const stream = await openStream('subscription { eventIngested { message } }', {
      headers: { 'Last-Event-ID': 'x' },
    });
    await eventually(async () => {
      await send({ message: 'heard' });
      return stream.text.includes('heard');
    });
    expect(idsOf(stream)).toEqual([]);
    stream.stop();
  });
});

test('of an event in parts only the last has an id', () => {
  const results = [
    { data: { part: 1 } },
    { data: { part: 2 } },
    { data: { part: 3 }, errors: [new GraphQLError('A field has failed.')] },
  ] as const;
  noteCursor(results[0], { cursor: 'one', hasMore: true });
  noteCursor(results[1], { cursor: 'two', hasMore: false });
  noteCursor(results[2], { cursor: 'three' });
  const words = results.map((result) => messageOf(result).text.toString());
  expect(words.map((text) => /^id: (.*)$/m.exec(text)?.[1])).toEqual([undefined, 'two', undefined]);
});

test('a stream that the server cuts has no `complete`: a stock client connects again, with a new token', async () => {
  const tokenFor = async (expiresIn: number): Promise<string> =>
    (await post(app.url, key, `mutation { createAccessToken(scopes: [PRESENCE], expiresIn: ${expiresIn}) { token } }`))
      .data.createAccessToken.token;
  let tokens = 0;
  const client = createSseClient({
    url: `${app.url}/graphql`,
    headers: async () => {
      tokens += 1;
      return { Authorization: `Bearer ${await tokenFor(tokens === 1 ? 2 : 60)}` };
    },
    retry: () => Promise.resolve(),
  });
  const query = 'subscription { userPresence(identities: ["nobody"]) { kind } }';
  const watching = collect((sink) => client.subscribe({ query }, sink));
  await watching.until((heard) => heard.length === 2);
  expect([watching.heard.map(({ kind }) => kind), watching.errors]).toEqual([['SNAPSHOT', 'SNAPSHOT'], []]);
  client.dispose();

  const closing = await startTestApp(db);
  const stream = await openStream(PRESENCE, { url: closing.url });
  await eventually(() => stream.text.includes('SNAPSHOT'));
  await closing.close('test');
  await eventually(() => stream.isOver);
  expect(stream.text).not.toContain('complete');
});

test('what is wrong from the start is told as the only message', async () => {
  for (const [query, code] of [
    ['subscription { nothing }', 'GRAPHQL_VALIDATION_FAILED'],
    ['subscription { sessionChanged(sessionIds: ["x"]) { kind } }', 'BAD_USER_INPUT'],
  ] as const) {
    const wrong = await openStream(query);
    await eventually(() => wrong.isOver);
    expect([wrong.response.status, wrong.text.includes(code)]).toEqual([200, true]);
    expect(wrong.text).toMatch(/event: next\ndata: .*\n\nevent: complete\ndata:\n\n$/);
  }
});
