import fc from 'fast-check';
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { livenessOf } from '../../src/domain/online.js';
import type { WorkingSession } from '../../src/domain/session.js';
import { FRESH } from '../../src/services/pulse.js';
import type { Database } from '../../src/store/database.js';
import { onlineUntil } from '../../src/store/presence/online-until.js';
import { presenceOf } from '../../src/store/presence/read-presence.js';
import { beat, GAP } from '../../src/store/pulse.js';
import { createTestDatabase, type TestDatabase } from '../support/database.js';
import { usersMisstated } from '../support/rules.js';
import { createStage, type Stage } from '../support/stage.js';

/** What becomes of presence where no server was there to be spoken to. The defaults: 300 and 75 seconds. */

let db: TestDatabase;
beforeAll(async () => {
  db = await createTestDatabase();
});
afterAll(() => db.drop());
beforeEach(() => forget(db.open()));

/** As if no server had ever been there. */
async function forget(database: Database): Promise<void> {
  await database.query({ name: 'test', text: 'UPDATE pulse SET beat_at = NULL' });
  await database.query({ name: 'test', text: 'UPDATE outage SET away_from = NULL, back_at = NULL' });
}

/** The clock is `seconds`, and the service has been there since the last time it was set. */
async function go(stage: Stage, seconds: number): Promise<void> {
  stage.at(seconds);
  await stage.database.query({ name: 'test', text: 'UPDATE pulse SET beat_at = $1', values: [stage.now()] });
}

/** The service is there until `from`, and again from `to` on, which has been noticed or not. */
async function away(stage: Stage, from: number, to: number, noticed = true): Promise<void> {
  await go(stage, from);
  stage.at(to);
  if (noticed) await beat(stage.database, GAP, stage.now());
}

/** Each change of a status. */
function statuses(stage: Stage, user?: string): string[] {
  const shown = new Map<string, string>();
  return stage.edges().flatMap(({ presence: { identity, status } }) => {
    if ((user !== undefined && identity !== user) || shown.get(identity) === status) return [];
    shown.set(identity, status);
    return [status];
  });
}

async function closeAt(stage: Stage, ...times: number[]): Promise<void> {
  for (const time of times) {
    await go(stage, time);
    await stage.close();
  }
}

test('whoever counted as online when the service went away has one presenceTimeout from its return', async () => {
  const stage = await createStage(db);
  for (const identity of ['ada', 'ghost']) await stage.beat({ identity });
  await away(stage, 10, 200);
  await closeAt(stage, 200, 201, 274);
  expect(statuses(stage)).toEqual(['ONLINE', 'ONLINE']);
  await stage.beat({ identity: 'ada' });
  await closeAt(stage, 274.9);
  expect(statuses(stage, 'ghost')).toEqual(['ONLINE']);
  await closeAt(stage, 275, 299);
  expect(statuses(stage, 'ghost')).toEqual(['ONLINE', 'OFFLINE']);
  expect(statuses(stage, 'ada')).toEqual(['ONLINE']);
  expect(await stage.sessions()).toMatchObject([
    { start: 0, last: 0, end: null },
    { start: 0, last: 274, end: null },
  ]);
});

test('so has whoever missed heartbeats in an outage that was shorter than presenceTimeout', async () => {
  const stage = await createStage(db);
  await stage.beat({ identity: 'ada' });
  await away(stage, 10, 60);
  // Every thirty seconds: at 30 and at 60 nobody was there.
  await closeAt(stage, 60, 75, 89);
  await go(stage, 90);
  await stage.beat({ identity: 'ada' });
  await closeAt(stage, 150);
  expect(statuses(stage)).toEqual(['ONLINE']);
});

test('what was due to end waits as long, and ends where it would have; who comes back meanwhile is told of to nobody', async () => {
  const stage = await createStage(db);
  await stage.send({ user: 'ada', t: 0 }, { user: 'ghost', t: 0 });
  await stage.beat({ identity: 'bob' });
  await away(stage, 10, 1_000);
  await closeAt(stage, 1_000, 1_060);
  expect(statuses(stage)).toEqual(['ONLINE', 'ONLINE', 'ONLINE']);
  await stage.send({ user: 'ada', t: 1_060 });
  await stage.beat({ identity: 'bob' });
  await closeAt(stage, 1_075, 1_100);
  expect(statuses(stage, 'ghost')).toEqual(['ONLINE', 'OFFLINE']);
  for (const user of ['ada', 'bob']) {
    expect(statuses(stage, user)).toEqual(['ONLINE']);
    // Rule 6, whether the closer has run or not.
    expect(await stage.sessions(user)).toMatchObject([
      { start: 0, last: 0, end: 0, reason: 'INACTIVITY' },
      { start: 1_060, last: 1_060, end: null },
    ]);
  }
  expect(await stage.sessions('ghost')).toMatchObject([{ start: 0, last: 0, end: 0, reason: 'INACTIVITY' }]);
  expect(await usersMisstated(stage.database, stage.projectId, stage.now())).toEqual([]);
});

