import { AppError } from '../../errors.js';

/** How much a piece of work counts in the queue. */
export interface Weight {
  readonly events: number;
  readonly bytes: number;
}

export interface GroupCommitLimits {
  /** The most transactions at a time. Each has work of its own lanes, as long as no transaction is slow. */
  readonly lanes: number;
  /**
   * When a transaction begins beside those under way: if a lane that none of them has holds so many events, or if the
   * oldest work has waited so long (milliseconds). Otherwise it is better to gather work: each transaction has costs of its
   * own, which its events share.
   */
  readonly another: { readonly events: number; readonly milliseconds: number };
  /** A batch takes no more work after it holds this much. A single piece may weigh more. */
  readonly batch: Weight;
  /** The most work that may wait. More is refused at once. */
  readonly queue: Weight;
}

/**
 * Work that goes into one batch. Pieces that touch the same rows should have the same lane: then batches that run at the
 * same time wait less for each other. Lanes change the speed only, not the result.
 */
interface Piece<Work> {
  readonly work: Work;
  /** From 0 to the number of lanes less one. */
  readonly lane: number;
}

export interface GroupCommit<Work, Result> {
  /**
   * Resolves when the batches of all pieces have ended, with one result for each piece, in order. The queue takes all of
   * the pieces or none. Throws OVERLOADED at once if the queue is full, and UNAVAILABLE after close(). If a piece fails,
   * throws its error.
   */
  submit(pieces: readonly Piece<Work>[]): Promise<Result[]>;
  /** How many events wait. */
  readonly queued: number;
  /** Whether one more piece would have to wait. */
  readonly busy: boolean;
  /** Takes no more work; resolves when all work that was taken is answered. */
  close(): Promise<void>;
}

interface Waiting<Work, Result> {
  readonly work: Work;
  readonly weight: Weight;
  readonly since: number;
  readonly lane: Lane<Work, Result>;
  readonly resolve: (result: Result) => void;
  readonly reject: (error: unknown) => void;
}

interface Lane<Work, Result> {
  waiting: Waiting<Work, Result>[];
  events: number;
  bytes: number;
  /** How many batches under way hold work of this lane. */
  running: number;
}

/**
 * Joins concurrent pieces of work into batches. The next batch gathers while a transaction is under way. So a single caller
 * never waits, and batches grow with the load. If little work waits, one batch takes all of it; if much work waits in
 * several lanes, each lane gets a batch of its own. `commit` answers one result for each piece, in order, or an Error with
 * which that piece fails. If `commit` throws, all pieces of the batch fail with that error. `waited`: milliseconds.
 */
