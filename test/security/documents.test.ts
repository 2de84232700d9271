import { getIntrospectionQuery } from 'graphql';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { createProject, post, startTestApp, type TestApp } from '../support/app.js';
import { createTestDatabase, type TestDatabase } from '../support/database.js';
import { record } from '../support/ledger.js';

/** Documents that are made to take long, and answers that are made to be large. */

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

/** What this process works meanwhile, clients and server. Milliseconds. */
async function workOf(task: () => Promise<unknown>): Promise<number> {
  const before = process.cpuUsage();
  await task();
  return process.cpuUsage(before).user / 1_000;
}

const times = (count: number, make: (at: number) => string): string =>
  Array.from({ length: count }, (_, at) => make(at)).join(' ');

/** Each of some 20 kB, and wrong. */
const WRONG = {
  'unknown fields': `{ ${times(990, (at) => `sesions${at}`)} }`,
  'fields that conflict': `{ project { ${times(900, (at) => `a: ${at % 2 ? 'id' : 'name'}`)} } }`,
  'unknown arguments': `{ ${times(400, (at) => `a${at}: project(x${at}: 1) { id }`)} }`,
  'unused variables': `query (${times(600, (at) => `$v${at}: Int`)}) { project { id } }`,
  'variables that are not there': `{ sessions(filter: { types: [${times(600, (at) => `$v${at}`)}] }) { totalCount } }`,
  'unused fragments': `{ project { id } } ${times(300, (at) => `fragment f${at} on Project { id }`)}`,
  'fragments in each other': `{ project { ...f0 } } ${times(300, (at) => `fragment f${at} on Project { ...f${at + 1} ...f${(at * 7) % 300} }`)}`,
  'operations that share fragments': `${times(300, (at) => `query q${at} { project { ...f0 } }`)} ${times(200, (at) => `fragment f${at} on Project { ...f${at + 1} id: name }`)}`,
  'unknown values': `mutation { ingestEvents(events: [${times(300, (at) => `{ typ${at}: X${at} }`)}]) { accepted } }`,
};

describe('what is wrong with a document', () => {
  test.each(Object.entries(WRONG))('%s: three mistakes are told, and it is checked once', async (name, query) => {
    // The way in is compiled by now.
    await post(app.url, key, '{ nothing }');
    let answer: Awaited<ReturnType<typeof post>>;
    const work = await workOf(async () => (answer = await post(app.url, key, query)));
    expect(answer!.errors!.length).toBeLessThanOrEqual(3);
    expect(answer!.errors![0]!.extensions['code']).toMatch(/^(GRAPHQL_VALIDATION_FAILED|QUERY_TOO_COMPLEX)$/);
    expect([200, 400]).toContain(answer!.status);
    expect(work).toBeLessThan(250);
    record(`wrong document, ${name}: milliseconds of work`, Math.round(work));
  });

  test('more than 1,000 fields are refused before anything is compared', async () => {
    for (const query of [
      `{ ${times(1_001, () => 'project { id }')} }`,
      `{ project { ${times(1_001, () => 'id')} } }`,
      `{ project { ...f } } fragment f on Project { ${times(1_001, () => 'id')} }`,
    ]) {
      const { errors, data } = await post(app.url, key, query);
      expect([errors![0]!.extensions['code'], data]).toEqual(['QUERY_TOO_COMPLEX', undefined]);
    }
    // Of fields that answer by one name 548 are 149,878 pairs.
    const { errors } = await post(app.url, key, `{ project { ${times(548, () => 'id')} } }`);
    expect(errors).toBeUndefined();
    const alike = await post(app.url, key, `{ project { ${times(549, () => 'id')} } }`);
    expect(alike.errors![0]!.message).toContain('more than 150000 pairs');
  });

  test('introspection is told once: nothing in it takes an alias but __type', async () => {
    const type = 'name fields { name type { name } }';
    for (const query of [
      `{ ${times(2, (at) => `a${at}: __schema { types { name } }`)} }`,
      `{ __schema { ${times(2, (at) => `a${at}: types { ${type} }`)} } }`,
      `{ __schema { types { ...f } } } fragment f on __Type { ${times(2, (at) => `a${at}: fields { name }`)} }`,
      `{ ... on Query { __type(name: "Event") { ... { a: name } } } }`,
      `{ __type(name: "Event") { fields { args { type { ofType { a: name } } } } } }`,
    ]) {
      const { errors, data } = await post(app.url, key, query);
      expect([errors?.[0]!.extensions['code'], data]).toEqual(['TOO_MANY_ALIASES', undefined]);
    }
    const some = await post(app.url, key, `{ ${times(20, (at) => `a${at}: __type(name: "Event") { ${type} }`)} }`);
    expect(Object.keys(some.data)).toHaveLength(20);
    const many = await post(app.url, key, `{ ${times(21, (at) => `a${at}: __type(name: "Event") { ${type} }`)} }`);
    expect(many.errors![0]!.extensions['code']).toBe('QUERY_TOO_COMPLEX');
    const whole = await post(app.url, key, getIntrospectionQuery({ inputValueDeprecation: true, oneOf: true }));
    expect(whole.errors).toBeUndefined();
    expect(JSON.parse(whole.text).extensions.cost.requested).toBe(1_001);
  });

  test('is told alike by every way in', async () => {
    for (const query of ['{ nothing }', '{ project { id } ', '{ sessions(first: "x") { nodes { id } } }']) {
      const plain = await post(app.url, key, query);
      const odd = await post(app.url, key, query, undefined, { headers: { Accept: 'application/json, */*' } });
      expect([plain.status, plain.errors]).toEqual([odd.status, odd.errors]);
      expect(plain.errors!.length).toBeGreaterThan(0);
    }
  });
});

