import { getNamedType, getNullableType, isEnumType, isInputObjectType, isListType, isObjectType } from 'graphql';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { schema } from '../../src/schema/schema.js';
import { connect, createProject, listen, post } from '../support/app.js';
import { createTestDatabase, type TestDatabase } from '../support/database.js';
import { openDoors, type Doors } from '../support/doors.js';
import { record } from '../support/ledger.js';

/** What an operation costs is known before it is run, in whatever form it is sent. */

let db: TestDatabase;
let doors: Doors;
let key: string;
beforeAll(async () => {
  db = await createTestDatabase();
  doors = await openDoors(db);
  key = await createProject(doors.url);
});
afterAll(async () => {
  await doors.close();
  await db.drop();
});

async function costOf(query: string, variables?: Record<string, unknown>): Promise<number> {
  const { text } = await post(doors.url, key, query, variables);
  return JSON.parse(text).extensions.cost.requested;
}
async function codeOf(query: string, variables?: Record<string, unknown>): Promise<unknown> {
  return (await post(doors.url, key, query, variables)).errors?.[0]?.extensions['code'];
}
const aliased = (count: number, field: string): string =>
  Array.from({ length: count }, (_, at) => `a${at}: ${field}`).join(' ');
/** The statements that were run from this observation on. Without those of presence: a test before may have left a viewer. */
const statementsSince = (at: number): string[] =>
  doors.observations
    .slice(at)
    .flatMap((one) => (one.kind === 'statement' && !one.name.startsWith('presence.') ? [one.name] : []));
/** A request that is refused looks at its key, and does nothing else. */
const LOOKS_AT_KEY = 'keys.find';

describe('events', () => {
  const events = [{ message: 'a' }, { message: 'b' }];
  const LITERAL = 'ingestEvents(events: [{ message: "a" }, { message: "b" }]) { accepted }';
  const forms: [string, string, Record<string, unknown>?][] = [
    ['in a variable', 'mutation ($e: [EventInput!]!) { ingestEvents(events: $e) { accepted } }', { events, e: events }],
    ['written out', `mutation { ${LITERAL} }`],
    ['in a fragment', `mutation { ...F } fragment F on Mutation { ...G } fragment G on Mutation { ${LITERAL} }`],
    ['in an inline fragment', `mutation { ... on Mutation { ... { ${LITERAL} } } }`],
    [
      'in the default of a variable',
      'mutation ($e: [EventInput!]! = [{ message: "a" }, { message: "b" }]) { ingestEvents(events: $e) { accepted } }',
    ],
    ['under a condition', `mutation ($yes: Boolean = true) { ${LITERAL.replace(') {', ') @include(if: $yes) {')} }`],
  ];
  test.each(forms)('%s cost 1 each', async (_form, query, variables) => {
    expect(await costOf(query, variables)).toBe(3);
  });

  test('what a condition leaves out costs nothing', async () => {
    const query = `mutation ($no: Boolean!) { recordHeartbeat(input: { identity: "ada" }) { acknowledged } ${LITERAL.replace(') {', ') @include(if: $no) {')} }`;
    expect(await costOf(query, { no: false })).toBe(1);
  });

  test('100,000 of them in one request are refused whole, in each form', async () => {
    const thousand = Array.from({ length: 1_000 }, () => ({ message: 'x' }));
    const before = doors.services.ingest.room.remaining;
    const asked = doors.observations.length;
    for (const body of [aliased(100, 'ingestEvents(events: $e) { accepted }'), '...F']) {
      const query = `mutation ($e: [EventInput!]!) { ${body} } fragment F on Mutation { ${aliased(100, 'ingestEvents(events: $e) { accepted }')} }`;
      const used = body === '...F' ? query : query.split(' fragment')[0]!;
      expect(await codeOf(used, { e: thousand })).toBe('QUERY_TOO_COMPLEX');
    }
    expect(doors.services.ingest.room.remaining).toBe(before);
    expect(new Set(statementsSince(asked))).toEqual(new Set([LOOKS_AT_KEY]));
    expect((await post(doors.url, key, '{ events(first: 1) { nodes { message } } }')).text).not.toContain('"x"');
  });
});

