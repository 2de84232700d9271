import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import type { Context } from '../../src/schema/context.js';
import { pace } from '../../src/schema/pace.js';
import { connect, createProject, listen, post, startTestApp, type TestApp } from '../support/app.js';
import { createTestDatabase, type TestDatabase } from '../support/database.js';
import { record } from '../support/ledger.js';

/** What one operation reads and answers is bounded, whatever is stored. */

let db: TestDatabase;
let app: TestApp;
let key: string;
const LARGE = { text: 'x'.repeat(250_000) };

const send = (events: readonly object[]) =>
  post(app.url, key, 'mutation ($events: [EventInput!]!) { ingestEvents(events: $events) { accepted } }', { events });
const codesOf = async (query: string): Promise<unknown[] | undefined> =>
  (await post(app.url, key, query)).errors?.map(({ extensions }) => extensions['code']);
const aliased = (times: number, field: string): string =>
  Array.from({ length: times }, (_, at) => `a${at}: ${field}`).join(' ');

beforeAll(async () => {
  db = await createTestDatabase();
  app = await startTestApp(db);
  key = await createProject(app.url);
  for (let round = 0; round < 5; round += 1) {
    const user = { identity: `user ${round}` };
    const sent = await send(Array.from({ length: 25 }, () => ({ type: 'log', source: 'large', user, data: LARGE })));
    expect(sent.data.ingestEvents.accepted).toBe(25);
  }
}, 60_000);
afterAll(async () => {
  await app.close('test');
  await db.drop();
});

describe('what is read', () => {
  const tooMuch = [
    '{ events(first: 100) { nodes { data } } }',
    '{ sessions { nodes { events(first: 100) { nodes { data } } } } }',
    `{ ${aliased(5, 'events(first: 20) { nodes { data } }')} }`,
    '{ events(first: 100, filter: { search: "large" }) { nodes { data } } }',
  ];
  test.each(tooMuch)('%s: 8 MiB at most, and Postgres stops', async (query) => {
    const before = process.memoryUsage.rss();
    expect(new Set(await codesOf(query))).toEqual(new Set(['ANSWER_TOO_LARGE']));
    record(`read beyond 8 MiB, ${query.slice(0, 40)}: bytes more`, process.memoryUsage.rss() - before);
  });

  test('what fits is answered, also after connections were cut', async () => {
    for (let times = 0; times < 15; times += 1) expect(await codesOf(tooMuch[0]!)).toEqual(['ANSWER_TOO_LARGE']);
    const { data, errors } = await post(app.url, key, '{ events(first: 30) { nodes { data } } }');
    expect(errors).toBeUndefined();
    expect(data.events.nodes[29].data).toEqual(LARGE);
    expect(app.observations.filter(({ kind }) => kind === 'database.lost')).toEqual([]);
  });
});

describe('what is answered', () => {
  test('16 MiB at most, however often one value stands in it', async () => {
    expect(await codesOf(`{ events(first: 2) { nodes { ${aliased(99, 'data')} } } }`)).toEqual(['ANSWER_TOO_LARGE']);
    expect(await codesOf(`{ events(first: 2) { nodes { ${aliased(20, 'data')} } } }`)).toBeUndefined();
  });

  test('over WebSockets too, to operations and messages, and what follows comes', async () => {
    const client = connect(app.url, key);
    const asked = listen(client, `{ events(first: 2) { nodes { ${aliased(99, 'data')} } } }`);
    await asked.ended;
    expect(JSON.stringify(asked.errors)).toContain('ANSWER_TOO_LARGE');
    const told = listen(client, `subscription { eventIngested { type ${aliased(90, 'data')} } }`);
    // It is confirmed when the next operation of the socket is answered.
    await listen(client, '{ __typename }').ended;
    const user = { identity: 'told' };
    await send([{ type: 'large', user, data: LARGE }]);
    await send([{ type: 'small', user }]);
    await told.until((heard) => heard.some(({ type }) => type === 'small'));
    expect(JSON.stringify(told.errors)).toContain('ANSWER_TOO_LARGE');
    expect(told.heard.map(({ type }) => type)).toEqual(['small']);
    await client.dispose();
  });

  test('each message of a subscription reads on its own', async () => {
    const client = connect(app.url, key);
    const user = { identity: 'much told' };
    await send([{ type: 'session', user, data: { text: 'x'.repeat(60_000) } }]);
    const told = listen(client, 'subscription { eventIngested(filter: { types: ["told"] }) { session { data } } }');
    await listen(client, '{ __typename }').ended;
    await send(Array.from({ length: 200 }, () => ({ type: 'told', user })));
    await told.until((heard) => heard.length === 200);
    expect(told.errors).toEqual([]);
    await client.dispose();
  });

  test('values are counted before anything is read, each name of a field', async () => {
    const statements = (): number => app.observations.filter(({ kind }) => kind === 'statement').length;
    const before = statements();
    const nested = (fields: string): string =>
      `{ sessions(first: 100) { nodes { events(first: 100) { nodes { ${fields} } } } } }`;
    expect(await codesOf(nested(aliased(21, 'type')))).toEqual(['QUERY_TOO_COMPLEX']);
    expect(statements() - before).toBeLessThan(10);
    expect(await codesOf(nested('id type source message occurredAt receivedAt value tags version'))).toBeUndefined();
    const client = connect(app.url, key);
    const many = listen(client, `subscription { userPresence { users { ${aliased(21, 'name')} } } }`);
    await many.ended;
    expect(JSON.stringify(many.errors)).toContain('QUERY_TOO_COMPLEX');
    await client.dispose();
  });

  test('a large one is put together over several turns of the loop', async () => {
    const context = {} as Context;
    expect(pace(context, 1_000)).toBeUndefined();
    let turned = false;
    setImmediate(() => (turned = true));
    const [second, alike, third] = [pace(context, 600), pace(context, 400), pace(context, 1)];
    expect(alike).toBe(second);
    expect(third).not.toBe(second);
    await second;
    expect(turned).toBe(true);
    await third;
    expect(pace({} as Context, 1)).toBeUndefined();
  });
});
