import fc from 'fast-check';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { createChangedTimeouts, type ChangedTimeouts } from '../../src/services/ingest/changed-timeouts.js';
import { createProjects, type Projects } from '../../src/services/projects/projects.js';
import { changeProject } from '../../src/store/projects/projects.js';
import type { PrismaDatabase, PrismaQueryable } from '../../src/store/database.js';
import { createTestDatabase, type TestDatabase } from '../support/database.js';
import { sessionsLeftOpen, usersMiscounted, usersMisstated } from '../support/rules.js';
import { shownBy } from '../support/shown-presence.js';
import { createStage, type Stage } from '../support/stage.js';

/** Rule 20: a changed timeout reaches open sessions in bounded batches. The defaults: 300 and 75 seconds. */

let db: TestDatabase;
beforeAll(async () => {
  db = await createTestDatabase();
});
afterAll(() => db.drop());

/** A server over the stage's project. */
function serverOf(stage: Stage, database: PrismaDatabase = stage.database) {
  const clock = { now: () => stage.now() };
  const observe = (observation: Stage['observations'][number]) => void stage.observations.push(observation);
  const timeouts: ChangedTimeouts = createChangedTimeouts({
    database,
    bus: stage.bus,
    clock,
    observe,
    interval: 1_000,
  });
  const projects: Projects = createProjects({ database, clock, timeouts });
  return {
    timeouts,
    set: (settings: { presenceTimeout?: number; inactivityTimeout?: number }) =>
      projects.update({ reach: stage.caller.reach, keyId: null }, { settings }),
  };
}

const statuses = (stage: Stage, user: string): string[] =>
  stage
    .edges()
    .filter(({ presence }) => presence.identity === user)
    .map(({ presence }) => presence.status);

const waiting = async (stage: Stage): Promise<Date | null> => {
  const [row] = await stage.database.query<{ reckon_at: Date | null }>({
    name: 'test',
    text: 'SELECT reckon_at FROM projects WHERE id = $1',
    values: [stage.projectId],
  });
  return row!.reckon_at;
};

/** The users' heartbeats, a thousand a request. */
async function beatAll(stage: Stage, count: number): Promise<void> {
  for (let first = 0; first < count; first += 1_000) {
    const some = Array.from({ length: Math.min(1_000, count - first) }, (_, at) => ({
      type: 'heartbeat',
      user: `user ${first + at}`,
      t: (stage.now().getTime() - stage.time(0).getTime()) / 1000,
    }));
    await stage.send(...some);
  }
}

test('a shorter presenceTimeout tells offline, a longer one online again; a shorter inactivityTimeout ends', async () => {
  const stage = await createStage(db);
  const { set } = serverOf(stage);
  await stage.beat({ identity: 'ada' });
  await stage.send({ user: 'bob', t: 0 }, { sessionKey: 'the-key-1', t: 0 });
  stage.at(20);
  await stage.beat({ identity: 'cyd' });
  stage.at(30);
  await set({ presenceTimeout: 15 });
  expect(statuses(stage, 'ada')).toEqual(['ONLINE', 'OFFLINE']);
  // Bob has sent no heartbeat, Cyd sent one lately.
  for (const user of ['bob', 'cyd']) expect(statuses(stage, user)).toEqual(['ONLINE']);
  await set({ presenceTimeout: 60 });
  expect(statuses(stage, 'ada')).toEqual(['ONLINE', 'OFFLINE', 'ONLINE']);
  await set({ presenceTimeout: 12 });
  expect(statuses(stage, 'ada')).toEqual(['ONLINE', 'OFFLINE', 'ONLINE', 'OFFLINE']);
  stage.at(32);
  await stage.close();
  expect(statuses(stage, 'cyd')).toEqual(['ONLINE', 'OFFLINE']);
  await set({ inactivityTimeout: 25 });
  expect(statuses(stage, 'bob')).toEqual(['ONLINE', 'OFFLINE']);
  expect(await stage.sessions()).toMatchObject([{ end: 0 }, { end: 0 }, { end: 0 }, { end: null }]);
  stage.at(45);
  await stage.close();
  expect(await sessionsLeftOpen(stage.database, stage.projectId, stage.now())).toEqual([]);
  expect(await usersMisstated(stage.database, stage.projectId, stage.now())).toEqual([]);
});

test('a longer timeout is kept by whoever counts as online still, without a write for each', async () => {
  const stage = await createStage(db);
  const { set } = serverOf(stage);
  await stage.beat({ identity: 'ada' });
  stage.at(30);
  await set({ presenceTimeout: 120 });
  expect(stage.observations.filter((one) => one.kind === 'statement' && one.name === 'closer.close')).toEqual([]);
  stage.at(75);
  await stage.close();
  stage.at(119);
  await stage.close();
  expect(statuses(stage, 'ada')).toEqual(['ONLINE']);
  stage.at(120);
  await stage.close();
  expect(statuses(stage, 'ada')).toEqual(['ONLINE', 'OFFLINE']);
  // The same values again are no change.
  stage.at(200);
  await serverOf(stage).timeouts.runOnce();
  expect(await waiting(stage)).toBeNull();
  await set({ presenceTimeout: 120, inactivityTimeout: 300 });
  expect(await waiting(stage)).toBeNull();
});

