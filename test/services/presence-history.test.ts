import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { createMemoryBus } from '../../src/adapters/memory-bus.js';
import { uuidAt } from '../../src/domain/event-id.js';
import type { TimeInterval } from '../../src/domain/filters.js';
import { userIdOf } from '../../src/domain/identity.js';
import type { PresenceEdge, PresenceUpdate } from '../../src/domain/presence.js';
import { createCloser } from '../../src/services/ingest/closer.js';
import { createIngest } from '../../src/services/ingest/ingest.js';
import { presenceChannel, readEdges } from '../../src/services/messages.js';
import { createMinuteSettler } from '../../src/services/presence/minute-settler.js';
import { createPresence } from '../../src/services/presence/watch-presence.js';
import { createEraseUser } from '../../src/services/projects/erase-user.js';
import { createMaintenance } from '../../src/services/upkeep/maintenance.js';
import { flipPresence } from '../../src/store/presence/flip-presence.js';
import { readConcurrency } from '../../src/store/presence/concurrency.js';
import { countPresenceAt, listPresenceAt, presenceOfAt } from '../../src/store/presence/presence-at.js';
import { countPresenceHistory, listPresenceHistory } from '../../src/store/presence/presence-history.js';
import { readSettling } from '../../src/store/presence/settle-minutes.js';
import { eventually } from '../support/app.js';
import { createTestDatabase, type TestDatabase } from '../support/database.js';
import { record } from '../support/ledger.js';
import { chooseSeed, diceOf } from '../support/random.js';
import { usersMiscounted } from '../support/rules.js';
import { createStage, SENDER, toIncoming, type Stage } from '../support/stage.js';

/** Presence in the past says what subscribers were told: who was online, since when, why, and how many at once. */

let db: TestDatabase;
beforeAll(async () => {
  db = await createTestDatabase();
});
afterAll(() => db.drop());
/** Settling is of all projects, and each stage begins at the same time. */
async function unsettle(): Promise<void> {
  await db.open().query({ name: 'test.unsettle', text: 'DELETE FROM presence_minutes' });
  await db.open().query({
    name: 'test.unsettle',
    text: 'UPDATE presence_settling SET settled_until = NULL, asked_until = NULL',
  });
}
beforeEach(unsettle);

const ALL = { limit: 100, after: null, before: null, backwards: false };

const causes = async (stage: Stage, identity = 'ada'): Promise<string[]> => {
  const filter = { identities: [identity], range: null };
  const { rows } = await listPresenceHistory(stage.database, stage.caller.reach, filter, ALL);
  return rows.toReversed().map(({ cause, onlineSessions }) => `${cause} ${onlineSessions}`);
};

const PHONE = { sessionKey: 'the-phone', user: 'ada' };
const LAPTOP = { sessionKey: 'the-laptop', user: 'ada' };

test('each change has its cause, its session and the instant that was told', async () => {
  const stage = await createStage(db, { inactivityTimeout: 300, presenceTimeout: 75 });
  const [phone] = await stage.send({ ...PHONE, t: 0 });
  await stage.beat({ sessionKey: 'the-phone' });
  stage.at(100);
  await stage.close();
  stage.at(110);
  await stage.send(PHONE);
  const [laptop] = await stage.send(LAPTOP);
  stage.at(120);
  await stage.send({ ...LAPTOP, type: 'sessionend' });
  await stage.send({ ...PHONE, type: 'log', user: 'ada', name: 'Ada' });
  stage.at(500);
  await stage.close();
  expect(await causes(stage)).toEqual(['STARTED 1', 'LAPSED 0', 'HEARD 1', 'STARTED 2', 'ENDED 1', 'CLOSED 0']);
  const { rows } = await listPresenceHistory(
    stage.database,
    stage.caller.reach,
    { identities: null, range: null },
    ALL,
  );
  expect(rows.toReversed().map(({ at }) => at)).toEqual([0, 100, 110, 110, 120, 500].map(stage.time));
  expect(rows.toReversed().map(({ sessionId }) => sessionId)).toEqual(
    [phone, phone, phone, laptop, laptop, phone].map((outcome) => outcome!.sessionId),
  );
  // A new name is told, but nobody came or left.
  expect(stage.edges()).toHaveLength(7);
});

