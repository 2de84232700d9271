import fc from 'fast-check';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { createTestDatabase, type TestDatabase } from '../support/database.js';
import { onlineIdentities, sessionsLeftOpen, sessionsThatMiscount, usersMisstated } from '../support/rules.js';
import { shownBy } from '../support/shown-presence.js';
import { createStage, type Stage, type StageEvent } from '../support/stage.js';

/** What must hold for every order and grouping, on a real database. */

let db: TestDatabase;
beforeAll(async () => {
  db = await createTestDatabase();
});
afterAll(() => db.drop());

const INACTIVITY = 300;
/** A heartbeat that is older at its arrival opens nothing (rule 18): here none is. */
const LATE = { presenceTimeout: 86_400 };

/** What rule 27 says is the same: starts, ends, counts and durations. */
async function outline(stage: Stage, identity: string) {
  const sessions = await stage.sessions(identity);
  return sessions.map(({ start, last, end, events, errors }) => ({ start, last, end, events, errors }));
}

/** Sessions worked out from the times alone: a gap longer than the timeout parts two; all but the last have ended. */
function expected(events: readonly StageEvent[]) {
  const sorted = events.toSorted((a, b) => a.t! - b.t!);
  const groups: StageEvent[][] = [];
  for (const event of sorted) {
    const current = groups.at(-1);
    if (current && event.t! - current.at(-1)!.t! <= INACTIVITY) current.push(event);
    else groups.push([event]);
  }
  return groups.map((group, at) => ({
    start: group[0]!.t!,
    last: group.at(-1)!.t!,
    end: at === groups.length - 1 ? null : group.at(-1)!.t!,
    events: group.filter((event) => event.type !== 'heartbeat').length,
    errors: group.filter((event) => event.type === 'error').length,
  }));
}

const type = fc.constantFrom('log', 'usage', 'error', 'heartbeat', 'page view');

/** Gaps between neighbouring events, near and far from the timeout. */
const gap = fc.oneof(fc.integer({ min: 0, max: 299 }), fc.constantFrom(300, 301), fc.integer({ min: 302, max: 2000 }));

const history = fc.array(fc.record({ gap, type }), { minLength: 1, maxLength: 12 }).map((steps) => {
  let t = 0;
  return steps.map((step): StageEvent => ({ type: step.type, t: (t += step.gap), user: 'ada' }));
});

/** A history, the order it arrives in, and where the requests begin. */
const arrival = history.chain((events) =>
  fc.record({
    events: fc.constant(events),
    order: fc.shuffledSubarray(
      events.map((_, at) => at),
      { minLength: events.length },
    ),
    cuts: fc.array(fc.boolean(), { minLength: events.length, maxLength: events.length }),
  }),
);

function inRequests(events: readonly StageEvent[], order: readonly number[], cuts: readonly boolean[]): StageEvent[][] {
  const requests: StageEvent[][] = [[]];
  order.forEach((index, at) => {
    if (cuts[at] && requests.at(-1)!.length > 0) requests.push([]);
    requests.at(-1)!.push(events[index]!);
  });
  return requests;
}

test('rule 27: any order and any grouping give the same sessions', async () => {
  await fc.assert(
    fc.asyncProperty(arrival, async ({ events, order, cuts }) => {
      const stage = await createStage(db, LATE);
      stage.at(86_400);
      for (const request of inRequests(events, order, cuts)) await stage.send(...request);
      expect(await outline(stage, 'ada')).toEqual(expected(events));
    }),
    { numRuns: 150 },
  );
});

test('rule 27: requests that arrive at once give the same sessions', async () => {
  await fc.assert(
    fc.asyncProperty(arrival, async ({ events, order, cuts }) => {
      const stage = await createStage(db, LATE);
      stage.at(86_400);
      await Promise.all(inRequests(events, order, cuts).map((request) => stage.send(...request)));
      expect(await outline(stage, 'ada')).toEqual(expected(events));
    }),
    { numRuns: 50 },
  );
});

