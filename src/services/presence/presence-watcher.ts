import type { Beside, PresenceUpdate } from '../../domain/presence.js';
import type { PresencePlace } from '../../domain/presence-cursor.js';
import { AppError } from '../../errors.js';
import type { Audience, Member, View } from './audience.js';
import type { Start } from './presence-start.js';

/** Why a start is read: for a new watcher, after something was missed, or because the consumer was too slow. */
export type StartReason = 'open' | 'gap' | 'slow';

/**
 * The updates of one subscription. First comes the start: a SNAPSHOT, or the changes since the client was last here. Then comes
 * a DIFF for each frame. Nothing is lost or repeated between the two (rule 30). The watcher keeps only its position in the
 * frames of its audience. If the consumer is slow, the frames are joined when it pulls. If these frames are gone by then, the
 * watcher begins again, with the changes since the place that it has seen.
 */
export class PresenceWatcher implements AsyncIterableIterator<PresenceUpdate>, Member {
  /** The position of the first frame that it has not taken. While it begins, no later than the position that it will need. */
  position: number;
  readonly asks: ReadonlySet<Beside>;
  private start: Start | null = null;
  private view: View | null = null;
  /** The updates that were taken. Not all of them are pulled yet. */
  private parts: readonly PresenceUpdate[] = [];
  private pulled = 0;
  /** `place`: what the consumer has seen. `nextPlace`: what it will have seen when all parts are pulled. */
  private place: PresencePlace | null;
  private nextPlace: PresencePlace | null = null;
  /** The number of users of its last SNAPSHOT. */
  private held = 0;
  private pull: { resolve: (result: IteratorResult<PresenceUpdate>) => void; reject: (error: unknown) => void } | null =
    null;
  private state: 'beginning' | 'live' | 'behind' | 'done' = 'beginning';
  private failure: unknown = null;
  /** Why it begins again. Kept until it has taken a start, however often it tries. */
  private why: 'gap' | 'slow' | null = null;

  constructor(
    private readonly audience: Audience,
    private readonly options: {
      /** The place that the client has seen before. Null: none. */
      after: PresencePlace | null;
      /** The fields beside edges (`Beside`) whose changes the watcher gets. */
      asks: ReadonlySet<Beside>;
      /** Reads a start. The watcher makes one call at a time. */
      begin: (why: StartReason, after: PresencePlace | null, held: number) => Promise<Start>;
      /** Called once, when the watcher has ended. */
      onEnd: () => void;
      onResnapshot: (why: 'gap' | 'slow') => void;
      /** Called if a new start could not be read. The caller then has to call `retry` later. */
      onBehind: () => void;
    },
  ) {
    this.place = options.after;
    this.asks = options.asks;
    this.position = audience.head;
    audience.join(this);
  }

  /** Reads the first start. If the read fails, the watcher ends, and the promise rejects with the error. */
  async open(): Promise<void> {
    try {
      this.take(await this.options.begin('open', this.place, 0));
    } catch (error) {
      this.end(error);
      throw error;
    }
  }

  /** Called by the audience when a frame has come, or when frames were missed. */
  wake(): void {
    this.answer();
  }

  /** Tries again to read a start, if the last try failed. */
  retry(): void {
    if (this.state === 'behind') void this.beginAgain();
  }

  next(): Promise<IteratorResult<PresenceUpdate>> {
    const update = this.takeNext();
    if (update) return Promise.resolve({ value: update, done: false });
    if (this.state === 'done') {
      const { failure } = this;
      this.failure = null;
      return failure ? Promise.reject(failure) : Promise.resolve({ value: undefined, done: true });
    }
    return new Promise((resolve, reject) => {
      this.pull = { resolve, reject };
      this.answer();
    });
  }

  return(): Promise<IteratorResult<PresenceUpdate>> {
    this.end(null);
    return Promise.resolve({ value: undefined, done: true });
  }

  throw(error: unknown): Promise<IteratorResult<PresenceUpdate>> {
    this.end(null);
    return Promise.reject(error);
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  /** Ends the watcher. A pull that waits, or else the next one, gets the error, or the end if `error` is null. */
  end(error: unknown): void {
    if (this.state === 'done') return;
    this.state = 'done';
    this.letGo();
    this.audience.leave(this);
    this.options.onEnd();
    const { pull } = this;
    this.pull = null;
    if (!pull) this.failure = error;
    else if (error) pull.reject(error);
    else pull.resolve({ value: undefined, done: true });
  }

  /** Answers the waiting pull if there is an update. If there is none, waits for the next frame, or begins again. */
  private answer(): void {
    const { pull } = this;
    if (!pull) return;
    const update = this.takeNext();
    if (update) {
      this.pull = null;
      pull.resolve({ value: update, done: false });
    } else if (this.state === 'live') {
      if (this.audience.reaches(this.position)) this.audience.wait(this);
      else void this.beginAgain();
    }
  }

  private takeNext(): PresenceUpdate | null {
    if (this.start?.isWithdrawn) {
      this.end(
        new AppError('UNAVAILABLE', 'The client read the snapshot too slowly. Subscribe again.', { retryAfter: 1 }),
      );
      return null;
    }
    while (this.parts.length === 0 && this.state === 'live' && this.audience.hasMore(this.position)) {
      const { updates, place, position } = this.audience.take(this.position, this.view!, this.asks);
      this.position = position;
      this.parts = updates;
      this.nextPlace = place;
      if (updates.length === 0) this.place = place;
    }
    const update = this.parts[this.pulled];
    if (!update) return null;
    this.pulled += 1;
    if (this.pulled === this.parts.length) {
      this.place = this.nextPlace;
      this.letGo();
    }
    return update;
  }

  private async beginAgain(): Promise<void> {
    const why = (this.why ??= this.audience.lossAt(this.position));
    this.state = 'beginning';
    this.position = this.audience.head;
    try {
      const start = await this.options.begin(why, this.place, this.held);
      if (start.kind === 'SNAPSHOT') this.options.onResnapshot(why);
      this.take(start);
      this.answer();
    } catch {
      if (this.isDone()) return;
      // The watcher tries again later. To end the subscription would not help the client.
      this.state = 'behind';
      this.options.onBehind();
    }
  }

  private take(start: Start): void {
    if (this.isDone()) return;
    this.start = start;
    start.holders.add(this);
    if (start.kind === 'SNAPSHOT') this.held = start.users;
    this.parts = start.parts;
    this.pulled = 0;
    this.nextPlace = start.place;
    this.position = start.position;
    this.view = start.view;
    this.why = null;
    this.state = 'live';
  }

  /** Drops the updates that have been pulled, and the start that they came from. */
  private letGo(): void {
    const { start } = this;
    this.start = null;
    if (start?.holders.delete(this) && start.holders.size === 0) start.onFree();
    this.parts = [];
    this.pulled = 0;
  }

  private isDone(): boolean {
    return this.state === 'done';
  }
}