test('what is sent of the past after a return, in one request or in several, brings nobody online', async () => {
  const stage = await createStage(db);
  await stage.beat({ identity: 'bob' });
  await away(stage, 100, 2_000);
  const past = (t: number) => stage.send({ user: 'ada', t }, { type: 'heartbeat', user: 'bob', t }, { user: 'cyd', t });
  for (const t of [10, 20, 30, 500, 510, 520]) await past(t);
  await closeAt(stage, 2_000, 2_100);
  expect(statuses(stage, 'ada')).toEqual([]);
  expect(statuses(stage, 'cyd')).toEqual([]);
});

test('an outage during the waiting, and one that came before anybody was looked at, begin it anew', async () => {
  for (const looks of [true, false]) {
    const stage = await createStage(db);
    await stage.beat({ identity: 'ada' });
    await away(stage, 10, 200);
    if (looks) await closeAt(stage, 200);
    await away(stage, 210, 900);
    await closeAt(stage, 900, 974.9);
    expect(statuses(stage)).toEqual(['ONLINE']);
    await closeAt(stage, 975);
    expect(statuses(stage)).toEqual(['ONLINE', 'OFFLINE']);
  }
});

test('who was offline before stays so, and the session ends at the return', async () => {
  const stage = await createStage(db);
  await stage.beat({ identity: 'ada' });
  await closeAt(stage, 80);
  await away(stage, 90, 400);
  await closeAt(stage, 400);
  expect(statuses(stage)).toEqual(['ONLINE', 'OFFLINE']);
  expect(await stage.sessions()).toMatchObject([{ end: 0, reason: 'INACTIVITY' }]);
});

test.each([true, false])(
  'before the closer has looked, nothing else tells anybody offline, and presence counts who waits (noticed: %s)',
  async (noticed) => {
    const stage = await createStage(db);
    await stage.beat({ identity: 'ada' });
    await stage.send({ sessionKey: 'the-key-1', user: 'ada', t: 0 }, { user: 'bob', t: 0 }, { user: 'cyd', t: 0 });
    await away(stage, 10, 1_000, noticed);
    const reach = { projectId: stage.projectId, userIds: null };
    expect(await presenceOf(stage.database, reach, ['ada'])).toMatchObject([{ status: 'ONLINE', onlineSessions: 2 }]);
    // Sent when nobody heard it.
    await stage.send({ user: 'ada', t: 40 }, { user: 'bob', t: 20 }, { user: 'cyd', t: 500 });
    // One of two sessions ends.
    await stage.send({ type: 'sessionend', sessionKey: 'the-key-1', t: 1_000 });
    await beat(stage.database, GAP, stage.now());
    await closeAt(stage, 1_000, 1_074.9);
    for (const user of ['ada', 'bob', 'cyd']) expect(statuses(stage, user)).toEqual(['ONLINE']);
    // A late one again, while it waits.
    await stage.send({ user: 'ada', t: 41 }, { user: 'bob', t: 21 }, { user: 'cyd', t: 501 });
    await closeAt(stage, 1_074.9);
    for (const user of ['ada', 'bob', 'cyd']) expect(statuses(stage, user)).toEqual(['ONLINE']);
    await closeAt(stage, 1_075);
    for (const user of ['ada', 'bob', 'cyd']) expect(statuses(stage, user)).toEqual(['ONLINE', 'OFFLINE']);
  },
);

/** Seconds between looks. */
const STEP = 5;

