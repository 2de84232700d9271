import { afterAll, beforeAll, expect, test } from 'vitest';
import { createMaintenance } from '../../src/services/maintenance.js';
import { createTestDatabase, type TestDatabase } from '../support/database.js';
import { createStage } from '../support/stage.js';

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