test('no more than a thousand sessions a transaction; whoever changes the timeout waits for two of them', async () => {
  const stage = await createStage(db);
  await beatAll(stage, 3_500);
  stage.at(30);
  const { set, timeouts } = serverOf(stage);
  stage.observations.length = 0;
  await set({ presenceTimeout: 20 });
  const batches = () =>
    stage.observations.flatMap((one) => (one.kind === 'statement' && one.name === 'closer.close' ? [one.rows] : []));
  expect(batches()).toEqual([1_000, 1_000]);
  const offline = () => stage.edges().filter(({ presence }) => presence.status === 'OFFLINE').length;
  expect(offline()).toBe(2_000);
  await Promise.all([timeouts.runOnce(), serverOf(stage).timeouts.runOnce()]);
  expect(offline()).toBe(3_500);
  expect(Math.max(...batches())).toBe(1_000);
  expect(await usersMisstated(stage.database, stage.projectId, stage.now())).toEqual([]);
});

test('what a server leaves that dies in the middle, another takes up', async () => {
  const stage = await createStage(db);
  await beatAll(stage, 2_500);
  stage.at(30);
  let left = 1;
  const dying: PrismaDatabase = {
    ...stage.database,
    transaction: async (work) => {
      if (left === 0) throw new Error('It died.');
      left -= 1;
      return stage.database.transaction(work);
    },
  };
  // A batch, and no more.
  await serverOf(stage, dying).set({ presenceTimeout: 20 });
  const offline = () => stage.edges().filter(({ presence }) => presence.status === 'OFFLINE').length;
  expect(offline()).toBe(1_000);
  const { timeouts } = serverOf(stage);
  await timeouts.runOnce();
  // The dead one's time is not over.
  expect(offline()).toBe(1_000);
  stage.at(60);
  await timeouts.runOnce();
  expect(offline()).toBe(2_500);
});

test('what somebody writes with the old timeouts, behind the look that has passed, the last look finds', async () => {
  const stage = await createStage(db);
  await stage.beat({ identity: 'ada' });
  stage.at(10);
  const { set, timeouts } = serverOf(stage);
  await set({ presenceTimeout: 15, inactivityTimeout: 1_000 });
  await stage.database.query({
    name: 'test.late',
    text: `UPDATE sessions SET online_until = last_activity_at + interval '75 seconds', due_at = last_activity_at + interval '75 seconds'
           WHERE project_id = $1`,
    values: [stage.projectId],
  });
  stage.at(69.9);
  await timeouts.runOnce();
  expect(statuses(stage, 'ada')).toEqual(['ONLINE']);
  stage.at(70);
  await timeouts.runOnce();
  expect(statuses(stage, 'ada')).toEqual(['ONLINE', 'OFFLINE']);
  expect(await waiting(stage)).toBeNull();
});

test('a lost race is run again: somebody who waits in a ring with it is not in its way, nor it in theirs', async () => {
  const stage = await createStage(db);
  await stage.beat({ identity: 'ada' });
  await stage.beat({ identity: 'bob' });
  stage.at(30);
  const ids = await stage.database.query<{ id: string }>({
    name: 'test',
    text: 'SELECT id FROM users WHERE project_id = $1 ORDER BY id',
    values: [stage.projectId],
  });
  const { set } = serverOf(stage);
  await stage.database
    .transaction(async (tx) => {
      // Postgres ends whoever looks for a deadlock first: the other one, after a second.
      await tx.query({ name: 'test.patience', text: `SET LOCAL deadlock_timeout = '1min'` });
      const lock = (which: number) =>
        tx.query({
          name: 'test.lock',
          text: 'SELECT FROM users WHERE project_id = $1 AND id = $2 FOR UPDATE',
          values: [stage.projectId, ids[which]!.id],
        });
      await lock(1);
      const setting = set({ presenceTimeout: 20 });
      // It holds the first, and waits for the second.
      for (let waits = false; !waits;) {
        const [row] = await stage.database.query<{ waits: boolean }>({
          name: 'test',
          text: `SELECT EXISTS (SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock') AS waits`,
        });
        waits = row!.waits;
      }
      await lock(0);
      return { setting };
    })
    .then(({ setting }) => setting);
  expect(stage.observations).toContainEqual({ kind: 'batch.retried', reason: 'timeouts: 40P01', attempt: 1 });
  for (const user of ['ada', 'bob']) expect(statuses(stage, user)).toEqual(['ONLINE', 'OFFLINE']);
});