test('whenever the service is away, however often: who goes on speaking is told of once, and a ghost goes in time', async () => {
  const outage = fc.record({ after: fc.integer({ min: 1, max: 40 }), steps: fc.integer({ min: 1, max: 150 }) });
  await fc.assert(
    fc.asyncProperty(
      fc.array(outage, { minLength: 1, maxLength: 4 }),
      fc.array(fc.integer({ min: 2, max: 14 }), { minLength: 3, maxLength: 3 }),
      fc.integer({ min: 0, max: 60 }),
      fc.infiniteStream(fc.boolean()),
      async (outages, periods, ghostUntil, chance) => {
        const toss = (): boolean => chance.next().value as boolean;
        const stage = await createStage(db);
        await forget(stage.database);
        const there = outages.flatMap(({ after, steps }) => [
          ...Array.from({ length: after }, () => true),
          ...Array.from({ length: steps }, () => false),
        ]);
        there.push(...Array.from({ length: 20 }, () => true));
        let returned = 0;
        let ghostAt = 0;
        let gone = Infinity;
        for (const [step, isThere] of there.entries()) {
          if (!isThere) continue;
          const now = step * STEP;
          const isReturn = step > 0 && !there[step - 1];
          if (isReturn) {
            returned = now;
            stage.at(now);
          } else await go(stage, now);
          const close = async (): Promise<void> => {
            await beat(stage.database, GAP, stage.now());
            await stage.close();
          };
          const speak = async (): Promise<void> => {
            for (const [user, period] of periods.entries()) {
              if (step % period === user % period) await stage.beat({ identity: `user ${user}` });
              // What it could not send.
              else if (isReturn && toss()) await stage.send({ user: `user ${user}`, t: now - STEP });
            }
            if (step > ghostUntil) return;
            await stage.beat({ identity: 'ghost' });
            ghostAt = now;
          };
          for (const act of toss() ? [close, speak, close] : [speak, close]) await act();
          if (step > ghostUntil && statuses(stage, 'ghost').at(-1) === 'OFFLINE') gone = Math.min(gone, now);
          // As by rule 21, or a timeout after a return.
          expect(gone).toBeGreaterThanOrEqual(ghostAt + 75);
          if (now >= Math.max(ghostAt, returned) + 75) expect(gone).toBeLessThanOrEqual(now);
        }
        for (const user of periods.keys()) expect(statuses(stage, `user ${user}`).slice(1)).toEqual([]);
      },
    ),
    { numRuns: 15 },
  );
}, 60_000);

test('a page that was closed just before waits too; one that is closed after has its five seconds', async () => {
  const stage = await createStage(db);
  for (const identity of ['ada', 'bob']) await stage.beat({ identity });
  await stage.beat({ identity: 'ada' }, true);
  await away(stage, 2, 60);
  await closeAt(stage, 60, 120);
  expect(statuses(stage)).toEqual(['ONLINE', 'ONLINE']);
  await stage.beat({ identity: 'bob' }, true);
  await closeAt(stage, 124.9);
  expect(statuses(stage, 'bob')).toEqual(['ONLINE']);
  await closeAt(stage, 125, 135);
  expect(statuses(stage, 'bob')).toEqual(['ONLINE', 'OFFLINE']);
  expect(statuses(stage, 'ada')).toEqual(['ONLINE', 'OFFLINE']);
});

test('a page that was closed waits for no longer than its grace and as long as the service was away', async () => {
  const stage = await createStage(db);
  for (const identity of ['ada', 'bob']) await stage.beat({ identity });
  await stage.beat({ identity: 'ada' }, true);
  // A slow machine: two beats of the pulse were 2.5 seconds apart.
  await away(stage, 1, 3.5);
  await closeAt(stage, 3.5, 10.9);
  expect(statuses(stage, 'ada')).toEqual(['ONLINE']);
  await closeAt(stage, 11);
  expect(statuses(stage, 'ada')).toEqual(['ONLINE', 'OFFLINE']);
  expect(statuses(stage, 'bob')).toEqual(['ONLINE']);
});