describe('what is wrong with variables', () => {
  const unknown = Object.fromEntries(Array.from({ length: 20_000 }, (_, at) => [`k${at}`, 1]));
  test.each<[string, object]>([
    ['fields that do not exist', unknown],
    ['values of another type', { tags: Array.from({ length: 20_000 }, () => 1) }],
    ['one large value', { message: ['x'.repeat(500_000)] }],
  ])('%s: a few are told, in few words, also if the operation comes again', async (_name, event) => {
    const query = 'mutation ($events: [EventInput!]!) { ingestEvents(events: $events) { accepted } }';
    for (let time = 0; time < 4; time += 1) await post(app.url, key, query, { events: [{}] });
    // Another document is not compiled.
    for (const document of [query, `${query} # ${JSON.stringify(event).length}`]) {
      const { errors, data, text } = await post(app.url, key, document, { events: [event] });
      expect(data).toBeUndefined();
      expect(errors![0]!.extensions['code']).toBe('BAD_USER_INPUT');
      expect(errors!.length).toBeLessThanOrEqual(4);
      expect(text.length).toBeLessThan(5_000);
    }
  });

  test('of a subscription too', async () => {
    const query = 'subscription ($ids: [String!]) { userPresence(identities: $ids) { kind } }';
    const ids = Array.from({ length: 900 }, () => 1);
    const { errors } = await post(app.url, key, query, { ids });
    expect(errors!.map(({ extensions }) => extensions['code'])).toEqual(Array(4).fill('BAD_USER_INPUT'));
  });
});

describe('answers', () => {
  const events = Array.from({ length: 1_000 }, () => ({ type: '' }));

  test('100 fields that each send the same 1,000 events send 1,000, and answer for these', async () => {
    const query = `mutation ($events: [EventInput!]!) { ${times(20, (at) => `a${at}: ingestEvents(events: $events) { results { code message } }`)} }`;
    const { errors, text } = await post(app.url, key, query, { events });
    expect(
      errors!.every(({ extensions }) => /TOO_MANY_EVENTS|QUERY_TOO_COMPLEX/.test(String(extensions['code']))),
    ).toBe(true);
    expect(text.length).toBeLessThan(1_000_000);
    record('answer to 20,000 bad events by 20 names, kilobytes', Math.round(text.length / 1_000));
  });

  test('several fields may send 1,000 together, wherever they stand', async () => {
    const some = events.slice(0, 500);
    const query = `mutation ($events: [EventInput!]!) { a: ingestEvents(events: $events) { rejected } ...more }
      fragment more on Mutation { b: ingestEvents(events: $events) { rejected } }`;
    const { data } = await post(app.url, key, query, { events: some });
    expect(data).toEqual({ a: { rejected: 500 }, b: { rejected: 500 } });
    const beyond = await post(app.url, key, query, { events: events.slice(0, 501) });
    expect(beyond.errors![0]!.extensions['code']).toBe('TOO_MANY_EVENTS');
  });
});
