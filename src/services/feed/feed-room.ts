import { isBefore, type FeedPlace } from '../../domain/change.js';
import { askedOfDatabase, needsDatabase } from '../../domain/event-predicate.js';
import { readSnapshot } from '../../domain/presence.js';
import { AppError } from '../../errors.js';
import type { Database } from '../../store/database.js';
import { metFilters } from '../../store/sessions/events.js';
import { createCounts } from '../counts.js';
import { joinReads } from '../joined-reads.js';
import type { FeedChange, FeedView } from './feed-view.js';
import type { FeedWatcher } from './feed-watcher.js';
import type { FeedReader } from './read-feed.js';

/**
 * The maximum number of different views with the same rights: with the users of a token (`narrowed`), and with the whole
 * project.
 */
const MOST_VIEWS = { narrowed: 100, whole: 5_000 };
/** The maximum number of filters in one statement that decides filters. */
const ASKED_AT_ONCE = 16;
/** The maximum number of answers that a view waits for. If there are more, its watchers read for themselves. */
const MOST_BEHIND = 80;
/** How soon a change is looked for again that waits for an older transaction: at first, and at most. Milliseconds. */
const HELD = { first: 4, most: 64 };
/** How often the places of watchers move on in time. A few times in the shortest time that a feed is kept (a day). Milliseconds. */
const GROW_EVERY = 6 * 3_600_000;

/** All watchers with the same view. */
interface Group {
  readonly name: string;
  readonly view: FeedView;
  readonly watchers: Set<FeedWatcher>;
  /** The number of answers that this group waits for. `last` resolves after the last of them. */
  behind: number;
  last: Promise<void>;
}

/** Which events of `changes` meet the filter of `view`. */
interface Question {
  readonly changes: readonly FeedChange[];
  readonly view: FeedView;
}
type Ask = (question: Question) => Promise<readonly FeedChange[]>;

/**
 * The one reader of a project's feed on this server. It reads the rows once for all views, and hands to each view's watchers what
 * the view wants. It reads when it is woken: by the bus, or by the look every 250 ms. So a message that the bus loses costs
 * time, and no change. A read that fails is done again by the next look, from the same place.
 */
export class FeedRoom {
  private readonly groups = new Map<string, Group>();
  private readonly groupOf = new Map<FeedWatcher, Group>();
  /** The number of different views by rights. All tokens with the same users share one limit. */
  private readonly views = createCounts();
  private readonly asks = new Map<string, Ask>();
  /** The read that is under way. */
  private reading: Promise<void> | null = null;
  private isRunning = false;
  private isWoken = false;
  private held: NodeJS.Timeout | null = null;
  private heldFor: number = HELD.first;
  private grownAt: number;
  private closed = false;

  constructor(
    readonly projectId: string,
    private readonly deps: {
      readonly database: Database;
      readonly reader: FeedReader;
      readonly onError: (error: unknown) => void;
    },
    /** What is before it has been handed over. It is always between two rows. */
    public position: FeedPlace,
  ) {
    this.grownAt = position.at;
  }

  get isEmpty(): boolean {
    return this.groups.size === 0;
  }

  /**
   * Hands over to the watcher what its view wants, from the place on with which the promise resolves. `from`: the watcher's place.
   * `isReadable`: what is before it could be read, and the watcher has read it. Then the room may begin there, but not at a place
   * that is just the watcher's own: that can be beyond an open transaction, whose changes others wait for, or made up. Rejects with
   * RATE_LIMITED if there are too many different views with the same rights.
   */
  async join(watcher: FeedWatcher, view: FeedView, from: FeedPlace, isReadable: boolean): Promise<FeedPlace> {
    // What is being read now is handed over in parts: a watcher that came between two parts would miss the first.
    while (this.reading) await this.reading;
    const { name } = view;
    const group = this.groups.get(name) ?? this.addGroup(name, view);
    // Nobody has heard what came meanwhile.
    const isAhead = isReadable && from.entry === 0 && isBefore(this.position, from);
    if (this.groupOf.size === 0 && isAhead) this.position = { ...from, seen: null };
    // What waits for an older transaction can be older than the room, which looks for nothing much older than its position.
    else if (from.at < this.position.at) this.position = { ...this.position, at: from.at };
    group.watchers.add(watcher);
    this.groupOf.set(watcher, group);
    this.wakeUp();
    return this.position;
  }