const ENDINGS: [string, (stage: Stage) => Promise<unknown>, string[]][] = [
  [
    'a closing heartbeat ends, after its grace',
    async (stage) => {
      await stage.send({ ...PHONE, t: 0 });
      await stage.beat({ sessionKey: 'the-phone' }, true);
      stage.at(60);
      await stage.close();
    },
    ['STARTED 1', 'ENDED 0'],
  ],
  [
    'a start in the place of an open session is a device that came',
    async (stage) => {
      await stage.send({ user: 'ada', t: 0 });
      stage.at(10);
      await stage.send({ user: 'ada', type: 'session' });
    },
    ['STARTED 1', 'STARTED 1'],
  ],
  [
    'an event long after the last ends the session for inactivity, whether the closer ran or not',
    async (stage) => {
      await stage.send({ ...PHONE, t: 0 }, { user: 'ada', t: 0 });
      stage.at(1_000);
      await stage.send({ user: 'ada', type: 'sessionend' });
    },
    ['STARTED 2', 'CLOSED 1'],
  ],
  [
    'a session that was too old to count is heard again',
    async (stage) => {
      stage.at(550);
      await stage.send({ ...PHONE });
      await stage.send({ user: 'ada', t: 250 });
      await stage.send({ user: 'ada', t: 550 });
    },
    ['STARTED 1', 'HEARD 2'],
  ],
  [
    'a session of nobody starts for the first user whom it brings',
    async (stage) => {
      await stage.send({ sessionKey: 'the-phone', t: 0 });
      await stage.send({ ...PHONE, t: 0 });
    },
    ['STARTED 1'],
  ],
  [
    'a longer timeout hears a lapsed session',
    async (stage) => {
      await stage.send({ ...PHONE, t: 0 });
      await stage.beat({ sessionKey: 'the-phone' });
      stage.at(100);
      await stage.close();
      await stage.database.query({
        name: 'test.timeout',
        text: 'UPDATE projects SET presence_timeout = 200 WHERE id = $1',
        values: [stage.projectId],
      });
      await stage.database.query({
        name: 'test.due',
        text: 'UPDATE sessions SET due_at = $2 WHERE project_id = $1',
        values: [stage.projectId, stage.time(100)],
      });
      await stage.close();
    },
    ['STARTED 1', 'LAPSED 0', 'HEARD 1'],
  ],
];

test.each(ENDINGS)('%s', async (_name, play, told) => {
  const stage = await createStage(db, { inactivityTimeout: 300, presenceTimeout: 75 });
  await play(stage);
  expect(await causes(stage)).toEqual(told);
});

/** What was told of a user, in order: the oracle. */
interface Told {
  readonly user: string;
  readonly at: number;
  readonly sessions: number;
  readonly since: number | null;
}

/** The oracle's line of how many users were online: the number after each instant. */
function lineOf(told: readonly Told[]): { at: number; online: number }[] {
  const steps = new Map<number, number>();
  const before = new Map<string, boolean>();
  for (const { user, at, sessions } of told) {
    const by = Number(sessions > 0) - Number(before.get(user) ?? false);
    before.set(user, sessions > 0);
    steps.set(at, (steps.get(at) ?? 0) + by);
  }
  let online = 0;
  return [...steps].toSorted(([a], [b]) => a - b).map(([at, by]) => ({ at, online: (online += by) }));
}

