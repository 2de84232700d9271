import fc from 'fast-check';
import { expect, test } from 'vitest';
import { planDifference } from '../support/plan-history.js';
import { histories, type Kinds } from '../support/session-histories.js';
import { tell, type History } from '../support/session-history.js';

/**
 * The plan alone against the model of the rules, without a database, so that many more histories can be played. (With the
 * database: session-model.test.ts.)
 */

/** Histories of each property. 1,000 take 3 s of one core. PLAN_RUNS=20000 is for a change of the rules. */
const RUNS = Number(process.env['PLAN_RUNS'] ?? 500);

const TYPES = ['log', 'log', 'error', 'heartbeat', 'session', 'sessionend'];
const ADA = { user: 'ada' };
const BOB = { user: 'bob' };
const D1 = { deviceId: 'device-1' };
const D2 = { deviceId: 'device-2' };

/** The same histories with timeouts that change in the midst, once or twice. */
const withChanges = (history: fc.Arbitrary<History>): fc.Arbitrary<History> =>
  fc
    .tuple(
      history,
      fc.array(fc.record({ place: fc.nat(9), inactivityTimeout: fc.constantFrom(10, 20, 40) }), {
        minLength: 1,
        maxLength: 2,
      }),
    )
    .map(([{ settings, steps }, changes]) => {
      const all = [...steps];
      for (const { place, inactivityTimeout } of changes) {
        const at = place % all.length;
        all.splice(at, 0, { at: all[at]!.at, settings: { inactivityTimeout } });
      }
      return { settings, steps: all };
    });

const families: Readonly<Record<string, Kinds>> = {
  'sessions of one user': { who: [ADA], types: TYPES },
  'a device of one user': { who: [D1, { ...D1, ...ADA }], types: TYPES },
  'a device of one user, without starts and ends': { who: [D1, { ...D1, ...ADA }], types: ['log', 'heartbeat'] },
  'a device of two users': { who: [D1, D1, { ...D1, ...ADA }, { ...D1, ...BOB }], types: TYPES },
  'devices and users': { who: [D1, { ...D1, ...ADA }, { ...D1, ...BOB }, { ...D2, ...ADA }, D2, ADA], types: TYPES },
};

test('rule 3: an ended session of nobody does not go on beside a later session of the device', () => {
  const settings = { inactivityTimeout: 10, presenceTimeout: 75, sessionStart: 'RESTART' as const };
  const steps = [
    {
      at: 60,
      events: [
        { type: 'log', t: 60, ...D1, ...ADA },
        { type: 'log', t: 45, ...D1 },
      ],
    },
    // By the new timeout the session of nobody would still be near.
    { at: 60, settings: { inactivityTimeout: 40 } },
    {
      at: 60,
      events: [
        { type: 'sessionend', t: 60, ...D1 },
        { type: 'log', ...D1 },
      ],
    },
    { at: 60, beat: { identity: 'ada', ...D1 }, close: false },
  ];
  expect(planDifference({ settings, steps })).toBeNull();
});

test('rules 3 and 18: of two sessions that began at one instant, an early heartbeat of the device finds the one heard later', () => {
  const settings = { inactivityTimeout: 10, presenceTimeout: 10, sessionStart: 'RESTART' as const };
  const requests = [
    [{ type: 'log', t: 50, ...D1, ...BOB }],
    [
      { type: 'log', t: 50, ...D1, ...ADA },
      { type: 'log', ...D1, ...BOB },
    ],
    [
      { type: 'heartbeat', t: 35, ...D1 },
      { type: 'log', t: 30, ...D1 },
    ],
  ];
  expect(planDifference({ settings, steps: requests.map((events) => ({ at: 60, events })) })).toBeNull();
});

test.each(Object.entries(families))(
  '%s',
  (_name, kinds) => {
    const property = fc.property(fc.oneof(histories(kinds), withChanges(histories(kinds))), (history) => {
      const wrong = planDifference(history);
      if (wrong) throw new Error(wrong);
    });
    const seed = process.env['PLAN_SEED'];
    const { failed, counterexample, errorInstance, ...run } = fc.check(property, {
      numRuns: RUNS,
      ...(seed && { seed: Number(seed) }),
    });
    if (failed)
      expect.fail(`seed ${run.seed}\n${counterexample ? tell(counterexample[0]) : ''}\n${String(errorInstance)}`);
  },
  600_000,
);
