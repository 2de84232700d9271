import { afterAll, beforeAll, expect, test } from 'vitest';
import { createTestDatabase, type TestDatabase } from '../support/database.js';

let db: TestDatabase;
beforeAll(async () => {
  db = await createTestDatabase();
});
afterAll(() => db.drop());

test('a migrated database has partitions for events arriving now', async () => {
  const rows = await db.open().query<{ count: string }>({ name: 'test', text: `SELECT count(*) FROM pg_inherits` });
  expect(Number(rows[0]!.count)).toBeGreaterThan(20);
});