const UNITS: Record<string, Intl.DateTimeFormatOptions> = {
  MINUTE: {
    year: 'numeric',
    month: 'numeric',
    day: 'numeric',
    hour: 'numeric',
    minute: 'numeric',
    timeZoneName: 'longOffset',
  },
  HOUR: { year: 'numeric', month: 'numeric', day: 'numeric', hour: 'numeric', timeZoneName: 'longOffset' },
  DAY: { year: 'numeric', month: 'numeric', day: 'numeric' },
  MONTH: { year: 'numeric', month: 'numeric' },
};
const MINUTE = 60_000;

/** The oracle's intervals: where the local minute, hour, day or month begins, as Intl tells the local time. */
function startsOf(from: number, to: number, interval: string, timeZone: string): number[] {
  const format = new Intl.DateTimeFormat('en', { ...UNITS[interval], timeZone });
  const step = interval === 'MINUTE' ? MINUTE : 15 * MINUTE;
  let first = Math.floor(from / step) * step;
  while (format.format(first) === format.format(first - step)) first -= step;
  const starts = [first];
  for (let at = first + step; at < to; at += step) if (format.format(at) !== format.format(at - step)) starts.push(at);
  return starts;
}

/** The oracle's figures of the line over one part of time. */
function figuresOf(line: readonly { at: number; online: number }[], from: number, to: number) {
  let online = line.filter(({ at }) => at <= from).at(-1)?.online ?? 0;
  let peak = online;
  let peakAt = from;
  let area = 0;
  let last = from;
  for (const step of line) {
    if (step.at <= from || step.at >= to) continue;
    area += online * (step.at - last);
    ({ online, at: last } = step);
    if (online > peak) [peak, peakAt] = [online, last];
  }
  area += online * (to - last);
  return { peak, peakAt, average: area / (to - from) };
}

async function expectConcurrency(
  stage: Pick<Stage, 'database' | 'caller'>,
  told: readonly Told[],
  { from, to, interval, timeZone }: { from: number; to: number; interval: TimeInterval; timeZone: string },
): Promise<void> {
  const line = lineOf(told);
  const found = await readConcurrency(stage.database, stage.caller.reach, {
    from: new Date(from),
    to: new Date(to),
    interval,
    timeZone,
  });
  const starts = startsOf(from, to, interval, timeZone);
  const series = starts.map((at, index) => {
    const { peak, average } = figuresOf(line, Math.max(at, from), Math.min(starts[index + 1] ?? to, to));
    return { at: new Date(at), peak, average: expect.closeTo(average, 6) as number };
  });
  const { peak, peakAt } = figuresOf(line, from, to);
  expect(found).toEqual({ peak, peakAt: peak > 0 ? new Date(peakAt) : null, series });
}

const USERS = ['ada', 'bob', 'cyd', 'dan', 'eve'];
const TYPES = ['log', 'heartbeat', 'heartbeat', 'log', 'sessionend', 'session', 'log'];
const ZONES = ['UTC', 'Asia/Kathmandu', 'America/St_Johns', 'America/Havana', 'Australia/Lord_Howe'];

