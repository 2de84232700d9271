import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { uuidAt } from '../../src/domain/event-id.js';
import { createMaintenance } from '../../src/services/upkeep/maintenance.js';
import { deleteIdleDevices, deleteOldAuditEntries, type Removed } from '../../src/store/upkeep/retention.js';
import { createTestDatabase, type TestDatabase } from '../support/database.js';
import { createStage, type Stage } from '../support/stage.js';

let db: TestDatabase;
beforeAll(async () => {
  db = await createTestDatabase();
});
afterAll(() => db.drop());

const DAY = 86_400;

test('what is older than a project keeps is deleted; open sessions and other projects stay', async () => {
  const keeps = await createStage(db);
  const forgets = await createStage(db, { retentionDays: 10, inactivityTimeout: 86_400 });
  for (const stage of [keeps, forgets]) {
    await stage.send({ user: 'old', t: 0 }, { user: 'old', type: 'sessionend', t: 10 }, { user: 'open', t: 0 });
    stage.at(9 * DAY);
    await stage.send({ user: 'new', t: 9 * DAY }, { user: 'new', type: 'sessionend', t: 9 * DAY });
    stage.at(11 * DAY);
  }
  const maintenance = createMaintenance({
    database: forgets.database,
    clock: { now: () => forgets.now() },
    observe: () => {},
  });
  await maintenance.runOnce(forgets.now());
  await maintenance.runOnce(forgets.now());
  const events = async (projectId: string) =>
    (
      await forgets.database.query({
        name: 'test',
        text: 'SELECT 1 FROM events WHERE project_id = $1',
        values: [projectId],
      })
    ).length;
  expect(await events(keeps.projectId)).toBe(5);
  expect(await keeps.sessions()).toHaveLength(3);
  expect(await events(forgets.projectId)).toBe(2);
  expect(await forgets.sessions()).toMatchObject([{ end: null }, { start: 9 * DAY }]);
  await maintenance.close();
});

