import { expect, test } from 'vitest';
import { createReadiness } from '../../src/services/upkeep/readiness.js';
import type { Bus } from '../../src/services/bus.js';
import type { Database } from '../../src/store/database.js';

const bus = { connected: true } as Bus;

test('an answer stands for a second from when it came, and one question is asked at a time', async () => {
  let time = 0;
  const asked: { resolve(): void; reject(error: Error): void }[] = [];
  const query = () => new Promise<unknown[]>((resolve, reject) => asked.push({ resolve: () => resolve([]), reject }));
  const readiness = createReadiness(() => time);
  const missing = () => readiness.missing({ query } as unknown as Database, bus);

  const first = [missing(), missing()];
  time = 60_000;
  first.push(missing());
  expect(asked).toHaveLength(1);
  asked[0]!.reject(new Error('gone'));
  expect(await Promise.all(first)).toEqual([['database'], ['database'], ['database']]);

  time += 999;
  expect(await missing()).toEqual(['database']);
  time += 1;
  const next = missing();
  expect(asked).toHaveLength(2);
  asked[1]!.resolve();
  expect(await next).toEqual([]);
});