/** Plays a random history on two servers, and compares all that is told of the past with the edges of the bus. */
async function play(seed: number): Promise<number> {
  const dice = diceOf(seed);
  const settings = { presenceTimeout: dice.pick([20, 60]), inactivityTimeout: dice.pick([60, 300]) };
  const stage = await createStage(db, settings);
  const { projectId, database, caller } = stage;
  const memory = createMemoryBus();
  const heard: { edge: PresenceEdge; now: number; floor: number; place: number }[] = [];
  let floor = -Infinity;
  const bus = {
    ...memory,
    publish(channel: string, message: string) {
      if (channel === presenceChannel(projectId))
        for (const edge of readEdges(message)!)
          heard.push({ edge, now: stage.now().getTime(), floor, place: heard.length });
      return memory.publish(channel, message);
    },
  };
  const clock = { now: () => stage.now() };
  const deps = { database, bus, clock, observe: () => {} };
  const servers = [0, 1].map(() => ({
    ingest: createIngest(deps),
    closer: createCloser({ ...deps, interval: 1_000 }),
    erase: createEraseUser(deps),
    settler: createMinuteSettler(deps),
  }));
  const presence = createPresence(deps);
  const watch = await presence.watch(caller.reach, { identities: USERS });
  const updates: PresenceUpdate[] = [];
  const watching = (async () => {
    for await (const update of watch) updates.push(update);
  })();
  const erased: { user: string; heardUntil: number }[] = [];
  let now = 0;
  for (let round = 0; round < 40; round += 1) {
    // The clock stands still, goes on or, now and then, goes back.
    now += dice.pick([0, 0.25, 5, 20, 61.5, 90, dice.below(6) === 0 ? dice.pick([-45, -200]) : 30]);
    now = Math.max(now, 0);
    stage.at(now);
    await Promise.all([
      ...Array.from({ length: 1 + dice.below(4) }, () => {
        const user = dice.pick(USERS);
        const who =
          dice.below(2) === 0
            ? { user }
            : { user, sessionKey: `device-${user}-${dice.below(3)}-${Math.floor(round / 8)}` };
        const event = toIncoming(
          { ...who, type: dice.pick(TYPES), ...(dice.below(4) === 0 && { t: Math.max(0, now - dice.below(60)) }) },
          stage.time,
        );
        return dice.pick(servers).ingest.ingestEvents(caller, [event], SENDER);
      }),
      ...servers.filter(() => dice.below(2) === 0).map(({ closer }) => closer.runOnce(stage.now())),
    ]);
    if (dice.below(12) === 0) {
      const user = dice.pick(USERS);
      const [one, other] = servers.toSorted(() => dice.below(2) - 0.5);
      await Promise.all([one!.erase(caller, user), other!.settler.runOnce(stage.now())]);
      floor = (await readSettling(database)).askedUntil?.getTime() ?? -Infinity;
      erased.push({ user, heardUntil: heard.length });
    }
    if (dice.below(15) === 0)
      await database.query({
        name: 'test.timeout',
        text: 'UPDATE projects SET presence_timeout = $2 WHERE id = $1',
        values: [projectId, dice.pick([10, 40, 60])],
      });
    if (dice.below(4) === 0) {
      await Promise.all(servers.map(({ settler }) => settler.runOnce(stage.now())));
      floor = (await readSettling(database)).askedUntil?.getTime() ?? -Infinity;
    }
  }
  expect(await usersMiscounted(database, projectId)).toEqual([]);

  const told: Told[] = [];
  for (const user of USERS) {
    const filter = { identities: [user], range: null };
    const { rows } = await listPresenceHistory(database, caller.reach, filter, ALL);
    expect(await countPresenceHistory(database, caller.reach, filter)).toBe(rows.length);
    const kept = rows.toReversed();
    expect(kept.map(({ id }) => id)).toEqual(kept.map(({ id }) => id).toSorted());
    // Besides, a session that took the place of another is kept.
    const changed = kept.filter(({ onlineSessions }, at) => onlineSessions !== (kept[at - 1]?.onlineSessions ?? 0));
    const erasedAt = Math.max(-1, ...erased.filter((one) => one.user === user).map(({ heardUntil }) => heardUntil - 1));
    let before = { at: -Infinity, sessions: 0 };
    let found = 0;
    const edges = heard.filter(({ edge, place }) => edge.presence.identity === user && place > erasedAt);
    for (const { edge, now: saidAt, floor: least } of edges.toSorted((a, b) => a.edge.version - b.edge.version)) {
      // A change is told at the time of its transaction. If the clock goes back, it is told no earlier than the change before it.
      const at = Math.max(saidAt, before.at, least);
      const { onlineSessions: sessions, since } = edge.presence;
      if (edge.devicesTransaction !== undefined) {
        // A session that took the place of another is a change, too. One that only shows something else is not.
        if (kept.some((one) => one.at.getTime() === at && one.onlineSessions === sessions)) before = { at, sessions };
        continue;
      }
      if (sessions === before.sessions) continue;
      expect(changed[found]).toMatchObject({ at: new Date(at), onlineSessions: sessions, sessionId: edge.sessionId });
      if (sessions > 0 !== before.sessions > 0) expect(since).toEqual(new Date(at));
      told.push({ user, at, sessions, since: since!.getTime() });
      before = { at, sessions };
      found += 1;
    }
    expect(changed).toHaveLength(found);
  }

  const last = Math.max(...heard.map(({ edge, now: saidAt }) => Math.max(saidAt, edge.presence.since?.getTime() ?? 0)));
  const moments = Array.from(
    { length: 12 },
    () => stage.time(0).getTime() - 5_000 + dice.below(last - stage.time(0).getTime() + 10_000),
  );
  for (const at of [...moments, ...told.slice(0, 20).flatMap((one) => [one.at, one.at - 1])]) {
    const then = USERS.map((user) => {
      const one = told.filter((edge) => edge.user === user && edge.at <= at).at(-1);
      return {
        identity: user,
        status: one?.sessions ? 'ONLINE' : 'OFFLINE',
        onlineSessions: one?.sessions ?? 0,
        since: one?.since ?? null,
      };
    });
    const pick = ({
      identity,
      status,
      onlineSessions,
      since,
    }: {
      identity: string;
      status: string;
      onlineSessions: number;
      since: Date | null;
    }) => ({ identity, status, onlineSessions, since: since?.getTime() ?? null });
    const moment = new Date(at);
    expect((await presenceOfAt(database, caller.reach, USERS, moment)).map(pick)).toEqual(then);
    const online = then.filter(({ status }) => status === 'ONLINE');
    const filter = { status: 'ONLINE' as const };
    const listed = await listPresenceAt(database, caller.reach, filter, ALL, moment);
    expect(
      listed.rows.map(({ presence: one }) => pick(one)).toSorted((a, b) => (a.identity < b.identity ? -1 : 1)),
    ).toEqual(online);
    const narrow = { ...caller.reach, userIds: USERS.map((user) => userIdOf(projectId, user)) };
    expect((await listPresenceAt(database, narrow, filter, ALL, moment)).rows).toEqual(listed.rows);
    expect(await countPresenceAt(database, caller.reach, filter, moment)).toBe(online.length);
  }

  for (let run = 0; run < 12; run += 1) {
    if (run === 6) for (const at of [120_000, 240_000]) await servers[0]!.settler.runOnce(new Date(last + at));
    const from = stage.time(0).getTime() - 100_000 + dice.below(last - stage.time(0).getTime() + 100_000);
    const to = from + 1 + dice.below(last + 100_000 - from);
    const range = { from: dice.below(3) === 0 ? Math.floor(from / MINUTE) * MINUTE : from, to };
    await expectConcurrency(stage, told, {
      ...range,
      interval: dice.pick(['MINUTE', 'HOUR', 'DAY']),
      timeZone: dice.pick(ZONES),
    });
  }
  const narrow = { ...stage, caller: { ...caller, reach: { projectId, userIds: [userIdOf(projectId, 'ada')] } } };
  const own = told.filter(({ user }) => user === 'ada');
  await expectConcurrency(narrow, own, {
    from: stage.time(0).getTime(),
    to: last + 1,
    interval: 'MINUTE',
    timeZone: 'UTC',
  });

  // A subscriber shows in the end what the history ends with.
  const shown = (): string[] => {
    const online = new Map<string, number>();
    for (const { users } of updates) for (const one of users) online.set(one.identity, one.onlineSessions);
    return USERS.map((user) => `${user} ${online.get(user)}`);
  };
  const ended = USERS.map((user) => `${user} ${told.filter((one) => one.user === user).at(-1)?.sessions ?? 0}`);
  await eventually(() => JSON.stringify(shown()) === JSON.stringify(ended));
  await presence.close();
  await watching;
  for (const { ingest } of servers) await ingest.close();
  return heard.length;
}

