import type { Reach } from '../../domain/access.js';
import type { Database } from '../../store/database.js';
import { countPresence } from '../../store/presence/read-presence.js';
import type { Audience, Member } from './audience.js';

/** How many users are online. Subscribers that get the same count share the object. */
export interface OnlineCount {
  readonly online: number;
}

/** The shortest time between two counts. Milliseconds. */
const EVERY = 1_000;
/** The longest wait for the next count after a change, also if counts take longer than their share. Milliseconds. */
const AT_MOST = 10_000;
/**
 * The greatest part of the time that counting should take. A count of 100,000 users takes some 15 ms. If it takes longer, the
 * next one comes later.
 */
const SHARE = 1 / 20;

/** The time from a count to the next one, after a statement that took `took`. Null: it failed. Milliseconds. */
export const pauseAfter = (took: number | null): number =>
  took === null ? EVERY : Math.min(AT_MOST, Math.max(EVERY, took / SHARE));

/**
 * Counts the users of an audience that are online, for all subscribers together: when the first one comes, and after changes.
 * Postgres counts anew each time, with an index. The server does not derive the count from the changes, so an error in it
 * cannot last.
 */
export class OnlineCounter implements Member {
  /** The counter takes no frames. It only has to know that a frame has come. */
  readonly position = Infinity;
  readonly asks = new Set<never>();
  private readonly readers = new Set<CountReader>();
  private latest: OnlineCount | null = null;
  private counting: Promise<void> | null = null;
  private isStale = true;
  private timer: NodeJS.Timeout | null = null;
  private nextAt = 0;

  constructor(
    private readonly audience: Audience,
    private readonly deps: {
      database: Database;
      reach: Reach;
      /** When it has resolved, every change wakes the counter. */
      ready: Promise<void>;
      onError: (error: unknown) => void;
      /** Called when the last reader has ended. */
      onEmpty: () => void;
    },
  ) {
    audience.join(this);
    audience.wait(this);
  }

  wake(isEdge: boolean): void {
    this.audience.wait(this);
    if (!isEdge) return;
    this.isStale = true;
    this.countSoon();
  }

  /**
   * Opens a subscription: the count now, then each new count. `onEnd` is called at its end. Rejects if the first count fails.
   */
  async read(onEnd: () => void): Promise<AsyncIterableIterator<OnlineCount>> {
    const reader = new CountReader(() => {
      this.readers.delete(reader);
      onEnd();
      this.leaveIfEmpty();
    });
    this.readers.add(reader);
    try {
      if (!this.latest) await (this.counting ??= this.count());
    } catch (error) {
      reader.end();
      throw error;
    }
    reader.tell(this.latest!);
    return reader;
  }

  end(): void {
    for (const reader of this.readers) reader.end();
  }

  private countSoon(): void {
    if (this.timer || this.counting || this.readers.size === 0) return;
    this.timer = setTimeout(
      () => {
        this.timer = null;
        this.counting ??= this.count();
        this.counting.catch(this.deps.onError);
      },
      Math.max(0, this.nextAt - performance.now()),
    );
  }

  private async count(): Promise<void> {
    this.isStale = false;
    let took: number | null = null;
    try {
      await this.deps.ready;
      const start = performance.now();
      const online = await countPresence(this.deps.database, this.deps.reach, { status: 'ONLINE' });
      took = performance.now() - start;
      if (online !== this.latest?.online) {
        this.latest = { online };
        for (const reader of this.readers) reader.tell(this.latest);
      }
    } catch (error) {
      this.isStale = true;
      throw error;
    } finally {
      this.counting = null;
      this.nextAt = performance.now() + pauseAfter(took);
      if (this.isStale) this.countSoon();
    }
  }

  private leaveIfEmpty(): void {
    if (this.readers.size > 0) return;
    if (this.timer) clearTimeout(this.timer);
    this.timer = null;
    this.deps.onEmpty();
    this.audience.leave(this);
  }
}

/** One subscription: the count, then each count that differs. A slow subscriber gets only the latest one. */
class CountReader implements AsyncIterableIterator<OnlineCount> {
  private fresh: OnlineCount | null = null;
  private told: OnlineCount | null = null;
  private pull: ((result: IteratorResult<OnlineCount>) => void) | null = null;
  private isDone = false;

  constructor(private readonly onEnd: () => void) {}

  tell(count: OnlineCount): void {
    if (count === this.told) return;
    this.fresh = count;
    if (!this.pull) return;
    const { pull } = this;
    this.pull = null;
    pull(this.takeNext());
  }

  next(): Promise<IteratorResult<OnlineCount>> {
    if (this.isDone) return Promise.resolve({ value: undefined, done: true });
    if (this.fresh) return Promise.resolve(this.takeNext());
    return new Promise((resolve) => (this.pull = resolve));
  }

  return(): Promise<IteratorResult<OnlineCount>> {
    this.end();
    return Promise.resolve({ value: undefined, done: true });
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  end(): void {
    if (this.isDone) return;
    this.isDone = true;
    this.pull?.({ value: undefined, done: true });
    this.pull = null;
    this.onEnd();
  }

  private takeNext(): IteratorResult<OnlineCount> {
    const value = this.fresh!;
    this.told = value;
    this.fresh = null;
    return { value, done: false };
  }
}
