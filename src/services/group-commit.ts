import { AppError } from '../errors.js';

/** How much a piece of work weighs in the queue. */
export interface Weight {
  readonly events: number;
  readonly bytes: number;
}

export interface GroupCommitLimits {
  /** Transactions under way at once. */
  readonly concurrency: number;
  /**
   * When another one begins beside those under way: for so many events, or where the oldest has waited so long
   * (milliseconds) behind one that takes its time. Fewer are better gathered: a transaction has costs of its own, which
   * its events share.
   */
  readonly another: { readonly events: number; readonly milliseconds: number };
  /** A batch takes no further work once it holds this much; one piece alone may weigh more. */
  readonly batch: Weight;
  /** Work waiting; more is refused at once. */
  readonly queue: Weight;
}

export interface GroupCommit<Work, Result> {
  /** Resolves when the work's batch has committed. Throws OVERLOADED at once where the queue is full, UNAVAILABLE once closed. */
  submit(work: Work): Promise<Result>;
  /** Events that wait. */
  readonly queued: number;
  /** Whether a further piece would have to wait. */
  readonly busy: boolean;
  /** Takes nothing new; resolves when all that was taken is answered. */
  close(): Promise<void>;
}

interface Waiting<Work, Result> {
  readonly work: Work;
  readonly weight: Weight;
  readonly since: number;
  readonly resolve: (result: Result) => void;
  readonly reject: (error: unknown) => void;
}

/**
 * Joins concurrent pieces of work into batches. While a transaction is under way the
 * next batch gathers, so one caller alone never waits, and the busier it is the larger the batches are.
 * `commit` answers one result for each piece, in order, or an Error with which that piece fails; where it throws,
 * all pieces of the batch fail alike.
 */
export function createGroupCommit<Work, Result>(options: {
  limits: GroupCommitLimits;
  weigh: (work: Work) => Weight;
  commit: (batch: readonly Work[], waited: number) => Promise<readonly (Result | Error)[]>;
  onRefused: (queued: number) => void;
}): GroupCommit<Work, Result> {
  const { limits, weigh, commit } = options;
  const waiting: Waiting<Work, Result>[] = [];
  let events = 0;
  let bytes = 0;
  let running = 0;
  let closed = false;
  let drained: (() => void) | null = null;
  let scheduled = false;
  let patience: NodeJS.Timeout | null = null;

  function take(): Waiting<Work, Result>[] {
    let taken = 0;
    let batchEvents = 0;
    let batchBytes = 0;
    for (const { weight } of waiting) {
      if (
        taken > 0 &&
        (batchEvents + weight.events > limits.batch.events || batchBytes + weight.bytes > limits.batch.bytes)
      )
        break;
      taken += 1;
      batchEvents += weight.events;
      batchBytes += weight.bytes;
    }
    events -= batchEvents;
    bytes -= batchBytes;
    return waiting.splice(0, taken);
  }

  async function run(batch: Waiting<Work, Result>[]): Promise<void> {
    try {
      const results = await commit(
        batch.map(({ work }) => work),
        performance.now() - batch[0]!.since,
      );
      for (const [at, { resolve, reject }] of batch.entries()) {
        const result = results[at]!;
        if (result instanceof Error) reject(result);
        else resolve(result);
      }
    } catch (error) {
      for (const { reject } of batch) reject(error);
    } finally {
      running -= 1;
      pump();
    }
  }

  const isTimeForAnother = (): boolean =>
    events >= limits.another.events || performance.now() - waiting[0]!.since >= limits.another.milliseconds;

  function pump(): void {
    scheduled = false;
    while (waiting.length > 0 && running < limits.concurrency && (running === 0 || isTimeForAnother())) {
      running += 1;
      void run(take());
    }
    if (running === 0 && waiting.length === 0) drained?.();
    if (waiting.length === 0 || running >= limits.concurrency) return;
    const waited = performance.now() - waiting[0]!.since;
    patience ??= setTimeout(
      () => {
        patience = null;
        pump();
      },
      Math.max(1, limits.another.milliseconds - waited),
    );
  }

  /** A turn of the loop later, so that requests read from their sockets together travel together. */
  function pumpSoon(): void {
    if (scheduled || running >= limits.concurrency) return;
    scheduled = true;
    setImmediate(pump);
  }

  return {
    get queued() {
      return events;
    },
    get busy() {
      return running >= limits.concurrency || waiting.length > 0;
    },
    submit(work) {
      if (closed) {
        return Promise.reject(
          new AppError('UNAVAILABLE', 'This server is shutting down; try again.', { retryAfter: 1 }),
        );
      }
      const weight = weigh(work);
      const full = events + weight.events > limits.queue.events || bytes + weight.bytes > limits.queue.bytes;
      if (full && waiting.length > 0) {
        options.onRefused(waiting.length);
        return Promise.reject(
          new AppError(
            'OVERLOADED',
            'More arrives than can be stored just now; nothing of this request was kept. Try again.',
            {
              retryAfter: 1,
            },
          ),
        );
      }
      return new Promise((resolve, reject) => {
        waiting.push({ work, weight, since: performance.now(), resolve, reject });
        events += weight.events;
        bytes += weight.bytes;
        pumpSoon();
      });
    },
    async close() {
      closed = true;
      if (running === 0 && waiting.length === 0) return;
      await new Promise<void>((resolve) => {
        drained = resolve;
      });
    },
  };
}