test('rule 27: the events stand in the session that spans them', async () => {
  await fc.assert(
    fc.asyncProperty(arrival, async ({ events, order, cuts }) => {
      const stage = await createStage(db, LATE);
      stage.at(86_400);
      for (const request of inRequests(events, order, cuts)) await stage.send(...request);
      expect(await sessionsThatMiscount(stage.database, stage.projectId)).toEqual([]);
    }),
    { numRuns: 50 },
  );
});

/** Anything a client may say, explicit starts and ends included. */
const anything = fc.array(
  fc.record({
    gap: fc.integer({ min: 0, max: 400 }),
    type: fc.constantFrom('log', 'error', 'heartbeat', 'session', 'sessionend'),
    who: fc.constantFrom(
      { user: 'ada' },
      { user: 'bob' },
      { sessionKey: 'the-key-1', user: 'ada' },
      { sessionKey: 'the-key-2' },
      {},
    ),
    named: fc.boolean(),
  }),
  { minLength: 1, maxLength: 15 },
);

test('rule 25: retries, whole or in part and at once, change nothing', async () => {
  await fc.assert(
    fc.asyncProperty(
      anything,
      fc.array(fc.nat(14), { maxLength: 10 }),
      fc.constantFrom('RESTART', 'RESUME'),
      async (steps, again, sessionStart) => {
        const stage = await createStage(db, { sessionStart: sessionStart });
        stage.at(86_400);
        let t = 0;
        const events = steps.map((step, at): StageEvent => ({
          id: `event ${at}`,
          type: step.type,
          t: (t += step.gap),
          ...step.who,
        }));
        const first = await stage.send(...events);
        const before = await stage.sessions();
        const edges = stage.edges().length;
        const retried = again.filter((at) => at < events.length);
        const [whole, ...parts] = await Promise.all([
          stage.send(...events),
          ...retried.map((at) => stage.send(events[at]!)),
        ]);
        expect(await stage.sessions()).toEqual(before);
        expect(stage.edges()).toHaveLength(edges);
        for (const [at, outcome] of whole.entries()) {
          expect(outcome).toMatchObject({ status: 'DUPLICATE', eventId: first[at]!.eventId });
          if (first[at]!.eventId) expect(outcome.sessionId).toBe(first[at]!.sessionId);
        }
        parts.forEach(([outcome], at) => expect(outcome!.eventId).toBe(first[retried[at]!]!.eventId));
      },
    ),
    { numRuns: 60 },
  );
});

test('whatever is sent, in whatever order, with closers in between, the rows keep the rules', async () => {
  await fc.assert(
    fc.asyncProperty(
      fc.array(
        fc.record({
          late: fc.integer({ min: 0, max: 900 }),
          wait: fc.integer({ min: 0, max: 200 }),
          type: fc.constantFrom('log', 'error', 'heartbeat', 'session', 'sessionend', 'close'),
          who: fc.constantFrom({ user: 'ada' }, { user: 'bob' }, { sessionKey: 'the-key-1', user: 'ada' }),
          closer: fc.boolean(),
        }),
        { minLength: 1, maxLength: 20 },
      ),
      fc.constantFrom('RESTART', 'RESUME'),
      async (steps, sessionStart) => {
        const stage = await createStage(db, { sessionStart: sessionStart });
        let now = 2000;
        for (const step of steps) {
          stage.at((now += step.wait));
          if (step.closer) await stage.close();
          if (step.type === 'close') {
            const { who } = step;
            await stage.beat('sessionKey' in who ? { sessionKey: who.sessionKey } : { identity: who.user }, true);
          } else await stage.send({ type: step.type, t: now - step.late, ...step.who });
        }
        await stage.close();
        // Presence is what the sessions say, once the closer has looked.
        expect(await usersMisstated(stage.database, stage.projectId, stage.now())).toEqual([]);
        // Whoever heard the edges shows the same; each is a change, and names the one before it.
        const shown = [...shownBy(stage.edges())].filter(([, sessions]) => sessions > 0).map(([identity]) => identity);
        expect(shown.toSorted()).toEqual(await onlineIdentities(stage.database, stage.projectId));
        // Nothing inactive is left open.
        expect(await sessionsLeftOpen(stage.database, stage.projectId, stage.now())).toEqual([]);
      },
    ),
    { numRuns: 80 },
  );
});