  /**
   * Moves the time of the position on, if the room is still there: at `at` there was nothing from there on. So a room in which
   * nothing happens looks for rows in the partitions of the last days only.
   */
  growOlder(position: FeedPlace, at: Date): void {
    if (this.position === position && position.at < at.getTime()) this.moveTo({ ...position, at: at.getTime() });
  }

  /**
   * Sets the position. Every few hours the places of the watchers follow in time: a watcher for which nothing has come must not
   * have too old a place when it goes back to reading pages.
   */
  private moveTo(position: FeedPlace): void {
    this.position = position;
    if (position.at - this.grownAt < GROW_EVERY) return;
    this.grownAt = position.at;
    for (const group of this.groups.values()) this.growWatchers(group);
  }

  /** What a group waits for can be older than the position. */
  private growWatchers({ watchers, behind }: Group): void {
    if (behind === 0) for (const watcher of watchers) watcher.growOlder(this.position.at);
  }

  /** Hands over nothing more. Returns the view as it is now: null if the watcher was not in the room. */
  leave(watcher: FeedWatcher): FeedView | null {
    const group = this.groupOf.get(watcher);
    if (!group) return null;
    this.groupOf.delete(watcher);
    group.watchers.delete(watcher);
    if (group.watchers.size === 0) {
      this.groups.delete(group.name);
      const { rights } = group.view;
      this.views.add(rights, -1);
      if (this.views.of(rights) === 0) this.asks.delete(rights);
    }
    return group.view;
  }

  /** Whether the watcher gets what this view wants. */
  isOf(watcher: FeedWatcher, view: FeedView): boolean {
    return this.groupOf.get(watcher)?.view.name === view.name;
  }

  private addGroup(name: string, view: FeedView): Group {
    const { rights } = view;
    const most = view.isNarrowed ? MOST_VIEWS.narrowed : MOST_VIEWS.whole;
    if (this.views.of(rights) >= most) {
      const limit = `Callers with these rights already watch ${most.toLocaleString('en')} different things, the limit.`;
      throw new AppError('RATE_LIMITED', `${limit} End a subscription first.`, { retryAfter: 60 });
    }
    this.views.add(rights, 1);
    const group: Group = { name, view: view.copy(), watchers: new Set(), behind: 0, last: Promise.resolve() };
    this.groups.set(name, group);
    return group;
  }

  /** Reads what is new, as soon as it can. */
  wakeUp(): void {
    this.isWoken = true;
    if (this.isRunning || this.closed) return;
    this.isRunning = true;
    // One turn of the event loop later, together with what was committed in this turn.
    setImmediate(() => void this.run());
  }

  close(): void {
    this.closed = true;
    if (this.held) clearTimeout(this.held);
  }

  private async run(): Promise<void> {
    while (this.isWoken && !this.closed && !this.isEmpty) {
      this.isWoken = false;
      // Whatever happens, the position stays or moves on by whole rows. The next look tries again.
      const reading = this.readOnce().catch(this.deps.onError);
      this.reading = reading;
      await reading;
      this.reading = null;
      // Watchers that have waited for the end of this read join now.
      await Promise.resolve();
    }
    this.isRunning = false;
  }

