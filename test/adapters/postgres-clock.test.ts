import { afterAll, afterEach, beforeAll, expect, test, vi } from 'vitest';
import { createDatabase } from '../../src/adapters/postgres/postgres.js';
import { createPostgresClock } from '../../src/adapters/postgres/postgres-clock.js';
import type { Database } from '../../src/store/database.js';
import { eventually } from '../support/app.js';
import { createTestDatabase, type TestDatabase } from '../support/database.js';

const HOUR = 3_600_000;

let db: TestDatabase;
let admin: Database;
/** A real Postgres whose `clock_timestamp` is ours: its hands are turned in a table. */
let turned: Database;
beforeAll(async () => {
  db = await createTestDatabase();
  admin = db.open();
  for (const text of [
    'CREATE SCHEMA hands',
    'CREATE TABLE hands.ahead (by interval)',
    `INSERT INTO hands.ahead VALUES ('0')`,
    `CREATE FUNCTION hands.clock_timestamp() RETURNS timestamptz LANGUAGE sql AS 'SELECT pg_catalog.clock_timestamp() + by FROM hands.ahead'`,
  ])
    await admin.query({ name: 'test', text });
  const url = new URL(db.url);
  url.searchParams.set('options', '-c search_path=hands,pg_catalog,public');
  turned = createDatabase({ url: url.href, poolSize: 1, observe: () => {} });
});
afterAll(async () => {
  await turned.close();
  await db.drop();
});
afterEach(() => void vi.restoreAllMocks());

const turn = (milliseconds: number) =>
  admin.query({
    name: 'test',
    text: `UPDATE hands.ahead SET by = $1::float8 * interval '1 millisecond'`,
    values: [milliseconds],
  });

test('a machine’s clock that jumps six hours ahead, or behind, and back changes nothing', async () => {
  const clock = await createPostgresClock(admin, () => {});
  const right = Date.now.bind(Date);
  for (const wrong of [6 * HOUR, -6 * HOUR, 0]) {
    vi.spyOn(Date, 'now').mockImplementation(() => right() + wrong);
    const told = clock.now().getTime();
    vi.restoreAllMocks();
    expect(Math.abs(told - Date.now())).toBeLessThan(1_000);
  }
  await clock.close();
});

test('Postgres’ clock that jumps six hours ahead and back is wrong no longer than until the next measurement', async () => {
  await turn(0);
  const measurements = vi.spyOn(turned, 'query');
  const clock = await createPostgresClock(turned, () => {}, { interval: 5 });
  const off = (): number => clock.now().getTime() - Date.now();
  /** Two whole ones from now on: the first may have begun before. */
  async function measured(): Promise<void> {
    const before = measurements.mock.calls.length;
    await eventually(() => measurements.mock.calls.length >= before + 9);
  }
  await turn(6 * HOUR);
  await measured();
  expect(Math.abs(off() - 6 * HOUR)).toBeLessThan(1_000);
  await turn(0);
  await measured();
  expect(Math.abs(off())).toBeLessThan(1_000);
  await clock.close();
});

test('it does not go back for less than a second, and goes on when it has been caught up with', async () => {
  await turn(0);
  let hands = 0;
  const clock = await createPostgresClock(turned, () => {}, { interval: HOUR, monotonic: () => hands });
  const first = clock.now().getTime();
  hands = -900;
  expect(clock.now().getTime()).toBe(first);
  hands = 100;
  expect(clock.now().getTime()).toBe(first + 100);
  hands = -950;
  expect(clock.now().getTime()).toBe(first - 950);
  await clock.close();
});
