import { afterAll, beforeAll, expect, test } from 'vitest';
import {
  collect,
  connect,
  createProject,
  eventually,
  listen,
  post,
  startTestApp,
  type TestApp,
} from '../support/app.js';
import { createTestDatabase, type TestDatabase } from '../support/database.js';
import { chooseSeed, diceOf, type Dice } from '../support/random.js';

/** Of events that are read from a cursor on, only what the subscription selects is read; those that come live have all fields. */

let db: TestDatabase;
let app: TestApp;
beforeAll(async () => {
  db = await createTestDatabase();
  app = await startTestApp(db);
});
afterAll(async () => {
  await app.close('test');
  await db.drop();
});

const SEED = chooseSeed('fields of the feed');
const FIELDS = [
  '__typename id type source message occurredAt receivedAt value tags referenceId version data'.split(' '),
  ['user { id }', 'user { identity }', 'user { name }', 'session { id }'],
].flat();
const FILTERS = [
  '{ kinds: [EVENT] }',
  '{ kinds: [EVENT], identities: ["ada", "grace"] }',
  '{ kinds: [EVENT], events: { types: ["log", "error"], hasSession: true } }',
  '{ kinds: [EVENT], events: { tags: ["red"], dataContains: { n: 1 } } }',
];
/** With microseconds, which Postgres keeps. */
const HOUR_AGO = new Date(Date.now() - 3_600_000).toISOString().replace('Z', '456Z');
const EVENTS = [
  { type: 'log', message: 'of nobody', tags: ['red'], data: { n: 1 } },
  {
    type: 'log',
    source: 'a',
    user: { identity: 'ada', name: 'Ada' },
    value: 1.5,
    tags: ['red', 'blue'],
    data: { n: 1 },
  },
  { type: 'error', message: 'b', user: { identity: 'grace' }, referenceId: 'reference-1', version: '1.2' },
  { type: 'usage', user: { identity: 'ada' }, data: { n: 2 }, occurredAt: HOUR_AGO },
  { type: 'log', sessionKey: 'session-of-nobody', tags: ['red'], data: { n: 1, deep: { list: [null, 'é'] } } },
  // Every filter takes the last one.
  { type: 'error', user: { identity: 'ada' }, tags: ['red'], data: { n: 1 } },
];

const INGEST = 'mutation ($events: [EventInput!]!) { ingestEvents(events: $events) { accepted } }';

/** Some of the fields, each in one of the ways in which it can be selected. */
function selection(dice: Dice): { event: string; fragments: string } {
  let fragments = '';
  const ways = [
    (field: string) => field,
    (field: string, at: number) => `a${at}: ${field}`,
    (field: string) => `... on Event { ${field} }`,
    (field: string) => `... on Event @include(if: true) { ... on Event { ${field} } }`,
    (field: string, at: number) => {
      fragments += ` fragment F${at} on Event { ${field} }`;
      return `...F${at}`;
    },
  ];
  const fields = FIELDS.filter(() => dice.below(3) === 0).map((field, at) => dice.pick(ways)(field, at));
  return { event: fields.length > 0 ? fields.join(' ') : 'type', fragments };
}

/** A subscription of changes, and a query of a page of them, which select the same fields of events. */
function asksOf(dice: Dice) {
  const { event, fragments } = selection(dice);
  const filter = dice.pick(FILTERS);
  const change = dice.pick([
    `... on EventChange { event { ${event} } }`,
    `... on EventChange { event { ${event} } event { type } } ... on EventChange { other: event { id } }`,
    `... on Change { ... on EventChange { x: event { ${event} } } }`,
  ]);
  const nodes = dice.pick([
    (what: string) => `nodes { ${what} }`,
    (what: string) => `edges { node { ${what} } }`,
    (what: string) =>
      `edges { node { cursor } } ... on ChangeConnection { edges { ... on ChangeEdge { node { ${what} } } } }`,
  ]);
  const page = `changes(after: $after, first: 100, filter: ${filter}) { ${nodes(`cursor ${change}`)} }`;
  return {
    subscription: (after = '') =>
      `subscription { changes(${after} filter: ${filter}) { cursor ${change} } }${fragments}`,
    page: `query ($after: String!) { ${page} }${fragments}`,
  };
}