test('the pulse: one of several servers moves it; a gap is noted once, with its length; a first start, and a clock turned back, are returns', async () => {
  const stage = await createStage(db);
  const at = (seconds: number) => stage.time(seconds);
  const row = async () =>
    (await stage.database.query({ name: 'test', text: 'SELECT beat_at, away_from, back_at FROM pulse, outage' }))[0];
  expect(await beat(stage.database, GAP, at(0))).toBeNull();
  expect(await row()).toEqual({ beat_at: at(0), away_from: null, back_at: at(0) });
  // One server alone is away: the other's pulse is everybody's.
  // Timers are not exact.
  for (const time of [0.999, 2.001, 3.3, 4.4]) expect(await beat(stage.database, FRESH, at(time))).toBeNull();
  expect(await beat(stage.database, GAP, at(4.5))).toBeNull();
  expect(await row()).toEqual({ beat_at: at(4.4), away_from: null, back_at: at(0) });
  const noted = await Promise.all([0, 1, 2, 3].map(() => beat(stage.database, GAP, at(64.4))));
  expect(noted.filter((one) => one !== null)).toEqual([60_000]);
  expect(await row()).toEqual({ beat_at: at(64.4), away_from: at(4.4), back_at: at(64.4) });
  const long = () =>
    stage.database.query({ name: 'test', text: 'SELECT * FROM long_outages WHERE back_at > $1', values: [at(5_000)] });
  expect(await beat(stage.database, GAP, at(9_999))).toBe(9_934_600);
  expect(await long()).toEqual([{ away_from: at(64.4), back_at: at(9_999) }]);
  // Postgres' clock was turned back: how long the service was away is not known.
  expect(await beat(stage.database, GAP, at(30))).toBe(0);
  expect(await long()).toEqual([]);
  expect(await row()).toEqual({ beat_at: at(30), away_from: null, back_at: at(30) });
  // Postgres' own clock.
  const [{ now }] = (await stage.database.query<{ now: Date }>({ name: 'test', text: 'SELECT now()' })) as [
    { now: Date },
  ];
  await beat(stage.database, GAP, null);
  const { beat_at: beatAt } = (await row()) as { beat_at: Date };
  expect(Math.abs(beatAt.getTime() - now.getTime())).toBeLessThan(10_000);
});

test('what SQL says of how long a session counts as online is what the domain says', async () => {
  const stage = await createStage(db);
  const instant = fc.integer({ min: 0, max: 400 }).map((seconds) => stage.time(seconds).getTime());
  await fc.assert(
    fc.asyncProperty(
      fc.record({
        last: instant,
        stored: instant,
        due: instant,
        now: instant,
        back: fc.option(instant),
        awayFor: fc.option(fc.integer({ min: 0, max: 100_000 })),
        hasHeartbeat: fc.boolean(),
        beats: fc.option(fc.tuple(instant, fc.integer({ min: 0, max: 40 }))),
        ended: fc.boolean(),
        inactivityTimeout: fc.integer({ min: 10, max: 200 }),
        presenceTimeout: fc.integer({ min: 2, max: 200 }),
      }),
      async ({
        last,
        stored,
        due,
        now,
        back,
        awayFor,
        hasHeartbeat,
        beats,
        ended,
        inactivityTimeout,
        presenceTimeout,
      }) => {
        const heartbeatAt = beats && beats[0];
        const heartbeatBefore = beats && beats[0] - beats[1] * 1_000;
        const date = (time: number | null) => time && new Date(time);
        const awayFrom = back === null || awayFor === null ? null : back - awayFor;
        await stage.database.query({
          name: 'test',
          text: 'UPDATE outage SET away_from = $1, back_at = $2',
          values: [date(awayFrom), date(back)],
        });
        const [row] = await stage.database.query<{ until: Date }>({
          name: 'test',
          text: `SELECT ${onlineUntil('p', '$1::timestamptz')} AS until
                 FROM (SELECT $2::timestamptz AS last_activity_at, $3::timestamptz AS online_until, $4::timestamptz AS due_at,
                              $5::boolean AS has_heartbeat, $6::timestamptz AS ended_at,
                              $9::timestamptz AS heartbeat_at, $10::timestamptz AS heartbeat_before) s,
                      (SELECT $7::integer AS inactivity_timeout, $8::integer AS presence_timeout) p`,
          values: [
            date(now),
            date(last),
            date(stored),
            date(due),
            hasHeartbeat,
            ended ? date(last) : null,
            inactivityTimeout,
            presenceTimeout,
            date(heartbeatAt),
            date(heartbeatBefore),
          ],
        });
        const session = {
          lastActivityAt: last,
          dueAt: due,
          toldOnline: due <= stored,
          hasHeartbeat,
          heartbeatAt,
          heartbeatBefore,
          endReason: ended ? 'CLIENT' : null,
          closedByHeartbeat: ended,
        } as WorkingSession;
        const outage = back === null ? null : { awayFrom, backAt: back };
        const settings = {
          inactivityTimeout,
          presenceTimeout,
          sessionStart: 'RESUME',
          retentionDays: null,
          outage,
        } as const;
        const { onlineUntil: until, dueAt } = livenessOf(session, settings, now, false);
        if (row!.until.getTime() > now) expect(until).toBe(row!.until.getTime());
        // Both say that it does not count: by the time alone, and by when it is due.
        else expect([until <= now, dueAt === null || dueAt > until]).toEqual([true, true]);
      },
    ),
    { numRuns: 300 },
  );
});