  private async readOnce(): Promise<void> {
    const { reader } = this.deps;
    const groups = [...this.groups.values()];
    const views = groups.map(({ view }) => view);
    const read = await reader.readForAll(this.projectId, views, this.position, (told, bytes) => {
      for (const [at, group] of groups.entries()) this.hand(group, told[at]!, bytes);
    });
    if (!read) {
      const error = await reader.expiry({ projectId: this.projectId, userIds: null });
      for (const watcher of this.groupOf.keys()) watcher.end(error);
      return;
    }
    this.moveTo(read.next);
    if (read.isMore) this.isWoken = true;
    if (read.heldSince) this.lookAgain();
    else this.heldFor = HELD.first;
  }

  /** A change is stored, but an older transaction is under way. Mostly it ends within milliseconds. */
  private lookAgain(): void {
    if (this.held || this.heldFor > HELD.most) return;
    this.held = setTimeout(() => {
      this.held = null;
      this.wakeUp();
    }, this.heldFor);
    this.heldFor *= 2;
  }

  private hand(group: Group, changes: readonly FeedChange[], bytes: number): void {
    if (changes.length === 0) return;
    const { view } = group;
    const isAsked = needsDatabase(view.events) && changes.some(({ kind }) => kind === 'EVENT');
    if (!isAsked && group.behind === 0) {
      for (const watcher of group.watchers) watcher.push(changes, bytes);
      return;
    }
    group.behind += 1;
    if (group.behind > MOST_BEHIND) {
      for (const watcher of group.watchers) watcher.fallBack();
      return;
    }
    const answer = isAsked ? this.askFor(group, changes) : Promise.resolve(changes);
    group.last = this.handLater(group, answer, bytes, group.last);
  }

  /** Asks the database which of the events the view wants. The first watcher that can pays for it. */
  private async askFor({ view, watchers }: Group, changes: readonly FeedChange[]): Promise<readonly FeedChange[]> {
    let refusal: unknown = null;
    const rows = changes.filter(({ kind }) => kind === 'EVENT').length;
    for (const watcher of watchers) {
      try {
        await watcher.payFor(rows);
        return await this.askOf(view)({ changes, view });
      } catch (error) {
        if (!(error instanceof AppError && error.code === 'RATE_LIMITED')) throw error;
        refusal = error;
      }
    }
    throw refusal;
  }

  /** For views with the same rights one statement runs at a time, for at most ASKED_AT_ONCE of them. */
  private askOf({ rights }: FeedView): Ask {
    const known = this.asks.get(rights);
    if (known) return known;
    const { database } = this.deps;
    const ask = joinReads<Question, readonly FeedChange[]>(
      async (questions) => {
        const ids = new Set(
          questions.flatMap(({ changes }) => changes.flatMap((one) => (one.kind === 'EVENT' ? one.event.id : []))),
        );
        const filters = questions.map(({ view }) => askedOfDatabase(view.events!));
        const met = await metFilters(database, this.projectId, [...ids], filters);
        return questions.map(({ changes }, at) =>
          changes.filter((one) => one.kind !== 'EVENT' || met.get(one.event.id)?.[at] === true),
        );
      },
      { most: ASKED_AT_ONCE },
    );
    this.asks.set(rights, ask);
    return ask;
  }

  private async handLater(
    group: Group,
    answer: Promise<readonly FeedChange[]>,
    bytes: number,
    before: Promise<void>,
  ): Promise<void> {
    // Those who come later have not missed it.
    const watchers = [...group.watchers];
    try {
      const [changes] = await Promise.all([answer, before]);
      for (const watcher of watchers) if (group.watchers.has(watcher)) watcher.push(changes, bytes);
    } catch {
      // They read it from the rows themselves, each for what it can pay.
      for (const watcher of watchers) if (group.watchers.has(watcher)) watcher.fallBack();
    } finally {
      group.behind -= 1;
      this.growWatchers(group);
    }
  }
}

/** The place of a room that begins now: everything that is not readable yet is before nothing. */
export const horizonOf = (now: FeedPlace): FeedPlace => ({
  ...now,
  transaction: readSnapshot(now.seen!).xmin,
  part: 0,
  entry: 0,
  seen: null,
});