const RUNS = Number(process.env['MODEL_RUNS'] ?? 2);

test(
  'of random histories on two servers, the past is what was told: edges, moments, numbers at once',
  async () => {
    const seed = chooseSeed('presence history');
    let edges = 0;
    for (let run = 0; run < RUNS; run += 1) {
      await unsettle();
      edges += await play(seed + run);
    }
    expect(edges).toBeGreaterThan(10 * RUNS);
    record('edges of presence compared with the past', edges);
  },
  60_000 + RUNS * 10_000,
);

class Signal {
  give!: () => void;
  readonly heard = new Promise<void>((resolve) => (this.give = resolve));
}

test('a minute that an open transaction may still change is not settled, and is right after its commit', async () => {
  const stage = await createStage(db);
  const { database, caller, projectId } = stage;
  const reach = caller.reach;
  const settler = createMinuteSettler({ database, clock: { now: () => stage.now() }, observe: () => {} });
  const [outcome] = await stage.send({ user: 'ada', t: 0 });
  await stage.send({ user: 'bob', t: 0 });
  const peaks = async () => {
    const range = { from: stage.time(0), to: stage.time(300), interval: 'MINUTE' as const, timeZone: 'UTC' };
    return (await readConcurrency(database, reach, range)).series.map(({ peak }) => peak);
  };
  const [gate, flipped] = [new Signal(), new Signal()];
  const leaving = db.open().transaction(async (tx) => {
    await tx.query({
      name: 'test.lock',
      text: 'SELECT FROM users WHERE project_id = $1 AND id = $2 FOR UPDATE',
      values: [projectId, userIdOf(projectId, 'ada')],
    });
    await tx.query({
      name: 'test.end',
      text: 'UPDATE sessions SET live = false, due_at = NULL WHERE project_id = $1 AND id = $2',
      values: [projectId, outcome!.sessionId],
    });
    const suspect = {
      projectId,
      userId: userIdOf(projectId, 'ada'),
      sessionId: outcome!.sessionId,
      cause: 'ENDED' as const,
    };
    await flipPresence(tx, [{ ...suspect, isRenamed: false, lastSeenAt: 0 }], stage.time(90));
    flipped.give();
    await gate.heard;
  });
  await flipped.heard;
  stage.at(300);
  for (let run = 0; run < 3; run += 1) await settler.runOnce(stage.now());
  expect((await readSettling(database)).settledUntil).toEqual(stage.time(0));
  expect(await peaks()).toEqual([2, 2, 2, 2, 2]);
  gate.give();
  await leaving;
  expect(await peaks()).toEqual([2, 2, 1, 1, 1]);
  // Another transaction of this Postgres, of any database, may still be under way.
  await eventually(async () => {
    await settler.runOnce(stage.now());
    return (await readSettling(database)).settledUntil?.getTime() === stage.time(240).getTime();
  });
  expect(await peaks()).toEqual([2, 2, 1, 1, 1]);
  // What is told later is not put before what is settled.
  stage.at(100);
  await stage.send({ user: 'bob', type: 'sessionend' });
  expect(stage.edges().at(-1)!.presence.since).toEqual(stage.time(240));
  expect(await peaks()).toEqual([2, 2, 1, 1, 0]);
});