test('a subscription tells the same of an event from a cursor on as live and a page, whatever is selected', async () => {
  const dice = diceOf(SEED);
  const { url } = app;
  const key = await createProject(url);
  const client = connect(url, key);
  const { data } = await post(url, key, '{ changeCursor }');
  const asks = Array.from({ length: 40 }, () => asksOf(dice));
  const opened = (): number => app.observations.filter(({ kind }) => kind === 'watcher.opened').length;
  const before = opened();
  const live = asks.map(({ subscription }) => listen(client, subscription()));
  await eventually(() => opened() === before + asks.length);
  for (const event of EVENTS) {
    const { data: sent } = await post(url, key, INGEST, { events: [event] });
    expect(sent.ingestEvents).toEqual({ accepted: 1 });
  }
  const cursors: string[] = [];
  // A transaction of another test may hold the feed back.
  await eventually(async () => {
    const all = '{ changes(first: 100, filter: { kinds: [EVENT] }) { nodes { cursor } } }';
    const { data: stored } = await post(url, key, all);
    cursors.push(...stored.changes.nodes.slice(cursors.length).map(({ cursor }: { cursor: string }) => cursor));
    return cursors.length === EVENTS.length;
  });
  const last = cursors.at(-1);
  const isWhole = (heard: { cursor: string }[]): boolean => heard.some(({ cursor }) => cursor === last);
  for (const [at, { subscription, page }] of asks.entries()) {
    const again = listen(client, subscription(`after: "${data.changeCursor}"`));
    const told = live[at]!;
    const [fromCursor, asItCame] = await Promise.all([again.until(isWhole), told.until(isWhole)]);
    const ask = subscription();
    expect({ ask, heard: fromCursor, errors: again.errors }).toEqual({ ask, heard: asItCame, errors: [] });
    const { nodes, edges } = (await post(url, key, page, { after: data.changeCursor })).data.changes;
    const read = nodes ?? edges.map(({ node }: { node: unknown }) => node);
    expect({ page, read }).toEqual({ page, read: asItCame });
    again.stop();
    told.stop();
  }
  expect(live.reduce((sum, { heard }) => sum + heard.length, 0)).toBeGreaterThan(asks.length);
  await client.dispose();
});

test('what one operation of a document selects does not decide what another gets', async () => {
  const { url } = app;
  const key = await createProject(url);
  const client = connect(url, key);
  const { data } = await post(url, key, '{ changeCursor }');
  await post(url, key, INGEST, { events: [{ type: 'log', message: 'hello', data: { n: 1 } }] });
  const query = `
    subscription Short($after: String) { ...Shared }
    subscription Long($after: String) {
      ...Shared changes(after: $after) { ... on EventChange { event { message data } } }
    }
    fragment Shared on Subscription { changes(after: $after) { ... on EventChange { event { id type } } } }`;
  for (const [operationName, event] of [
    ['Short', { type: 'log' }],
    ['Long', { type: 'log', message: 'hello', data: { n: 1 } }],
  ] as const) {
    const told = collect((sink) =>
      client.subscribe({ query, operationName, variables: { after: data.changeCursor } }, sink),
    );
    const [first] = await told.until((heard) => heard.length > 0 || told.errors.length > 0);
    expect(told.errors).toEqual([]);
    expect(first).toMatchObject({ event });
    told.stop();
  }
  await client.dispose();
});

test('a page reads the rows and their events, and what else its cursor needs only if it is old', async () => {
  const { url } = app;
  const key = await createProject(url);
  const { data } = await post(url, key, '{ changeCursor }');
  await post(url, key, INGEST, { events: [{ type: 'log', message: 'hello' }] });
  const query = 'query ($after: String) { changes(after: $after, filter: { kinds: [EVENT] }) { nodes { cursor } } }';
  // A transaction of another test may hold the feed back.
  await eventually(async () => {
    const before = app.observations.length;
    const { data: page } = await post(url, key, query, { after: data.changeCursor });
    if (page.changes.nodes.length === 0) return false;
    const names = app.observations.slice(before).flatMap((one) => (one.kind === 'statement' ? [one.name] : []));
    expect(names.filter((name) => /^(feed|changes)\./.test(name))).toEqual(['feed.changes', 'feed.askedEvents']);
    return true;
  });
});
