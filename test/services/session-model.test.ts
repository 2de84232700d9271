import fc from 'fast-check';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { Database } from '../../src/store/database.js';
import { createTestDatabase, type TestDatabase } from '../support/database.js';
import { histories, type Kinds } from '../support/session-histories.js';
import type { ModelEvent } from '../support/session-model.js';
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

/**
 * Histories of each property. Each takes 0.12 s on two busy cores, so these take some 2 minutes. Who changes
 * a rule runs more: MODEL_RUNS=4300 makes 60,000 of them in all.
 */
const RUNS = Number(process.env['MODEL_RUNS'] ?? 60);
/** Histories of each of the six properties of devices. */
const DEVICE_RUNS = Number(process.env['MODEL_RUNS'] ?? 15);

/** Fails with the shortest history found, told as a list. */
async function holds(history: fc.Arbitrary<History>, servers: Servers, numRuns: number): Promise<void> {
  const property = fc.asyncProperty(history, async (one) => {
    const wrong = await difference(db, second, one, servers);
    if (wrong) throw new Error(wrong);
  });
  const { failed, counterexample, errorInstance, seed } = await fc.check(property, {
    numRuns,
    endOnFailure: process.env['MODEL_QUICK'] === '1',
    ...(process.env['MODEL_SEED'] && { seed: Number(process.env['MODEL_SEED']) }),
  });
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
const D1 = { deviceId: 'device-1' };
const D2 = { deviceId: 'device-2' };
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
  'a device of one user': { who: [D1, { ...D1, ...ADA }], types: TYPES },
  'a device of one user, without starts and ends': { who: [D1, { ...D1, ...ADA }], types: ['log', 'heartbeat'] },
  'devices and users': {
    who: [D1, { ...D1, ...ADA }, { ...D1, ...BOB }, { ...D2, ...ADA }, D2, ADA, { ...KEY, ...D1, ...ADA }],
    types: TYPES,
    ids: ['one'],
  },
  'clocks of clients': { who: [ADA, KEY], types: TYPES, skews: [-3_600, -5, -2, 0, 1, 2, 5, 3_600] },
};

for (const [name, kinds] of Object.entries(families)) {
  for (const servers of ['TWO', 'PLAN_ONLY'] as const) {
    const how = servers === 'TWO' ? 'by two servers in turns' : 'without the shortcut';
    const runs = kinds.who.some(({ deviceId }) => deviceId !== undefined) ? DEVICE_RUNS : RUNS;
    test(`${name}, ${how}`, () => holds(histories(kinds), servers, runs), 150_000 + runs * 500);
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

test('rules 12 and 14: a start at the instant at which a session has ended is not the start of that session', async () => {
  const settings = { inactivityTimeout: 20, presenceTimeout: 75, sessionStart: 'RESUME' as const };
  const ada = (type: string, t: number) => ({ type, t, user: 'ada' });
  const requests = [
    [ada('log', 30)],
    [ada('log', 60), ada('sessionend', 30)],
    [ada('session', 30)],
    [ada('log', 25)],
    [ada('session', 25)],
  ];
  const history = { settings, steps: requests.map((events) => ({ at: 60, events })) };
  expect(await difference(db, second, history, 'TWO')).toBeNull();
});

test('rules 3 and 27: sessions of one instant on a device are in the order in which they began, whoever they are of', async () => {
  // An order by chance is right for every second device. Eight devices show it.
  const devices = Array.from({ length: 8 }, (_, at) => ({ deviceId: `device-${at}` }));
  const each = (events: (device: { deviceId: string }) => ModelEvent[]): ModelEvent[] => devices.flatMap(events);
  const settings = { inactivityTimeout: 10, presenceTimeout: 10, sessionStart: 'RESTART' as const };
  const requests: [number, ModelEvent[]][] = [
    [
      60,
      each((device) => [
        { type: 'log', t: 60, ...device },
        { type: 'sessionend', t: 60, user: 'ada', ...device },
        { type: 'log', t: 60, ...device },
      ]),
    ],
    [75, each((device) => [{ type: 'heartbeat', t: 75, user: 'ada', ...device }])],
    [80, each((device) => [{ type: 'log', t: 70, ...device }])],
    [80, each((device) => [{ type: 'heartbeat', t: 80, ...device }])],
  ];
  const history = { settings, steps: requests.map(([at, events]) => ({ at, events })) };
  expect(await difference(db, second, history, 'TWO')).toBeNull();
});

test('rules 3 and 7: of two sessions that begin at one instant, the one that has ended there is first', async () => {
  const settings = { inactivityTimeout: 20, presenceTimeout: 75, sessionStart: 'RESTART' as const };
  const device = { deviceId: 'device-1' };
  const steps = [
    [
      { type: 'log', t: 40, ...device },
      { type: 'sessionend', t: 40, user: 'ada', ...device },
      { type: 'log', t: 60, ...device },
    ],
    [
      // The open session's start moves back to the end of the one before.
      { type: 'log', t: 40, user: 'ada', ...device },
      { type: 'log', t: 60, ...device },
    ],
  ].map((events) => ({ at: 60, events }));
  expect(await difference(db, second, { settings, steps }, 'TWO')).toBeNull();
});

test('rules 3 and 6: an event of the device ends the session of a user who left it long ago', async () => {
  const settings = { inactivityTimeout: 20, presenceTimeout: 10, sessionStart: 'RESUME' as const };
  const device = { deviceId: 'device-1' };
  const steps = [
    { at: 60, events: [{ type: 'log', t: 55, user: 'bob', ...device }] },
    { at: 80, beat: { identity: 'ada', ...device }, close: false },
    { at: 80, beat: device, close: false },
    { at: 80, events: [{ type: 'session', t: 50, ...device }] },
  ];
  expect(await difference(db, second, { settings, steps }, 'TWO')).toBeNull();
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