test('whoever came before what is kept is still known, and what is not kept any more is gone', async () => {
  const stage = await createStage(db, { retentionDays: 1 });
  const { database, caller } = stage;
  await stage.send({ user: 'ada', t: 0 }, { user: 'bob', t: 0 });
  await stage.beat({ identity: 'ada' });
  const settler = createMinuteSettler({ database, clock: { now: () => stage.now() }, observe: () => {} });
  const day = 86_400;
  stage.at(100);
  await stage.send({ user: 'bob', type: 'sessionend' });
  // Ada's session goes on for two days.
  await database.query({
    name: 'test.timeouts',
    text: 'UPDATE projects SET presence_timeout = 900000, inactivity_timeout = 900000 WHERE id = $1',
    values: [stage.projectId],
  });
  for (let at = 1; at <= 4; at += 1) {
    stage.at((at * day) / 2);
    await stage.beat({ identity: 'ada' });
  }
  for (const _ of [1, 2]) await settler.runOnce(stage.now());
  const maintenance = createMaintenance({ database, clock: { now: () => stage.now() }, observe: () => {} });
  await maintenance.runOnce(stage.now());
  await maintenance.close();
  expect(await causes(stage)).toEqual([]);
  expect(await causes(stage, 'bob')).toEqual([]);
  const moment = stage.time(1.5 * day);
  expect(await presenceOfAt(database, caller.reach, ['ada', 'bob'], moment)).toMatchObject([
    { identity: 'ada', status: 'ONLINE', onlineSessions: 1, since: stage.time(0) },
    { identity: 'bob', status: 'OFFLINE' },
  ]);
  const { rows } = await listPresenceAt(database, caller.reach, { status: 'ONLINE' }, ALL, moment);
  expect(rows.map(({ presence }) => presence.identity)).toEqual(['ada']);
  const range = { from: stage.time(day), to: stage.now(), interval: 'DAY' as const, timeZone: 'UTC' };
  expect(await readConcurrency(database, caller.reach, range)).toMatchObject({ peak: 1, peakAt: stage.time(day) });
  const left = await database.query({
    name: 'test.minutes',
    text: 'SELECT FROM presence_minutes WHERE project_id = $1',
    values: [stage.projectId],
  });
  expect(left).toEqual([]);
});

