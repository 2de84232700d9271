import fc from 'fast-check';
import { afterAll, beforeAll, expect, test } from 'vitest';
import WebSocket from 'ws';
import { createProject, OPERATOR_KEY, post } from '../support/app.js';
import { createTestDatabase, type TestDatabase } from '../support/database.js';
import { Dice } from '../support/dice.js';
import { record } from '../support/ledger.js';
import { nested, oddText } from '../support/odd-values.js';
import { startServer, type ServerProcess } from '../support/server.js';

/**
 * What the fuzz tests of small, odd inputs cannot find: cost. They send each input once, by one door, and small. Here inputs
 * are as large as a door takes, and larger; documents come again, as they are; ids are long; values are many and all
 * different; and several doors are knocked at together. The server is a process of its own, so that what it takes can be told.
 */

const SEED = Number(process.env['FUZZ_SEED'] ?? 20_261_126);
const TIMES = Number(process.env['FUZZ_TIMES'] ?? 1);
const STORMS = 12;
/** Within which every request of a storm is answered. Milliseconds. */
const PATIENCE = 30_000;

let db: TestDatabase;
let server: ServerProcess;
let attacked: string;
let other: string;
beforeAll(async () => {
  db = await createTestDatabase();
  const limits = { RATE_LIMIT_PER_KEY: '0', RATE_LIMIT_PER_ADDRESS: '0' };
  server = await startServer({ DATABASE_URL: db.url, OPERATOR_KEY, LOG_LEVEL: 'warn', ...limits });
  [attacked, other] = [await createProject(server.url), await createProject(server.url)];
});
afterAll(async () => {
  await server.stop();
  await db.drop();
});

interface Reply {
  readonly status: number;
  readonly text: string;
}

async function send(path: string, body: string, headers: Record<string, string> = {}): Promise<Reply> {
  const response = await fetch(`${server.url}${path}`, {
    method: 'POST',
    headers: { 'Content-Type': 'application/json', Authorization: `Bearer ${attacked}`, ...headers },
    body,
    signal: AbortSignal.timeout(PATIENCE),
  });
  return { status: response.status, text: await response.text() };
}

const sendJson = (query: string, variables?: unknown): Promise<Reply> =>
  send('/graphql', JSON.stringify({ query, variables }));

const INGEST = 'mutation ($events: [EventInput!]!) { ingestEvents(events: $events) { accepted } }';
const many = <Item>(count: number, make: (at: number) => Item): Item[] =>
  Array.from({ length: count }, (_, at) => make(at));
const long = (dice: Dice): string => oddText(dice).repeat(1 + dice.below(50)) + 'x'.repeat(10 ** dice.below(5));

/** Each knocks once; what is accepted of it is told by its answer. */
const KNOCKS: ((dice: Dice) => Promise<Reply[]>)[] = [
  // A full request, of events that are all different, or all starts of one user, or large.
  async (dice) => {
    const what = dice.below(4);
    const size = what === 2 ? 7_000 : 10;
    const base = Date.now() - dice.below(3_600_000);
    const events = many(1_000, (at) => ({
      id: what === 3 ? long(dice).slice(0, 300) : `${base} ${at}`,
      type: what === 1 ? 'session' : `type ${dice.below(1_000)}`,
      occurredAt: new Date(base - dice.below(600_000)).toISOString(),
      user: { identity: what === 1 ? 'one' : `user ${dice.below(1_000)}` },
      ...(what === 0 && { sessionKey: `key ${at}`, version: `${at}.${base}` }),
      data: { text: 'x'.repeat(dice.below(size)), [`field ${at}`]: at },
    }));
    return [await sendJson(INGEST, { events })];
  },
  // One variable, or one fragment, that is used many times.
  async (dice) => {
    const count = 10 ** (1 + dice.below(3));
    const events = many(count, () => '{ user: { identity: "u" }, data: $data }').join(' ');
    const data = Object.fromEntries(many(1 + dice.below(5_000), (at) => [`f${at}`, at]));
    return [
      await sendJson(`mutation ($data: JSONObject) { ingestEvents(events: [${events}]) { accepted } }`, { data }),
    ];
  },
  // A document that is large, right or wrong, and comes again as it is.
  async (dice) => {
    const fields = many(1 + dice.below(3_000), (at) =>
      dice.pick(['name', 'nope', `a${at}: name`, `b${at}: nope(x: 1)`]),
    );
    const fragments = many(dice.below(200), (at) => `fragment F${at} on Project { ...F${at + 1} name }`);
    const query = `{ project { ${fields.join(' ')} ${fragments.length > 0 ? '...F0' : ''} } } ${fragments.join(' ')}`;
    return Promise.all(many(3, () => sendJson(query)));
  },
  // Long lists, by many names.
  async (dice) => {
    const of = many(10 ** dice.below(5), (at) => `user ${at}`);
    const aliases = many(1 + dice.below(120), (at) => `a${at}: presenceOf(identities: $of) { status }`);
    return [await sendJson(`query ($of: [String!]!) { ${aliases.join(' ')} }`, { of })];
  },
  // Figures and whole events, by many names.
  async (dice) => {
    const one = dice.pick([
      'sessionStats { sessions }',
      'sessions(first: 100) { totalCount nodes { events(first: 100) { nodes { data } } } }',
      'events(first: 100) { nodes { d1: data d2: data d3: data } }',
    ]);
    return [await sendJson(`{ ${many(1 + dice.below(100), (at) => `a${at}: ${one}`).join(' ')} }`)];
  },
  // Collector events of many fields, or deep, and many of them.
  async (dice) => {
    const fields = Object.fromEntries(
      many(dice.below(30_000), (at) => [dice.pick(['data', `d${at}`, `@f${at}`]) + at, at]),
    );
    const body = dice.pick([
      JSON.stringify({ type: 'log', ...fields }),
      JSON.stringify(many(1_000, (at) => ({ type: 'log', reference_id: `reference-${at}`, message: `${at}` }))),
      nested(1 + dice.below(30_000)),
      `[${'{},'.repeat(dice.below(500_000))}{}]`,
    ]);
    return [await send('/api/v2/events', body)];
  },
  // Descriptions of one event, again and again.
  async (dice) => {
    const id = `reference-${dice.below(3)}`;
    const body = JSON.stringify({ description: 'x'.repeat(dice.below(70_000)), email_address: 'ada@example.com' });
    return Promise.all(many(20, () => send(`/api/v2/events/by-ref/${id}/user-description`, body)));
  },
  // A socket with long ids, many subscriptions, and messages that do not end.
  async (dice) => {
    const socket = new WebSocket(`${server.url.replace('http', 'ws')}/graphql`, 'graphql-transport-ws');
    const closed = new Promise<void>((resolve) => socket.once('close', () => resolve()));
    socket.on('error', () => {});
    await new Promise<void>((resolve) => {
      socket.once('open', () => resolve());
      socket.once('close', () => resolve());
    });
    if (dice.below(4) > 0)
      socket.send(JSON.stringify({ type: 'connection_init', payload: { authorization: attacked } }));
    const subscriptions = many(1 + dice.below(150), (at) =>
      JSON.stringify({
        id: dice.oneIn(30) ? 'x'.repeat(10 ** (1 + dice.below(6))) : `${at}`,
        type: 'subscribe',
        payload: {
          query: `subscription ($f: EventFilter, $i: [String!]) { ${dice.pick(['eventIngested(filter: $f) { id }', 'userPresence(identities: $i) { kind }'])} }`,
          variables: { f: { types: [`type ${at}`], search: oddText(dice) }, i: [`user ${at}`] },
        },
      }),
    );
    for (const message of subscriptions) if (socket.readyState === socket.OPEN) socket.send(message);
    if (socket.readyState === socket.OPEN) socket.send('x'.repeat(10 ** dice.below(7)), { fin: false });
    const timer = setTimeout(() => socket.terminate(), 1_000);
    await closed;
    clearTimeout(timer);
    return [];
  },
];

