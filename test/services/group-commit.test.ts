import { expect, test } from 'vitest';
import { AppError } from '../../src/errors.js';
import { createGroupCommit } from '../../src/services/group-commit.js';

/** A commit whose batches the test lets through one by one. */
function createGate(limits = {}) {
  const batches: { work: readonly number[]; pass: () => void; fail: (error: Error) => void }[] = [];
  let arrived: (() => void) | null = null;
  const refused: number[] = [];
  const queue = createGroupCommit<number, string>({
    limits: {
      concurrency: 1,
      another: { events: 1, milliseconds: 0 },
      batch: { events: 3, bytes: 1_000 },
      queue: { events: 5, bytes: 1_000 },
      ...limits,
    },
    weigh: (work) => ({ events: 1, bytes: work }),
    commit: (work) =>
      new Promise((resolve, reject) => {
        batches.push({ work, pass: () => resolve(work.map((one) => `done ${one}`)), fail: reject });
        arrived?.();
      }),
    onRefused: (queued) => refused.push(queued),
  });
  /** Resolves when the batch with that number is under way. */
  const batch = async (at: number) => {
    while (batches.length <= at) await new Promise<void>((resolve) => (arrived = resolve));
    return batches[at]!;
  };
  return { queue, batch, batches, refused };
}

test('work that comes while a batch is under way travels together, up to the limit', async () => {
  const { queue, batch } = createGate();
  const first = queue.submit(1);
  await batch(0);
  const rest = [2, 3, 4, 5].map((work) => queue.submit(work));
  (await batch(0)).pass();
  expect(await first).toBe('done 1');
  expect((await batch(1)).work).toEqual([2, 3, 4]);
  (await batch(1)).pass();
  (await batch(2)).pass();
  expect(await Promise.all(rest)).toEqual(['done 2', 'done 3', 'done 4', 'done 5']);
});

test('a second batch begins beside the first once enough has gathered', async () => {
  const { queue, batch, batches } = createGate({ concurrency: 2, another: { events: 3, milliseconds: 1e6 } });
  const work = [queue.submit(1)];
  await batch(0);
  work.push(queue.submit(2), queue.submit(3));
  // What is to be done soon has been done by then.
  await new Promise((resolve) => setTimeout(resolve, 0));
  expect(batches).toHaveLength(1);
  work.push(queue.submit(4));
  expect((await batch(1)).work).toEqual([2, 3, 4]);
  for (const { pass } of batches) pass();
  expect(await Promise.all(work)).toHaveLength(4);
});

test('a second batch begins for whoever has waited long behind the first', async () => {
  const { queue, batch, batches } = createGate({ concurrency: 2, another: { events: 3, milliseconds: 1 } });
  const work = [queue.submit(1)];
  await batch(0);
  // Nothing that comes later brings it on.
  work.push(queue.submit(2));
  expect((await batch(1)).work).toEqual([2]);
  for (const { pass } of batches) pass();
  expect(await Promise.all(work)).toEqual(['done 1', 'done 2']);
});

test('a full queue refuses at once and says when to try again', async () => {
  const { queue, batch, refused } = createGate();
  const first = queue.submit(1);
  await batch(0);
  const waiting = [2, 3, 4, 5, 6].map((work) => queue.submit(work));
  const error = await queue.submit(7).catch((refusal: unknown) => refusal);
  expect(error).toBeInstanceOf(AppError);
  expect(error).toMatchObject({ code: 'OVERLOADED', details: { retryAfter: 1 } });
  expect(refused).toEqual([5]);
  for (let at = 0; at < 3; at += 1) (await batch(at)).pass();
  expect(await Promise.all([first, ...waiting])).toHaveLength(6);
});

test('a batch that fails fails its own callers alone', async () => {
  const { queue, batch } = createGate();
  const first = queue.submit(1);
  await batch(0);
  const second = queue.submit(2);
  (await batch(0)).fail(new Error('lost'));
  await expect(first).rejects.toThrow('lost');
  (await batch(1)).pass();
  expect(await second).toBe('done 2');
});

test('closing finishes what was taken and takes nothing new', async () => {
  const { queue, batch } = createGate();
  const work = [queue.submit(1), queue.submit(2)];
  const closed = queue.close();
  await expect(queue.submit(3)).rejects.toMatchObject({ code: 'UNAVAILABLE' });
  (await batch(0)).pass();
  await closed;
  expect(await Promise.all(work)).toEqual(['done 1', 'done 2']);
});