test('days, hours and months of any time zone, over its changes to and from summer time', async () => {
  const stage = await createStage(db);
  const { database, projectId } = stage;
  const dice = diceOf(chooseSeed('time zones'));
  const userId = userIdOf(projectId, 'ada');
  const from = Date.UTC(2026, 8, 30);
  const to = Date.UTC(2026, 10, 3);
  // One user who comes and goes every few hours.
  const told: Told[] = [];
  for (let at = from; at < to; at += 1 + dice.below(20 * 60 * MINUTE)) {
    const isOnline = told.length % 2 === 0;
    told.push({ user: 'ada', at, sessions: isOnline ? 1 : 0, since: at });
  }
  const last = told.at(-1)!;
  await database.query({
    name: 'test.user',
    text: `INSERT INTO users (project_id, id, identity, online_sessions, status_since) VALUES ($1, $2, 'ada', $3, $4)`,
    values: [projectId, userId, last.sessions, new Date(last.at)],
  });
  await database.query({
    name: 'test.changes',
    text: `INSERT INTO presence_changes (project_id, id, user_id, at, previous_since, online_sessions, previous_sessions, cause)
           SELECT $1, id, $2, at, since, sessions, 1 - sessions, 'HEARD'
           FROM unnest($3::uuid[], $4::timestamptz[], $5::timestamptz[], $6::integer[]) k (id, at, since, sessions)`,
    values: [
      projectId,
      userId,
      told.map(({ at }) => uuidAt(at)),
      told.map(({ at }) => new Date(at)),
      told.map((_, index) => (index === 0 ? null : new Date(told[index - 1]!.at))),
      told.map(({ sessions }) => sessions),
    ],
  });
  const settler = createMinuteSettler({ database, clock: { now: () => stage.now() }, observe: () => {} });
  for (const settled of [false, true]) {
    if (settled) for (const at of [to, to + 60_000]) await settler.runOnce(new Date(at));
    for (const timeZone of ZONES)
      for (const interval of settled ? (['HOUR', 'MONTH'] as const) : (['DAY'] as const))
        await expectConcurrency(stage, told, {
          from: from + dice.below(MINUTE * 300),
          to: to - dice.below(MINUTE * 300),
          interval,
          timeZone,
        });
  }
});