export function createGroupCommit<Work, Result>(options: {
  limits: GroupCommitLimits;
  weigh: (work: Work) => Weight;
  commit: (batch: readonly Work[], waited: number) => Promise<readonly (Result | Error)[]>;
  onRefused: (queued: number) => void;
}): GroupCommit<Work, Result> {
  type OwnLane = Lane<Work, Result>;
  const { limits, weigh, commit } = options;
  const lanes: OwnLane[] = Array.from({ length: limits.lanes }, () => ({
    waiting: [],
    events: 0,
    bytes: 0,
    running: 0,
  }));
  let running = 0;
  let closed = false;
  let drained: (() => void) | null = null;
  let scheduled = false;
  let patience: NodeJS.Timeout | null = null;

  const sum = (of: (lane: OwnLane) => number): number => lanes.reduce((total, lane) => total + of(lane), 0);
  const pieces = (): number => sum(({ waiting }) => waiting.length);
  const oldest = (): number => Math.min(...lanes.map(({ waiting }) => waiting[0]?.since ?? Number.POSITIVE_INFINITY));

  /** Removes from these lanes the work that one batch may hold. */
  function take(from: readonly OwnLane[]): Waiting<Work, Result>[] {
    const batch: Waiting<Work, Result>[] = [];
    let batchEvents = 0;
    let batchBytes = 0;
    const isRoomFor = ({ events, bytes }: Weight): boolean =>
      batch.length === 0 || (batchEvents + events <= limits.batch.events && batchBytes + bytes <= limits.batch.bytes);
    for (const lane of from) {
      let taken = 0;
      for (const one of lane.waiting) {
        if (!isRoomFor(one.weight)) break;
        taken += 1;
        batchEvents += one.weight.events;
        batchBytes += one.weight.bytes;
        lane.events -= one.weight.events;
        lane.bytes -= one.weight.bytes;
        batch.push(one);
      }
      lane.waiting.splice(0, taken);
    }
    return batch;
  }

  async function run(batch: readonly Waiting<Work, Result>[]): Promise<void> {
    const held = new Set(batch.map(({ lane }) => lane));
    running += 1;
    for (const lane of held) lane.running += 1;
    try {
      const results = await commit(
        batch.map(({ work }) => work),
        // The first piece has waited longest, because lanes are taken in that order.
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
      for (const lane of held) lane.running -= 1;
      pump();
    }
  }

  /** The lanes of which the next batch takes work, the longest waiting first; null: no batch begins yet. */
  function next(): readonly OwnLane[] | null {
    if (running >= lanes.length) return null;
    const waiting = lanes
      .filter((lane) => lane.waiting.length > 0)
      .toSorted((a, b) => a.waiting[0]!.since - b.waiting[0]!.since);
    if (waiting.length === 0) return null;
    const full = waiting.filter((lane) => lane.running === 0 && lane.events >= limits.another.events);
    if (running === 0) return full.length > 1 ? [full[0]!] : waiting;
    if (full.length > 0) return [full[0]!];
    return performance.now() - oldest() >= limits.another.milliseconds ? waiting : null;
  }

  function pump(): void {
    scheduled = false;
    for (let from = next(); from !== null; from = next()) void run(take(from));
    const isAnyWaiting = pieces() > 0;
    if (running === 0 && !isAnyWaiting) drained?.();
    if (!isAnyWaiting || running >= lanes.length) return;
    patience ??= setTimeout(
      () => {
        patience = null;
        pump();
      },
      Math.max(1, limits.another.milliseconds - (performance.now() - oldest())),
    );
  }

  /** Runs pump() in the next turn of the event loop, so that requests read from their sockets together share a batch. */
  function pumpSoon(): void {
    if (scheduled || running >= lanes.length) return;
    scheduled = true;
    setImmediate(pump);
  }

  return {
    get queued() {
      return sum(({ events }) => events);
    },
    get busy() {
      return running >= lanes.length || pieces() > 0;
    },
    async submit(submitted) {
      if (closed) throw new AppError('UNAVAILABLE', 'This server is shutting down; try again.', { retryAfter: 1 });
      const weights = submitted.map(({ work }) => weigh(work));
      const events = sum((lane) => lane.events) + weights.reduce((total, weight) => total + weight.events, 0);
      const bytes = sum((lane) => lane.bytes) + weights.reduce((total, weight) => total + weight.bytes, 0);
      const waiting = pieces();
      if (waiting > 0 && (events > limits.queue.events || bytes > limits.queue.bytes)) {
        options.onRefused(waiting);
        throw new AppError(
          'OVERLOADED',
          'The server receives more than it can store at the moment. Nothing of this request was stored; try again.',
          { retryAfter: 1 },
        );
      }
      const since = performance.now();
      const results = submitted.map(({ work, lane: number }, at) => {
        const lane = lanes[number]!;
        const weight = weights[at]!;
        lane.events += weight.events;
        lane.bytes += weight.bytes;
        return new Promise<Result>((resolve, reject) => {
          lane.waiting.push({ work, weight, since, lane, resolve, reject });
        });
      });
      pumpSoon();
      const settled = await Promise.allSettled(results);
      return settled.map((piece) => {
        if (piece.status === 'rejected') throw piece.reason;
        return piece.value;
      });
    },
    async close() {
      closed = true;
      if (running === 0 && pieces() === 0) return;
      await new Promise<void>((resolve) => {
        drained = resolve;
      });
    },
  };
}