describe('lists', () => {
  test('every list that can be given has a limit that the schema tells', () => {
    const untold: string[] = [];
    for (const type of Object.values(schema.getTypeMap())) {
      if (type.name.startsWith('__')) continue;
      const given = isInputObjectType(type)
        ? Object.values(type.getFields()).map((field) => ({ ...field, name: `${type.name}.${field.name}` }))
        : isObjectType(type)
          ? Object.values(type.getFields()).flatMap(({ name, args }) =>
              args.map((arg) => ({ ...arg, name: `${type.name}.${name}(${arg.name})` })),
            )
          : [];
      for (const { name, type: of, description } of given) {
        // A list of an enum needs no text about its length.
        if (isEnumType(getNamedType(of))) continue;
        if (isListType(getNullableType(of)) && !/at most \d|1 to \d/i.test(description ?? '')) untold.push(name);
      }
    }
    expect(untold).toEqual([]);
  });

  const tooMany = Array.from({ length: 1_001 }, (_, at) => `user ${at}`);
  const filled: [string, string][] = [
    ['sessions', 'query ($v: [String!]) { sessions(filter: { identities: $v }) { nodes { id } } }'],
    ['events', 'query ($v: [String!]) { events(filter: { tags: $v }) { nodes { id } } }'],
    [
      'a session of a list',
      'query ($v: [String!]) { sessions { nodes { events(filter: { types: $v }) { nodes { id } } } } }',
    ],
    ['presence', 'query ($v: [String!]) { presence(identities: $v) { nodes { identity } } }'],
    ['statistics', 'query ($v: [String!]) { sessionStats(filter: { browsers: $v }) { totals { sessions } } }'],
    [
      'a fragment',
      'query ($v: [String!]) { ...F } fragment F on Query { presence(identities: $v) { nodes { identity } } }',
    ],
  ];
  test.each(filled)('of %s: 1,000 at most, named where it is more', async (_what, query) => {
    const { errors } = await post(doors.url, key, query, { v: tooMany });
    expect(errors![0]!.extensions['code']).toBe('BAD_USER_INPUT');
    expect(errors![0]!.extensions['field']).toMatch(/^(filter\.)?(identities|tags|types|browsers)$/);
    expect(errors![0]!.message).toContain('1,001');
  });

  test('of subscriptions too, and in a filter that is a variable as a whole', async () => {
    const client = connect(doors.url, key);
    for (const [query, variables] of [
      ['subscription ($v: [String!]) { userPresence(identities: $v) { kind } }', { v: tooMany }],
      ['subscription ($f: EventFilter) { eventIngested(filter: $f) { id } }', { f: { sources: tooMany } }],
    ] as const) {
      const listening = listen(client, query, variables);
      await listening.ended;
      expect(JSON.stringify(listening.errors)).toContain('BAD_USER_INPUT');
    }
    await client.dispose();
  });

  test('their length is part of the cost, wherever they stand', async () => {
    const v = tooMany.slice(0, 500);
    expect(
      await costOf('query ($v: [String!]) { sessions(first: 1, filter: { identities: $v }) { nodes { id } } }', { v }),
    ).toBe(502);
    expect(await costOf('{ events(first: 1, filter: { types: ["log", "error"] }) { nodes { id } } }')).toBe(4);
    expect(await costOf('{ events(first: 1, filter: { dataContains: { a: 1, b: { c: 2 } } }) { nodes { id } } }')).toBe(
      5,
    );
    const many = `query ($v: [String!]) { ${aliased(100, 'presence(first: 1, identities: $v) { nodes { identity } }')} }`;
    const asked = doors.observations.length;
    const start = performance.now();
    expect(await codeOf(many, { v })).toBe('QUERY_TOO_COMPLEX');
    expect(await codeOf(many, { v: Array.from({ length: 60_000 }, String) })).toBe('BAD_USER_INPUT');
    record(
      '60,000 identities by 100 aliases: milliseconds until refused, twice',
      Math.round(performance.now() - start),
    );
    expect(new Set(statementsSince(asked))).toEqual(new Set([LOOKS_AT_KEY]));
  });

  test('what is looked for is bounded', async () => {
    const search = 'x'.repeat(1_001);
    expect(
      await codeOf('query ($s: String) { sessions(filter: { search: $s }) { nodes { id } } }', { s: search }),
    ).toBe('BAD_USER_INPUT');
    expect(await codeOf('query ($s: String) { events(filter: { search: $s }) { nodes { id } } }', { s: search })).toBe(
      'BAD_USER_INPUT',
    );
    expect(
      await codeOf('query ($d: JSONObject) { events(filter: { dataContains: $d }) { nodes { id } } }', {
        d: { a: 'x'.repeat(20_000) },
      }),
    ).toBe('BAD_USER_INPUT');
    const wide = Object.fromEntries(Array.from({ length: 30_000 }, (_, at) => [`k${at}`, at]));
    expect(
      await codeOf('query ($d: JSONObject) { events(filter: { dataContains: $d }) { nodes { id } } }', { d: wide }),
    ).toBe('QUERY_TOO_COMPLEX');
  });
});

