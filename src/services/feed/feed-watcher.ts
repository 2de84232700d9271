import { setTimeout as wait } from 'node:timers/promises';
import { isBefore, type FeedPlace } from '../../domain/change.js';
import { isVisible, readSnapshot } from '../../domain/presence.js';
import { AppError } from '../../errors.js';
import type { EventField } from '../../store/sessions/events.js';
import type { FeedRoom } from './feed-room.js';
import type { FeedChange, FeedView } from './feed-view.js';
import type { HeldPages, PageHolder } from './held-pages.js';
import type { FeedPage, FeedReader, Pay } from './read-feed.js';

/**
 * What waits for a slow subscriber: so many changes, and about so many bytes. If more come, they are dropped, and the subscriber
 * reads them from the rows when it has taken what it has.
 */
const MOST_WAITING = { changes: 5_000, bytes: 4 * 1024 * 1024 };
/** Changes of a page that a subscriber reads for itself: what it missed before it began, or while it was slow. */
const PAGE = 500;
/**
 * How many entries of the feed a page looks at for each that the page before has told, so that pages are mostly full. A page of the most
 * entries would read four times as many as it tells where the subscriber wants all of them.
 */
const LOOKS = 1.25;
/** How much of a page a subscriber has taken when the next one is read. To make its messages takes less time than to read them. */
const AHEAD = 1 / 8;
/** The time before a subscriber whose page could not be read tries again: at first, and at most. Milliseconds. */
const AGAIN = { first: 250, most: 5_000 };

/**
 * The changes that one subscription gets, from a place on: first what is stored already, page by page, each paid before it is
 * read; then what the room hands over. It knows the place after the last change that it has given away, so it can go back to
 * reading pages at any time: when it is slow, when the room has lost it, or when its pages take memory that others need. It reads
 * only when the subscriber asks for the next.
 */
export class FeedWatcher implements AsyncIterableIterator<FeedChange>, PageHolder {
  /** What has been read and not been given away yet, and the place after it. */
  private page: (FeedChange | null)[] = [];
  private given = 0;
  private pageEnd: FeedPlace;
  /** Whether more pages follow. */
  private isMore = false;
  /** About how many entries the next page looks at. Undefined: as many as a page may. */
  private looks: number | undefined;
  /** The page from a place on, where it is being read before it is needed. */
  private ahead: { readonly from: FeedPlace; readonly page: Promise<FeedPage> } | null = null;
  /** What the room has handed over, in order, and about how many bytes it is. */
  private queue: FeedChange[] = [];
  private bytes = 0;
  /**
   * Where the room began to hand over: everything before it must be read from rows first. Null: the watcher is not in the room.
   */
  private joinedAt: FeedPlace | null = null;
  private wake: (() => void) | null = null;
  private turn: Promise<unknown> = Promise.resolve();
  /** The calls of `next` that have not got theirs yet. */
  private taking = 0;
  private done = false;
  private failure: unknown = null;
  private readonly stop = new AbortController();

  constructor(
    private readonly room: FeedRoom,
    private readonly reader: FeedReader,
    /** What the watcher wants from its place on. */
    private view: FeedView,
    /** Where the watcher goes on. */
    private place: FeedPlace,
    private readonly pay: Pay,
    /** The fields of events that its subscriber needs. What the room hands over has all of them. */
    private readonly asked: readonly EventField[],
    private readonly pages: HeldPages,
    private readonly onEnd: () => void,
  ) {
    this.pageEnd = place;
  }

  /** Joins the room without reading a page first: for a watcher whose place is now. Rejects with RATE_LIMITED (FeedRoom.join). */
  begin(): Promise<void> {
    return this.join(true);
  }

  /** Takes changes from the room. `bytes`: about how many each of them is. */
  push(changes: readonly FeedChange[], bytes: number): void {
    if (this.done || changes.length === 0) return;
    // Many changes at once do not mean that the subscriber is slow. Earlier ones that still wait do.
    const isFull = this.queue.length > MOST_WAITING.changes || this.bytes > MOST_WAITING.bytes;
    if (isFull) this.leave();
    else {
      this.queue.push(...changes);
      this.bytes += bytes * changes.length;
    }
    this.signal();
  }

  /**
   * Moves the time of the watcher's place on, if it has given away all that the room has handed over: nothing that it wants and has
   * not got is older than `at`.
   */
  growOlder(at: number): void {
    if (!this.isLive() || this.given < this.page.length || this.queue.length > 0 || this.pageEnd.at >= at) return;
    this.pageEnd = { ...this.pageEnd, at };
    this.place = this.pageEnd;
  }

  /** Goes back to reading pages: the room has lost what it should have handed over. */
  fallBack(): void {
    this.leave();
    this.signal();
  }

  dropPages(): void {
    this.page = [];
    this.given = 0;
    this.pageEnd = this.place;
    this.ahead = null;
  }

  /** Pays for what the room must ask the database about. */
  readonly payFor: Pay = (rows) => this.pay(rows);

  next(): Promise<IteratorResult<FeedChange>> {
    // What is here already is given at once: who was away gets very many.
    const change = this.taking === 0 ? this.shift() : undefined;
    if (change) return Promise.resolve({ value: change, done: false });
    this.taking += 1;
    const turn = this.turn.then(() => this.take()).finally(() => (this.taking -= 1));
    this.turn = turn.catch(() => {});
    return turn;
  }

  return(): Promise<IteratorResult<FeedChange>> {
    this.end(null);
    return Promise.resolve({ value: undefined, done: true });
  }

