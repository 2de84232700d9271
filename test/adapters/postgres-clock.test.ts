import { afterEach, expect, test, vi } from 'vitest';
import { createPostgresClock } from '../../src/adapters/postgres-clock.js';
import type { Database } from '../../src/store/database.js';

afterEach(() => void vi.useRealTimers());

/** Only what the clock asks. `ahead`: how far Postgres' clock is before this machine's; an answer takes 40 ms. */
function databaseWithClock(offset: { ahead: number }): Database {
  return {
    async query() {
      vi.setSystemTime(Date.now() + 20);
      const now = new Date(Date.now() + offset.ahead);
      vi.setSystemTime(Date.now() + 20);
      return [{ now }];
    },
  } as unknown as Database;
}

test('it tells Postgres’ time, measured at the middle of the round trip, anew every minute, and never goes back', async () => {
  vi.useFakeTimers({ now: Date.parse('2026-01-01T00:00:00Z') });
  const offset = { ahead: 60_000 };
  const clock = await createPostgresClock(databaseWithClock(offset), () => {});
  expect(clock.now().getTime() - Date.now()).toBe(60_000);

  offset.ahead = 50_000;
  const before = clock.now().getTime();
  await vi.advanceTimersByTimeAsync(60_000);
  expect(clock.now().getTime() - Date.now()).toBe(50_000);
  expect(clock.now().getTime()).toBeGreaterThan(before);

  // The next measure would set it back by more than the time that has passed: it stands still instead.
  offset.ahead = -100_000;
  const latest = clock.now().getTime();
  await vi.advanceTimersByTimeAsync(60_000);
  expect(clock.now().getTime()).toBe(latest);
  await clock.close();
});

test('a measure that fails is told, and the time goes on with the one before', async () => {
  vi.useFakeTimers({ now: 0 });
  const offset = { ahead: 1_000 };
  const database = databaseWithClock(offset);
  const seen: string[] = [];
  const clock = await createPostgresClock(database, ({ kind }) => seen.push(kind));
  database.query = () => Promise.reject(new Error('gone'));
  await vi.advanceTimersByTimeAsync(60_000);
  expect(seen).toEqual(['task.failed']);
  expect(clock.now().getTime() - Date.now()).toBe(1_000);
  await clock.close();
});
