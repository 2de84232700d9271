import { expect, test } from 'vitest';
import { AppError } from '../../src/errors.js';
import { createGroupCommit } from '../../src/services/ingest/group-commit.js';

/** A commit whose batches the test lets through one by one. */
function createGate(limits = {}) {
  const batches: { work: readonly number[]; pass: () => void; fail: (error: Error) => void }[] = [];
  let arrived: (() => void) | null = null;
  const refused: number[] = [];
  const queue = createGroupCommit<number, string>({
    limits: {
      lanes: 1,
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
  const submit = async (work: number, lane = 0) => (await queue.submit([{ work, lane }]))[0]!;
  return { queue, submit, batch, batches, refused };
}

test('work that comes while a batch is under way travels together, up to the limit', async () => {
  const { submit, batch } = createGate();
  const first = submit(1);
  await batch(0);
  const rest = [2, 3, 4, 5].map((work) => submit(work));
  (await batch(0)).pass();
  expect(await first).toBe('done 1');
  expect((await batch(1)).work).toEqual([2, 3, 4]);
  (await batch(1)).pass();
  (await batch(2)).pass();
  expect(await Promise.all(rest)).toEqual(['done 2', 'done 3', 'done 4', 'done 5']);
});

/** What the queue has put off to the loop's next turn has been done by then. */
async function settled(): Promise<void> {
  for (let turn = 0; turn < 2; turn += 1) await new Promise((resolve) => setImmediate(resolve));
}

test('a second batch begins beside the first once enough of another lane has gathered', async () => {
  const { submit, batch, batches } = createGate({
    lanes: 2,
    another: { events: 3, milliseconds: 1e6 },
    queue: { events: 9, bytes: 1_000 },
  });
  const work = [submit(1, 0)];
  await batch(0);
  work.push(submit(2, 1), submit(3, 1), submit(4, 0), submit(5, 0), submit(6, 0));
  await settled();
  expect(batches).toHaveLength(1);
  work.push(submit(7, 1));
  expect((await batch(1)).work).toEqual([2, 3, 7]);
  batches[0]!.pass();
  expect((await batch(2)).work).toEqual([4, 5, 6]);
  for (const { pass } of batches) pass();
  expect(await Promise.all(work)).toHaveLength(7);
});

test('little work of all lanes travels together, much of it lane by lane', async () => {
  const { submit, batch, batches } = createGate({
    lanes: 2,
    another: { events: 2, milliseconds: 1e6 },
    batch: { events: 10, bytes: 1_000 },
    queue: { events: 10, bytes: 1_000 },
  });
  const little = [submit(1, 0), submit(2, 0), submit(3, 1)];
  expect((await batch(0)).work).toEqual([1, 2, 3]);
  // Both lanes have work under way.
  const much = [submit(4, 1), submit(5, 0), submit(6, 1), submit(7, 0)];
  await settled();
  expect(batches).toHaveLength(1);
  batches[0]!.pass();
  expect((await batch(1)).work).toEqual([4, 6]);
  expect((await batch(2)).work).toEqual([5, 7]);
  for (const { pass } of batches) pass();
  expect(await Promise.all([...little, ...much])).toHaveLength(7);
});

test('pieces of several lanes are answered in their order, when the last has committed', async () => {
  const { queue, batch } = createGate({ lanes: 2 });
  const answered = queue.submit([
    { work: 1, lane: 1 },
    { work: 2, lane: 0 },
  ]);
  (await batch(0)).pass();
  (await batch(1)).pass();
  expect(await answered).toEqual(['done 1', 'done 2']);
});

test('where a piece fails its caller hears of it once the others are over', async () => {
  const { queue, batch } = createGate({ lanes: 2 });
  let heard: unknown = null;
  const answered = queue
    .submit([
      { work: 1, lane: 0 },
      { work: 2, lane: 1 },
    ])
    .catch((error: unknown) => (heard = error));
  (await batch(0)).fail(new Error('lost'));
  await batch(1);
  await settled();
  expect(heard).toBeNull();
  (await batch(1)).pass();
  await answered;
  expect(heard).toMatchObject({ message: 'lost' });
});

test('where not all pieces have room none is taken', async () => {
  const { queue, submit, batch, batches } = createGate({ lanes: 2, queue: { events: 4, bytes: 1_000 } });
  const first = submit(1);
  const second = submit(2, 1);
  const pieces = [3, 4, 5].map((work) => ({ work, lane: work % 2 }));
  // Two of the three would have room.
  await expect(queue.submit(pieces)).rejects.toMatchObject({ code: 'OVERLOADED' });
  expect(queue.queued).toBe(2);
  (await batch(0)).pass();
  (await batch(1)).pass();
  expect(await Promise.all([first, second])).toEqual(['done 1', 'done 2']);
  expect(batches).toHaveLength(2);
});

test('a second batch begins for whoever has waited long behind the first', async () => {
  const { submit, batch, batches } = createGate({ lanes: 2, another: { events: 3, milliseconds: 1 } });
  const work = [submit(1)];
  await batch(0);
  // Nothing that comes later brings it on.
  work.push(submit(2));
  expect((await batch(1)).work).toEqual([2]);
  for (const { pass } of batches) pass();
  expect(await Promise.all(work)).toEqual(['done 1', 'done 2']);
});

test('a full queue refuses at once and says when to try again', async () => {
  const { submit, batch, refused } = createGate();
  const first = submit(1);
  await batch(0);
  const waiting = [2, 3, 4, 5, 6].map((work) => submit(work));
  const error = await submit(7).catch((refusal: unknown) => refusal);
  expect(error).toBeInstanceOf(AppError);
  expect(error).toMatchObject({ code: 'OVERLOADED', details: { retryAfter: 1 } });
  expect(refused).toEqual([5]);
  for (let at = 0; at < 3; at += 1) (await batch(at)).pass();
  expect(await Promise.all([first, ...waiting])).toHaveLength(6);
});

test('a batch that fails fails its own callers alone', async () => {
  const { submit, batch } = createGate();
  const first = submit(1);
  await batch(0);
  const second = submit(2);
  (await batch(0)).fail(new Error('lost'));
  await expect(first).rejects.toThrow('lost');
  (await batch(1)).pass();
  expect(await second).toBe('done 2');
});

test('closing finishes what was taken and takes nothing new', async () => {
  const { queue, submit, batch } = createGate();
  const work = [submit(1), submit(2)];
  const closed = queue.close();
  await expect(submit(3)).rejects.toMatchObject({ code: 'UNAVAILABLE' });
  (await batch(0)).pass();
  await closed;
  expect(await Promise.all(work)).toEqual(['done 1', 'done 2']);
});