  throw(error: unknown): Promise<IteratorResult<FeedChange>> {
    this.end(null);
    return Promise.reject(error);
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  /** Ends the watch. The subscriber first gets what it can get without a read, then the error, if there is one. */
  end(error: unknown): void {
    if (this.done) return;
    this.done = true;
    this.failure = error;
    if (error === null) {
      this.page = [];
      this.queue = [];
    }
    this.room.leave(this);
    this.pages.release(this);
    this.stop.abort();
    this.onEnd();
    this.signal();
  }

  private signal(): void {
    this.wake?.();
    this.wake = null;
  }

  private async take(): Promise<IteratorResult<FeedChange>> {
    for (;;) {
      const change = this.shift();
      if (change) return { value: change, done: false };
      if (this.done) {
        const { failure } = this;
        this.failure = null;
        if (failure) throw failure;
        return { value: undefined, done: true };
      }
      if (this.isLive()) await new Promise<void>((resolve) => (this.wake = resolve));
      else await this.readPage();
    }
  }

  /** The next change that is here already. */
  private shift(): FeedChange | undefined {
    if (this.given < this.page.length) {
      const change = this.page[this.given]!;
      // What was made of it, its message too, is garbage when it is sent, and not when the page is.
      this.page[this.given] = null;
      this.given += 1;
      this.place = { ...change.place, seen: this.place.seen };
      this.pages.taken(this);
      // Not before: a subscriber who does not read would have two pages in memory.
      if (this.isMore && this.given === Math.ceil(this.page.length * AHEAD)) this.readAhead();
      return change;
    }
    this.place = this.pageEnd;
    if (this.page.length > 0) {
      this.page = [];
      this.given = 0;
      this.pages.release(this);
    }
    if (!this.isLive()) return undefined;
    const seen = this.place.seen === null ? null : readSnapshot(this.place.seen);
    for (let change = this.queue.shift(); change; change = this.queue.shift()) {
      if (this.queue.length === 0) this.bytes = 0;
      // What was stored before the watcher's place, and what it has read from rows already.
      const isOld = !isBefore(this.place, change.place) || (seen !== null && isVisible(change.place.transaction, seen));
      if (isOld) continue;
      this.place = { ...change.place, seen: this.place.seen };
      this.pageEnd = this.place;
      return change;
    }
    return undefined;
  }

  /** Whether everything before what the room hands over has been given away. */
  private isLive(): boolean {
    return this.joinedAt !== null && !isBefore(this.pageEnd, this.joinedAt);
  }

  private async join(isReadable: boolean): Promise<void> {
    const joinedAt = await this.room.join(this, this.view, this.place, isReadable);
    if (this.done) this.room.leave(this);
    else this.joinedAt = joinedAt;
  }

  private leave(): void {
    if (this.joinedAt === null) return;
    this.view = this.room.leave(this)?.copy() ?? this.view;
    this.joinedAt = null;
    this.queue = [];
    this.bytes = 0;
  }

  private readAhead(): void {
    const from = this.pageEnd;
    const page = this.pageFrom(from, null).then((read) => {
      if (this.ahead?.page === page && !this.done) this.pages.add(this, read.bytes);
      return read;
    });
    // Who needs it gets the error.
    page.catch(() => {});
    this.ahead = { from, page };
  }

  private pageFrom(place: FeedPlace, until: FeedPlace | null): Promise<FeedPage> {
    const { ahead } = this;
    this.ahead = null;
    if (ahead?.from === place && !until) return ahead.page;
    const { pay, asked, looks, stop } = this;
    const options = { limit: PAGE, pay, asked, signal: stop.signal, ...(looks && { looks }), ...(until && { until }) };
    return this.reader.read(this.view, place, options);
  }

  /** Reads a page. When there is no more, joins the room, and reads the rest up to where the room began. */
  private async readPage(): Promise<void> {
    const until = this.joinedAt;
    for (let again = AGAIN.first; !this.done; again = Math.min(again * 2, AGAIN.most)) {
      try {
        const page = await this.pageFrom(this.place, until);
        this.page = [...page.changes];
        this.given = 0;
        this.pageEnd = page.next;
        this.isMore = page.isMore && !until;
        this.looks =
          page.changes.length > 0 ? Math.ceil((PAGE * LOOKS * page.looked) / page.changes.length) : undefined;
        this.pages.release(this);
        if (page.changes.length > 0 && !this.done) this.pages.add(this, page.bytes);
        if (page.isMore) return;
        // A merge that was read just now can have changed what the view wants: then the room has handed over too little.
        if (until && this.joinedAt && !this.room.isOf(this, this.view)) this.leave();
        else if (!until && this.joinedAt === null && page.changes.length === 0) {
          this.place = page.next;
          await this.join(page.isReadable);
        }
        return;
      } catch (error) {
        if (!(error instanceof AppError) || !PASSING.has(error.code)) {
          this.end(error);
          return;
        }
        // The rows stay. A reader that cannot pay, or a database that is away, costs time and no change.
        const { retryAfter } = error.details;
        const delay = error.code === 'RATE_LIMITED' && retryAfter ? retryAfter * 1_000 : again;
        await wait(delay, undefined, { signal: this.stop.signal }).catch(() => {});
      }
    }
  }
}

/** The errors after which a page is read again. */
const PASSING: ReadonlySet<string> = new Set(['UNAVAILABLE', 'OVERLOADED', 'RATE_LIMITED']);