test('a session that goes on just after a timeout was shortened, before it was brought in step, lapses in time', async () => {
  const stage = await createStage(db);
  await stage.beat({ identity: 'ada' });
  stage.at(10);
  await stage.database.query({
    name: 'test',
    text: 'UPDATE projects SET presence_timeout = 15, timeouts_changed_at = $2, reckon_at = $2 WHERE id = $1',
    values: [stage.projectId, stage.now()],
  });
  // By the shortcut, where it may.
  await stage.beat({ identity: 'ada' });
  stage.at(24.9);
  await stage.close();
  expect(statuses(stage, 'ada')).toEqual(['ONLINE']);
  stage.at(25);
  await stage.close();
  expect(statuses(stage, 'ada')).toEqual(['ONLINE', 'OFFLINE']);
});

/** How many sessions each user has online by rules 20 and 21, from what was last heard of each session alone. */
async function onlineByTheRules(
  stage: Stage,
  timeouts: { presence: number; inactivity: number },
): Promise<{ identity: string; sessions: number }[]> {
  const rows = await stage.database.query<{ identity: string; last: Date; beats: boolean }>({
    name: 'test',
    text: `SELECT u.identity, s.last_activity_at AS last, s.has_heartbeat AS beats
           FROM sessions s JOIN users u ON u.project_id = s.project_id AND u.id = s.user_id
           WHERE s.project_id = $1 AND s.ended_at IS NULL ORDER BY u.identity`,
    values: [stage.projectId],
  });
  const { presence, inactivity } = timeouts;
  const online = rows.filter(({ last, beats }) => {
    const heardFor = beats ? Math.min(presence, inactivity) : inactivity;
    return stage.now().getTime() < last.getTime() + heardFor * 1000;
  });
  return [...new Set(online.map(({ identity }) => identity))].map((identity) => ({
    identity,
    sessions: online.filter((one) => one.identity === identity).length,
  }));
}

test('whatever is sent while timeouts change, with closers at any moment: who is online is by the rules', async () => {
  const step = fc.record({
    wait: fc.integer({ min: 0, max: 60 }),
    user: fc.constantFrom('ada', 'bob', 'cyd'),
    act: fc.constantFrom('beat', 'beat', 'send', 'key', 'presence', 'presence', 'inactivity', 'close'),
    seconds: fc.integer({ min: 10, max: 150 }),
  });
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 3, maxLength: 25 }), async (steps) => {
      const stage = await createStage(db);
      const { set, timeouts } = serverOf(stage);
      const now = { presence: 75, inactivity: 300 };
      let t = 0;
      for (const { wait, user, act, seconds } of steps) {
        stage.at((t += wait));
        if (act === 'beat') await stage.beat({ identity: user });
        else if (act === 'send') await stage.send({ user, t });
        else if (act === 'key') await stage.send({ type: 'heartbeat', sessionKey: `the-key-${user}`, user, t });
        else if (act === 'close') await stage.close();
        else {
          now[act] = seconds;
          await set(act === 'presence' ? { presenceTimeout: seconds } : { inactivityTimeout: seconds });
        }
        if (act !== 'close') continue;
        await timeouts.runOnce();
        const online = await stage.database.query<{ identity: string }>({
          name: 'test',
          text: `SELECT identity, online_sessions AS sessions FROM users
                 WHERE project_id = $1 AND online_sessions > 0 ORDER BY identity`,
          values: [stage.projectId],
        });
        expect(online).toEqual(await onlineByTheRules(stage, now));
        expect(await sessionsLeftOpen(stage.database, stage.projectId, stage.now())).toEqual([]);
      }
      expect(await usersMiscounted(stage.database, stage.projectId)).toEqual([]);
      shownBy(stage.edges());
    }),
    { numRuns: 60 },
  );
}, 60_000);

test('of two changes at once the second compares with what the first has made', async () => {
  const stage = await createStage(db);
  const { database, projectId } = stage;
  const reach = { projectId, userIds: null };
  const clear = `UPDATE projects SET presence_timeout = 50, reckon_at = NULL WHERE id = $1`;
  await database.query({ name: 'test', text: clear, values: [projectId] });
  const change = (tx: PrismaQueryable, presenceTimeout: number) =>
    changeProject(tx, reach, { name: null, settings: { presenceTimeout } }, stage.now());
  let second!: Promise<void>;
  await database.prismaTransaction(async (tx) => {
    await change(tx, 20);
    // To what it was when it began.
    second = database.prismaTransaction((other) => change(other, 50));
    for (;;) {
      const held = await database.query({
        name: 'test',
        text: `SELECT 1 FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'`,
      });
      if (held.length > 0) break;
    }
    await tx.prisma('test', ({ project }) => project.update({ where: { id: projectId }, data: { reckonAt: null } }));
  });
  await second;
  const [row] = await database.query<{ timeout: number; reckonAt: Date | null }>({
    name: 'test',
    text: 'SELECT presence_timeout AS timeout, reckon_at AS "reckonAt" FROM projects WHERE id = $1',
    values: [projectId],
  });
  expect(row).toEqual({ timeout: 50, reckonAt: stage.now() });
});