describe('what retention leaves today', () => {
  const query = <Row>(stage: Stage, text: string, values: unknown[] = []) =>
    stage.database.query<Row>({ name: 'test', text, values });
  const maintain = async (stage: Stage) => {
    const maintenance = createMaintenance({ database: stage.database, clock: stage, observe: () => {} });
    await maintenance.runOnce(stage.now());
    await maintenance.close();
  };
  const partitions = async (stage: Stage): Promise<string[]> =>
    (
      await query<{ name: string }>(
        stage,
        `SELECT inhrelid::regclass::text AS name FROM pg_inherits WHERE inhparent = 'events'::regclass ORDER BY 1`,
      )
    ).map(({ name }) => name);

  test('a week of events goes when nothing that must be kept is in it', async () => {
    // Stages begin on Monday, 5 October 2026.
    const forgets = await createStage(db, { retentionDays: 10 });
    const keeps = await createStage(db);
    await forgets.send({ user: 'old', t: 0 });
    keeps.at(7 * DAY);
    await keeps.send({ user: 'kept', t: 7 * DAY });
    for (const days of [18, 30]) {
      forgets.at(days * DAY);
      await maintain(forgets);
    }
    const left = await partitions(forgets);
    expect(left).not.toContain('events_20260928');
    // The stages of the tests before keep theirs; here everything of them has gone by.
    await query(forgets, `DELETE FROM events WHERE project_id NOT IN ($1, $2)`, [forgets.projectId, keeps.projectId]);
    await maintain(forgets);
    expect(await partitions(forgets)).not.toContain('events_20261005');
    expect(await partitions(forgets)).toContain('events_20261012');
    expect(await query(forgets, 'SELECT FROM events WHERE project_id = $1', [keeps.projectId])).toHaveLength(1);
    // As soon as nobody keeps it.
    await query(forgets, 'UPDATE projects SET retention_days = 11 WHERE id = $1', [keeps.projectId]);
    forgets.at(29 * DAY);
    await maintain(forgets);
    expect(await partitions(forgets)).not.toContain('events_20261012');
    // What is to come is made.
    forgets.at(30 * DAY);
    expect(await forgets.send({ user: 'new', t: 30 * DAY })).toMatchObject([{ status: 'ACCEPTED' }]);
  });

  test('a partition whose events somebody reads is left for the next time, and whoever writes hardly waits', async () => {
    const stage = await createStage(db, { retentionDays: 1 });
    await stage.send({ user: 'ada', t: 0 });
    await query(stage, 'DELETE FROM events WHERE project_id <> $1', [stage.projectId]);
    stage.at(40 * DAY);
    const free = await db.hold(`SELECT count(*) FROM events`);
    await maintain(stage);
    expect(await partitions(stage)).toContain('events_20261005');
    await free();
    await maintain(stage);
    expect(await partitions(stage)).not.toContain('events_20261005');
  });

  test('users of whom nothing is left go, but those who are there, or were heard of, or are held', async () => {
    const stage = await createStage(db, { retentionDays: 10, inactivityTimeout: 60 });
    const keeps = await createStage(db);
    for (const one of [stage, keeps]) {
      await one.send(
        ...['gone', 'held', 'back'].flatMap((user) => [
          { user, t: 0 },
          { user, type: 'sessionend', t: 1 },
        ]),
        { user: 'never', type: 'sessionend', t: 0 },
      );
    }
    stage.at(9 * DAY);
    await stage.send({ user: 'back', t: 9 * DAY }, { user: 'late', type: 'sessionend', t: 9 * DAY });
    stage.at(12 * DAY);
    await stage.close();
    const users = async (projectId: string) =>
      (
        await query<{ identity: string }>(stage, 'SELECT identity FROM users WHERE project_id = $1 ORDER BY 1', [
          projectId,
        ])
      ).map(({ identity }) => identity);
    const free = await db.hold(
      `SELECT FROM users WHERE project_id = '${stage.projectId}' AND identity = 'held' FOR NO KEY UPDATE`,
    );
    await maintain(stage);
    expect(await users(stage.projectId)).toEqual(['back', 'held', 'late']);
    expect(await stage.sessions('held')).toHaveLength(1);
    await free();
    await maintain(stage);
    expect(await users(stage.projectId)).toEqual(['back', 'late']);
    expect(await users(keeps.projectId)).toEqual(['back', 'gone', 'held', 'never']);
    // Whoever comes back is a user again.
    expect(await stage.send({ user: 'gone', t: 12 * DAY })).toMatchObject([{ status: 'ACCEPTED' }]);
    expect(stage.edges().at(-1)).toMatchObject({ presence: { identity: 'gone', status: 'ONLINE' } });
  });

  test('devices of which nothing is left go, but those with a session, or heard of lately, or held', async () => {
    const stage = await createStage(db, { retentionDays: 10, inactivityTimeout: 60 });
    const keeps = await createStage(db);
    for (const one of [stage, keeps]) {
      await one.send(
        ...['device-gone', 'device-held', 'device-back'].flatMap((deviceId) => [
          { deviceId, t: 0 },
          { deviceId, type: 'sessionend', t: 1 },
        ]),
      );
    }
    stage.at(9 * DAY);
    await stage.send({ deviceId: 'device-back', t: 9 * DAY }, { deviceId: 'device-late', type: 'sessionend' });
    stage.at(12 * DAY);
    await stage.close();
    const devices = async (projectId: string) =>
      (await query<{ id: string }>(stage, 'SELECT id FROM devices WHERE project_id = $1 ORDER BY 1', [projectId])).map(
        ({ id }) => id,
      );
    const free = await db.hold(
      `SELECT FROM devices WHERE project_id = '${stage.projectId}' AND id = 'device-held' FOR NO KEY UPDATE`,
    );
    await maintain(stage);
    expect(await devices(stage.projectId)).toEqual(['device-back', 'device-held', 'device-late']);
    await free();
    await maintain(stage);
    expect(await devices(stage.projectId)).toEqual(['device-back', 'device-late']);
    expect(await devices(keeps.projectId)).toEqual(['device-back', 'device-gone', 'device-held']);
    // In steps of a few, as many as it takes.
    const steps: (string | null)[] = [''];
    while (steps.at(-1) !== null && steps.length < 9) {
      const after = steps.at(-1)!;
      steps.push(await deleteIdleDevices(stage.database, keeps.caller.reach, { before: stage.now(), after, limit: 2 }));
    }
    expect(steps).toEqual(['', 'device-gone', null]);
  });

  test('what waits for an event goes with the rest, and entries of audit logs after two years, in steps', async () => {
    const stage = await createStage(db, { retentionDays: 1 });
    const keeps = await createStage(db);
    const entry = (days: number, at: number) => [uuidAt(stage.time(-days * DAY + at)), stage.time(-days * DAY + at)];
    for (const { projectId } of [stage, keeps]) {
      await query(
        stage,
        `INSERT INTO user_descriptions (project_id, reference_id, received_at, data)
         SELECT $1, 'reference-' || n, $2::timestamptz - n * interval '1 hour', '{}' FROM generate_series(1, 48) n`,
        [projectId, stage.now()],
      );
      for (const days of [1, 729, 731]) {
        const entries = Array.from({ length: 10 }, (_, at) => entry(days, at));
        await query(
          stage,
          `INSERT INTO audit_log (project_id, id, at, action) SELECT $1, id, at, 'PROJECT_UPDATED' FROM unnest($2::uuid[], $3::timestamptz[]) e (id, at)`,
          [projectId, entries.map(([id]) => id), entries.map(([, at]) => at)],
        );
      }
    }
    // In steps of a few, as many as it takes.
    for (let step: Removed = { count: 0, more: true }; step.more;) {
      step = await deleteOldAuditEntries(stage.database, stage.time(-730 * DAY), 7);
      expect(step.count).toBeLessThanOrEqual(7);
    }
    await maintain(stage);
    const count = async (table: string, projectId: string) =>
      (await query(stage, `SELECT FROM ${table} WHERE project_id = $1`, [projectId])).length;
    expect([
      await count('user_descriptions', stage.projectId),
      await count('user_descriptions', keeps.projectId),
    ]).toEqual([24, 48]);
    expect([await count('audit_log', stage.projectId), await count('audit_log', keeps.projectId)]).toEqual([20, 20]);
  });
});