/** What the server tells of itself: the longest turn of its loop since it was asked last, and its memory. */
async function figures(): Promise<{ lag: number; memory: number }> {
  const response = await fetch(`${server.url}/metrics`, { headers: { Authorization: `Bearer ${OPERATOR_KEY}` } });
  const text = await response.text();
  const read = (name: string): number => Number(new RegExp(`^${name} (\\S+)$`, 'm').exec(text)?.[1]);
  return {
    lag: Math.round(read('nodejs_eventloop_lag_max_seconds') * 1_000),
    memory: Math.round(read('process_resident_memory_bytes') / 1_000_000),
  };
}

test('storms of large inputs by several doors at once: each is answered, others are served, nothing fails inside', async () => {
  const before = await figures();
  let lag = 0;
  let memory = 0;
  let answers = 0;
  let slowest = 0;
  await fc.assert(
    fc.asyncProperty(fc.integer(), async (seed) => {
      const dice = new Dice(seed);
      const knocks = many(8, () => dice.pick(KNOCKS)(new Dice(dice.below(2 ** 31))));
      let isOver = false;
      // Somebody else's page meanwhile.
      async function others(): Promise<void> {
        while (!isOver) {
          const start = performance.now();
          const { status, errors } = await post(
            server.url,
            other,
            '{ project { name } presence { nodes { identity } } }',
          );
          expect([status, errors]).toEqual([200, undefined]);
          slowest = Math.max(slowest, performance.now() - start);
        }
      }
      const served = others();
      const replies = (await Promise.all(knocks)).flat();
      isOver = true;
      await served;
      for (const { status, text } of replies) {
        answers += 1;
        if ((status >= 500 && status !== 503) || text.includes('"INTERNAL"'))
          throw new Error(`${status} ${text.slice(0, 500)}`);
      }
      const now = await figures();
      lag = Math.max(lag, now.lag);
      memory = Math.max(memory, now.memory);
    }),
    { seed: SEED, numRuns: STORMS * TIMES, endOnFailure: true },
  );
  record('fuzz: storms of large inputs', STORMS * TIMES);
  record('fuzz: answers in them', answers);
  record('fuzz: the longest turn of the loop in them, milliseconds', lag);
  record('fuzz: the longest that somebody else waited, milliseconds', Math.round(slowest));
  record('fuzz: megabytes above rest', memory - before.memory);
  expect(server.output()).not.toMatch(/request.failed|task.failed|batch.poisoned|uncaught|heap/i);
  expect((await post(server.url, attacked, '{ project { name } }')).errors).toBeUndefined();
  // Bounds that hold on a busy machine: what this is to find takes seconds and gigabytes.
  expect(lag).toBeLessThan(3_000);
  expect(memory - before.memory).toBeLessThan(1_000);
}, 300_000);
