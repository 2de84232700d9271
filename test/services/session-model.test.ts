import fc from 'fast-check';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { Database } from '../../src/store/database.js';
import { createTestDatabase, type TestDatabase } from '../support/database.js';
import { histories, type Kinds } from '../support/session-histories.js';
import { createStage } from '../support/stage.js';
import { difference, tell, type History, type Servers } from '../support/session-history.js';

/** Whatever happens: the sessions and the verdicts are those of the rules' model (test/support/session-model.ts). */

let db: TestDatabase;
let second: Database;
beforeAll(async () => {
  db = await createTestDatabase();
  second = db.open();
});
afterAll(() => db.drop());

/** Histories of each property; MODEL_RUNS=4300 makes 60,000 of them in all. */
const RUNS = Number(process.env['MODEL_RUNS'] ?? 150);

/** Fails with the shortest history found, told as a list. */
async function holds(history: fc.Arbitrary<History>, servers: Servers, numRuns = RUNS): Promise<void> {
  const property = fc.asyncProperty(history, async (one) => {
    const wrong = await difference(db, second, one, servers);
    if (wrong) throw new Error(wrong);
  });
  const { failed, counterexample, errorInstance, seed } = await fc.check(property, { numRuns });
  if (failed) {
    const why = errorInstance instanceof Error ? errorInstance.message : String(errorInstance);
    expect.fail(`seed ${seed}\n${counterexample ? tell(counterexample[0]) : ''}\n${why}`);
  }
}

const TYPES = ['log', 'log', 'error', 'heartbeat', 'session', 'sessionend'];
const ADA = { user: 'ada' };
const BOB = { user: 'bob' };
const KEY = { sessionKey: 'key-0001' };
const NOBODY = {};
const THREE_DAYS = 3 * 86_400;

/** What each property is about; the rest of the rules holds in each. */
const families: Readonly<Record<string, Kinds>> = {
  'sessions of one user': { who: [ADA], types: TYPES },
  'sessions of one user, no two events at once': { who: [ADA], types: TYPES, apart: 0.001 },
  'events and heartbeats without starts and ends': { who: [ADA], types: ['log', 'heartbeat'] },
  'named sessions': { who: [KEY, { ...KEY, ...ADA }, { ...KEY, ...BOB }], types: TYPES },
  'sessions of everybody': {
    who: [ADA, BOB, KEY, { ...KEY, ...ADA }, { sessionKey: 'key-0002', ...ADA }, NOBODY, { user: ' null ' }],
    types: TYPES,
  },
  'ids and repeats': {
    who: [ADA, BOB, KEY, { ...KEY, ...ADA }, NOBODY],
    types: TYPES,
    ids: ['one', 'two'],
    late: [THREE_DAYS - 10, THREE_DAYS, THREE_DAYS + 5],
  },
  'clocks of clients': { who: [ADA, KEY], types: TYPES, skews: [-3_600, -5, -2, 0, 1, 2, 5, 3_600] },
};

for (const [name, kinds] of Object.entries(families)) {
  for (const servers of ['TWO', 'PLAN_ONLY'] as const) {
    const how = servers === 'TWO' ? 'by two servers in turns' : 'without the short way';
    test(`${name}, ${how}`, () => holds(histories(kinds), servers), 60_000 + RUNS * 100);
  }
}

test('rule 10: a history that is sent by a clock that is an hour wrong gives the same sessions', async () => {
  const events = [
    { type: 'log', t: 0, user: 'ada' },
    { type: 'sessionend', t: 40, user: 'ada' },
    { type: 'log', t: 50, user: 'ada' },
  ];
  const settings = { inactivityTimeout: 300, presenceTimeout: 75, sessionStart: 'RESTART' as const };
  const wrong = await difference(db, second, { settings, steps: [{ at: 3_660, sentAt: 60, events }] }, 'TWO');
  expect(wrong).toBeNull();
});

test('rule 22: what a session keeps is bounded, and what is beyond is counted', async () => {
  const stage = await createStage(db);
  const part = 'x'.repeat(30_000);
  await stage.send({ type: 'session', user: 'ada', data: { first: part, second: part, third: part } });
  for (let at = 0; at < 3; at += 1) {
    const events = Array.from({ length: 100 }, (_, number) => ({
      user: 'ada',
      type: `type ${at} ${number}`,
    }));
    const outcomes = await stage.send(...events);
    expect(outcomes.map(({ status }) => status)).toEqual(events.map(() => 'ACCEPTED'));
  }
  const [row] = await stage.database.query<{ events: number; types: number; bytes: number }>({
    name: 'test.bounded',
    text: `SELECT event_count AS events, cardinality(event_types) AS types, octet_length(data::text) AS bytes
           FROM sessions WHERE project_id = $1`,
    values: [stage.projectId],
  });
  expect(row).toMatchObject({ events: 301, types: 200 });
  expect(row!.bytes).toBeLessThanOrEqual(65_536);
});