describe('figures and counts', () => {
  test('cost by what they may read', async () => {
    expect(await costOf('{ sessionStats { totals { sessions } } }')).toBe(1_001);
    expect(await costOf('{ sessionStats { totals { sessions } series { at } } }')).toBe(2_001);
    expect(await costOf('{ eventStats { total users } }')).toBe(1_001);
    expect(await costOf('{ eventStats { total series { at } } }')).toBe(2_001);
    expect(await costOf('{ sessionBreakdown(by: BROWSER) { totalCount groups { value } } }')).toBe(1_011);
    expect(await costOf('{ eventBreakdown(by: TAG, first: 100) { groups { value } } }')).toBe(1_101);
    expect(await costOf('{ events(first: 1) { totalCount } }')).toBe(1_002);
    expect(await costOf('{ events(first: 1) { ...F } } fragment F on EventConnection { ... { totalCount } }')).toBe(
      1_002,
    );
    expect(await costOf('{ sessions(first: 10) { nodes { events(first: 1) { totalCount } } } }')).toBe(
      1 + 10 + 10 * 101,
    );
  });

  test('devices cost by what they may read, and saying something of one a point more than a heartbeat', async () => {
    expect(await costOf('{ presence(first: 10) { nodes { identity } } }')).toBe(11);
    expect(await costOf('{ presence(first: 10) { nodes { devices { key state } } } }')).toBe(31);
    const beat = 'recordHeartbeat(input: { identity: "ada" }) { acknowledged }';
    const say = 'setPresence(input: { identity: "ada" }, state: { page: "/", typing: true }) { acknowledged }';
    expect(await costOf(`mutation { ${say} }`)).toBe((await costOf(`mutation { ${beat} }`)) + 100 + 2);
    const all = 'subscription { userPresence { cursor users { identity name status since lastSeenAt onlineSessions';
    const listening = listen(
      connect(doors.url, key),
      `${all} devices { sessionId key since browser os device state away } } } }`,
    );
    await listening.until((heard) => heard.length > 0);
    listening.stop();
  });

  test('a hundred of them are refused', async () => {
    const asked = doors.observations.length;
    expect(await codeOf(`{ ${aliased(100, 'sessionStats { totals { sessions } }')} }`)).toBe('QUERY_TOO_COMPLEX');
    expect(await codeOf(`{ ${aliased(100, 'events(first: 1) { totalCount }')} }`)).toBe('QUERY_TOO_COMPLEX');
    expect(new Set(statementsSince(asked))).toEqual(new Set([LOOKS_AT_KEY]));
  });
});
