import { afterAll, beforeAll, expect, test } from 'vitest';
import { userIdOf } from '../../src/domain/identity.js';
import type { Observation } from '../../src/observation.js';
import { createEraseUser } from '../../src/services/projects/erase-user.js';
import type { Database, Queryable } from '../../src/store/database.js';
import { createTestDatabase, type TestDatabase } from '../support/database.js';
import { createStage, type Stage } from '../support/stage.js';

/** Erasures whose transactions have to run again. */

let db: TestDatabase;
beforeAll(async () => {
  db = await createTestDatabase();
});
afterAll(() => db.drop());

const DAY = 86_400;

/** The database, whose transactions call `before` before each statement and `after` after it. */
function around(
  database: Database,
  {
    before = async () => {},
    after = async () => {},
  }: Partial<Record<'before' | 'after', (name: string) => Promise<void>>>,
): Database {
  return {
    ...database,
    transaction: (work) =>
      database.transaction((tx) => {
        const query: Queryable['query'] = async (statement) => {
          await before(statement.name);
          const rows = await tx.query<never>(statement);
          await after(statement.name);
          return rows;
        };
        return work({ query });
      }),
  };
}

const eventsInAudit = (stage: Stage): Promise<{ events: number }[]> =>
  stage.database.query<{ events: number }>({
    name: 'test.audit',
    text: `SELECT (details ->> 'events')::integer AS events FROM audit_log WHERE project_id = $1 AND action = 'USER_ERASED' ORDER BY id`,
    values: [stage.projectId],
  });

test('an erasure on a day without a partition counts each event once', async () => {
  const stage = await createStage(db);
  await stage.send({ type: 'log', user: 'ada', t: 0 });
  let isLate = false;
  const database = around(stage.database, {
    // An event comes after the others were deleted, and before the user is locked.
    async before(name) {
      if (name !== 'erase.lockUser' || isLate) return;
      isLate = true;
      await stage.send({ type: 'late', user: 'ada', t: 0 });
    },
  });
  // There is no partition of `changes` for this day yet.
  const clock = { now: () => stage.time(200 * DAY) };
  const observations: Observation[] = [];
  const observe = (observation: Observation): void => void observations.push(observation);
  const erase = createEraseUser({ database, bus: stage.bus, clock, observe });
  expect(await erase(stage.caller, 'ada')).toMatchObject({ sessions: 1, events: 2 });
  expect(observations.some(({ kind }) => kind === 'partition.created')).toBe(true);
  expect(await eventsInAudit(stage)).toEqual([{ events: 2 }]);
});

test('two users with events in sessions of each other can be erased at the same moment', async () => {
  const stage = await createStage(db);
  const users = ['ada', 'grace'];
  const [ada, grace] = users.map((user) => userIdOf(stage.projectId, user));
  await stage.send(...users.map((user) => ({ type: 'log', user, t: 0 })));
  let crossing: Promise<unknown> | null = null;
  /** Two events come late, and each is in a session of the other user. */
  const cross = async (): Promise<unknown> => {
    await stage.send(...users.map((user) => ({ type: 'late', user, t: 0 })));
    return stage.database.query({
      name: 'test.cross',
      text: `UPDATE events SET user_id = CASE user_id WHEN $2 THEN $3::uuid ELSE $2::uuid END WHERE project_id = $1 AND type = 'late'`,
      values: [stage.projectId, ada, grace],
    });
  };
  let ready = 0;
  let go = (): void => {};
  const both = new Promise<void>((resolve) => (go = resolve));
  const database = around(stage.database, {
    async before(name) {
      if (name === 'erase.lockUser') await (crossing ??= cross());
    },
    // Each has locked its own sessions before it comes to those of the other.
    async after(name) {
      if (name !== 'erase.lockSessions') return;
      ready += 1;
      if (ready === 2) go();
      await both;
    },
  });
  const observations: Observation[] = [];
  const observe = (observation: Observation): void => void observations.push(observation);
  const erase = createEraseUser({ database, bus: stage.bus, clock: stage, observe });
  const erased = await Promise.all(users.map((user) => erase(stage.caller, user)));
  expect(erased.map(({ sessions }) => sessions)).toEqual([1, 1]);
  // Each event was deleted by one of them, and counted once.
  expect(erased.reduce((sum, { events }) => sum + events, 0)).toBe(4);
  expect(observations).toContainEqual({ kind: 'batch.retried', reason: 'erasure: 40P01', attempt: 1 });
  const told = await eventsInAudit(stage);
  expect(told.reduce((sum, { events }) => sum + events, 0)).toBe(4);
  expect(await stage.sessions()).toEqual([]);
});
