import type { Clock } from '../../domain/clock.js';
import type { Reach } from '../../domain/access.js';
import { FEED_SLACK, isBefore, KEPT_LONGER, placeAt, type FeedPlace } from '../../domain/change.js';
import { isVisible, readSnapshot } from '../../domain/presence.js';
import { writeFeedCursor } from '../../domain/feed-cursor.js';
import { AppError } from '../../errors.js';
import type { Database } from '../../store/database.js';
import type { Naming } from '../../store/database-name.js';
import { changesKeptSince } from '../../store/kept-changes.js';
import { findPresence, presentMoment, readChanges, type ReadRows } from '../../store/feed/read-changes.js';
import type { PresenceChangeRow } from '../../store/presence/presence-history.js';
import { EVENT_FIELDS, type EventField } from '../../store/sessions/events.js';
import { joinReads } from '../joined-reads.js';
import { WorksInTurn } from '../queues-in-turn.js';
import { entriesFrom, type Entry, type FeedChange, type FeedView } from './feed-view.js';
import { createPauses, placeAfter, placeInRow, tellChanges } from './tell-changes.js';

/**
 * What one page reads of the rows, and how many entries it looks up: so a page takes some 10 ms and a few MB, whatever the filter
 * leaves of it. `part`: the entries that are read together for all watchers.
 */
const MOST = { rows: 1_000, entries: 2_000, looked: 1_000, part: 250 };
/**
 * The most pages that are read from the feed's own connections at a time: one less than there are, so that the rooms go on when all
 * subscribers of a server come back. The others wait, and projects take turns.
 */
const MOST_AT_ONCE = 3;
/** The most bytes that the rows of a page's changes have. If they have more, the page is read again with fewer changes. */
const MOST_BYTES = 8 * 1024 * 1024;
/** What it costs to read the rows of a page, before anything is looked up: as much as so many rows of a list. */
export const PRICE_OF_PAGE = 10;

const DAY = 86_400_000;

/** Pays for reading so many rows. If it rejects, they are not read. */
export type Pay = (rows: number) => Promise<void>;

/** A part of the feed, for one view. */
export interface FeedPage {
  /** In the order of the commits. It may be empty although more follow: the filter has left out all that was looked at. */
  readonly changes: readonly FeedChange[];
  /** The place after all that was looked at: where to go on. */
  readonly next: FeedPlace;
  /** Whether there is more to look at now. */
  readonly isMore: boolean;
  /**
   * Whether all that is before `next` could be read. Not if the reader came from beyond an open transaction, or with a cursor of
   * the future.
   */
  readonly isReadable: boolean;
  /** The time of the oldest change that waits for an older transaction to end; null: none. */
  readonly heldSince: Date | null;
  /** Bytes that the changes took from the database, roughly. */
  readonly bytes: number;
}

/** Reads the feed of changes from a place on. */
export interface FeedReader {
  /** The place of now: everything that is stored later comes after it. Callers of a moment share one statement. */
  now(): Promise<FeedPlace>;
  /** The place before the oldest change that the project keeps. */
  oldest(reach: Reach): Promise<FeedPlace>;
  /**
   * Throws CURSOR_EXPIRED if the place is of another database, or older than what the project keeps. The error has the cursor
   * from which there is more.
   */
  check(reach: Reach, place: FeedPlace): Promise<void>;
  /**
   * Reads up to `limit` changes that the view wants, from a place on. `until`: only what is before it. What is looked at is paid
   * first. Throws CURSOR_EXPIRED as `check` does.
   */
  read(
    view: FeedView,
    place: FeedPlace,
    options: {
      readonly limit: number;
      readonly pay: Pay;
      /** The fields of events that are needed; the others are undefined. Left out: all. */
      readonly asked?: readonly EventField[];
      readonly until?: FeedPlace;
      /** When it is aborted, a page that waits for its turn is not read: read rejects. */
      readonly signal?: AbortSignal;
      /** The database of an operation, with its own turns and allowance. Left out: the feed's own. */
      readonly database?: Database;
      /**
       * Makes another one with an allowance of its own. Changes that are too large together are read with it, fewer at a time.
       * Left out: a page that is too large for `database` fails with ANSWER_TOO_LARGE.
       */
      readonly another?: () => Database;
    },
  ): Promise<FeedPage>;
  /**
   * Reads the project's feed from a place between two rows on, once for all views. Hands to `take` what each view gets, in parts,
   * with about how many bytes each change has; what a view asks of the database (needsDatabase) is left open. If it rejects, a
   * part may have been handed over. Returns null if the database has become another one.
   */
  readForAll(
    projectId: string,
    views: readonly FeedView[],
    from: FeedPlace,
    take: (told: readonly (readonly FeedChange[])[], bytes: number) => void,
  ): Promise<{ readonly next: FeedPlace; readonly isMore: boolean; readonly heldSince: Date | null } | null>;
  /**
   * The places after these changes of presence, by id. A change that the feed does not have, because it is too old, or older than
   * the column that says where it is: a place before it.
   */
  placesOfPresence(reach: Reach, changes: readonly KeptPresence[]): Promise<Map<string, FeedPlace>>;
  /** The error of a watch whose database has become another one. */
  expiry(reach: Reach): Promise<AppError>;
}

const expired = (why: string, oldest: FeedPlace): AppError =>
  new AppError(
    'CURSOR_EXPIRED',
    `${why} Read what you keep anew, then go on after the cursor in extensions.oldestCursor, or without one.`,
    { field: 'after', oldestCursor: writeFeedCursor(oldest) },
  );

const TOO_OLD = 'This cursor is older than the changes that are kept.';
const ELSEWHERE = 'This cursor is of another database: it was restored, moved, or another server took over.';

/** Whether a place is not of this database, or of what it was before it was restored: then its transaction is yet to come. */
const isElsewhere = (place: FeedPlace, { database, snapshot }: Pick<ReadRows, 'database' | 'snapshot'>): boolean =>
  place.database !== database || place.transaction > readSnapshot(snapshot).xmax;

/**
 * So long after the end of a transaction its record is on disk: Postgres writes what waits every wal_writer_delay (200 ms), and the
 * pulse of the servers commits every second. Milliseconds.
 */
const DURABLE = 2_000;

/** A change of presence as it is kept (store/presence/presence-history.ts). */
type KeptPresence = Pick<PresenceChangeRow, 'id' | 'at' | 'transaction'>;

/** How long before a change its place is if it is not known: longer than the transaction that made it can have lasted. Milliseconds. */
const BEFORE = 60_000;

interface Horizon {
  /** Monotonic (performance.now). */
  readonly at: number;
  /** The database's name. */
  readonly name: string;
  readonly xmin: number;
}

const isTooLarge = (error: unknown): boolean => error instanceof AppError && error.code === 'ANSWER_TOO_LARGE';

/**
 * The oldest row that a read from this place at `now` may want. A place that is in the future was made before the clock was turned
 * back: what came after it can be older than it by as much.
 */
export const sinceOf = ({ at }: FeedPlace, now: Date): Date => new Date(Math.min(at, now.getTime()) - FEED_SLACK);

export function createFeedReader(deps: { database: Database; naming: Naming; clock: Clock }): FeedReader {
  const { database, naming, clock } = deps;

  const readNow = joinReads<null, FeedPlace>(async (asks) => {
    const at = clock.now().getTime();
    const moment = await presentMoment(database, await naming());
    const { xmin } = readSnapshot(moment.snapshot);
    const place = { database: moment.database, transaction: xmin, part: 0, entry: 0, at, seen: moment.snapshot };
    return asks.map(() => place);
  });
  const now = (): Promise<FeedPlace> => readNow(null);

  /** From when on the project keeps its feed. Of a project that is no more: for a day. */
  const keptBy = async ({ projectId }: Reach): Promise<number> =>
    (await changesKeptSince(database, projectId, clock.now())) ?? clock.now().getTime() - DAY;

  async function oldest(reach: Reach): Promise<FeedPlace> {
    const [place, since] = await Promise.all([now(), keptBy(reach)]);
    return placeAt(place.database, since);
  }

  async function check(reach: Reach, place: FeedPlace): Promise<void> {
    const { database: name, seen } = await now();
    if (isElsewhere(place, { database: name, snapshot: seen! })) throw expired(ELSEWHERE, await oldest(reach));
    await checkKept(reach, place);
  }

  /** Throws CURSOR_EXPIRED if rows after the place may have been dropped. */
  async function checkKept(reach: Reach, place: FeedPlace): Promise<void> {
    if (place.at >= clock.now().getTime() - DAY - KEPT_LONGER) return;
    if (place.at < (await keptBy(reach)) - KEPT_LONGER) throw expired(TOO_OLD, await oldest(reach));
  }

  /**
   * The entries after the place and before `until`, in order, at most `most` that the view wants. `last`: the last that was looked
   * at. `end`: CUT if there were too many, UNTIL if `until` was reached, ROWS if all entries of the rows were looked at.
   */
  function pick(
    view: FeedView,
    place: FeedPlace,
    until: FeedPlace | null,
    { rows }: ReadRows,
    most: number,
  ): { entries: Entry[]; last: Entry | null; end: 'CUT' | 'UNTIL' | 'ROWS' } {
    const entries: Entry[] = [];
    const seen = place.seen === null ? null : readSnapshot(place.seen);
    let last: Entry | null = null;
    for (const row of rows) {
      const isRest = row.transaction === place.transaction && row.part === place.part;
      const isLastRow = until !== null && row.transaction === until.transaction && row.part === until.part;
      const isSeen = seen !== null && isVisible(row.transaction, seen);
      for (const entry of entriesFrom(row, isRest ? place.entry : 0)) {
        if (isLastRow && entry.number >= until.entry) return { entries, last, end: 'UNTIL' };
        if (entries.length === most) return { entries, last, end: 'CUT' };
        if (!isSeen && view.wants(entry)) entries.push(entry);
        last = entry;
      }
    }
    return { entries, last, end: 'ROWS' };
  }

  /** Oldest transactions under way, as reads have found them; `older` was found at least DURABLE before `newer`. */
  let older: Horizon | null = null;
  let newer: Horizon | null = null;

  /**
   * The place after all that could be read: below the oldest transaction under way, as it was some time ago. After a crash Postgres
   * may give a number again if nothing of its transaction has reached the disk. That can only be a transaction that was rolled
   * back just before. So a place never relies on numbers that are younger than DURABLE, unless a committed row has them.
   *
   * Its time moves on even if the transaction stays: else the place of a project in which nothing happens would become too old.
   * It moves no further than to what waits for an older transaction to end, however long that takes.
   */
  function horizonOf({ snapshot, database: name, heldSince }: ReadRows, from: FeedPlace): FeedPlace {
    const time = Math.min(clock.now().getTime(), heldSince?.getTime() ?? Infinity);
    const place = { ...from, at: Math.max(from.at, time) };
    const found = { at: performance.now(), name, xmin: readSnapshot(snapshot).xmin };
    if (newer?.name !== name) older = null;
    if (newer?.name !== name || found.at - newer.at > DURABLE) {
      if (newer?.name === name) older = newer;
      newer = found;
    }
    if (!older) return place;
    const horizon = { ...place, transaction: older.xmin, part: 0, entry: 0 };
    return isBefore(place, horizon) ? horizon : place;
  }

  const turns = new WorksInTurn(MOST_AT_ONCE);

  async function read(view: FeedView, place: FeedPlace, options: Parameters<FeedReader['read']>[2]): Promise<FeedPage> {
    await options.pay(PRICE_OF_PAGE);
    const on = options.database ?? database;
    // One turn for all of it: a page that waited in the middle would keep its rows in memory. Operations and webhooks take turns
    // elsewhere (access/reading-turns.ts).
    if (on !== database) return readPage(on, view, place, options);
    return turns.during(view.reach.projectId, async () => {
      options.signal?.throwIfAborted();
      return readPage(on, view, place, options);
    });
  }

  async function readPage(
    on: Database,
    view: FeedView,
    place: FeedPlace,
    { limit, pay, asked = EVENT_FIELDS, until: end, another }: Parameters<FeedReader['read']>[2],
  ): Promise<FeedPage> {
    const until = end ?? null;
    // The store ends before a row. If the end is within a row, that row is read too.
    const before = until && { transaction: until.transaction, part: until.part + (until.entry > 0 ? 1 : 0) };
    const how = { naming: await naming(), most: MOST };
    const found = await readChanges(
      on,
      view.reach,
      { from: place, until: before, since: sinceOf(place, clock.now()) },
      how,
    );
    if (isElsewhere(place, found)) throw expired(ELSEWHERE, await oldest(view.reach));
    // After the read: what it has found was there, and what it has not found may be gone.
    await checkKept(view.reach, place);
    const most = view.isWide ? Math.min(limit, MOST.looked) : MOST.looked;
    const { entries, last, end: reached } = pick(view, place, until, found, most);
    await pay(entries.length);
    const { changes, bytes, stop } = await tell(on, another, view, found.database, entries, limit, asked);
    const isMore = stop !== null || reached === 'CUT' || (reached === 'ROWS' && found.isMore);
    const looked = stop ?? last;
    let next = looked ? placeAfter(found.database, looked) : place;
    if (!isMore) next = until ?? horizonOf(found, next);
    const horizon = { transaction: readSnapshot(found.snapshot).xmin, part: 0, entry: 0 };
    const isReadable = !isBefore(horizon, next) && next.at <= clock.now().getTime();
    const seen = place.seen !== null && next.transaction < readSnapshot(place.seen).xmax ? place.seen : null;
    return { changes, next: { ...next, seen }, isMore, isReadable, heldSince: found.heldSince, bytes };
  }

  /**
   * The changes of these entries, at most `limit`. `stop`: the last entry that was looked at, if not all were. If they are too
   * large, fewer are looked at.
   */
  async function tell(
    first: Database,
    another: (() => Database) | undefined,
    view: FeedView,
    name: string,
    entries: readonly Entry[],
    limit: number,
    asked: readonly EventField[],
  ): Promise<{ changes: FeedChange[]; bytes: number; stop: Entry | null }> {
    const { projectId } = view.reach;
    let on = first;
    for (let most = entries.length; ; most = Math.ceil(most / 4)) {
      const looked = entries.slice(0, most);
      const allowance = { left: MOST_BYTES };
      try {
        const [all] = await tellChanges(on, { projectId, name }, [{ view, entries: looked }], {
          allowance,
          asked,
          pause: createPauses(),
        });
        const changes = all!.slice(0, limit);
        const bytes = MOST_BYTES - allowance.left;
        if (all!.length > limit) {
          const after = changes.at(-1)!.place;
          const stop = looked.find((entry) => !isBefore(placeAfter(name, entry), after))!;
          return { changes, bytes, stop };
        }
        return { changes, bytes, stop: most < entries.length ? looked.at(-1)! : null };
      } catch (error) {
        // An operation's allowance is for all that it reads: it does not come back.
        if (!isTooLarge(error) || most <= 1 || (on !== database && !another)) throw error;
        on = another?.() ?? on;
      }
    }
  }

  async function placesOfPresence(reach: Reach, changes: readonly KeptPresence[]): Promise<Map<string, FeedPlace>> {
    const { database: name } = await now();
    const places = new Map(changes.map(({ id, at }) => [id, placeAt(name, at.getTime() - BEFORE)]));
    const known = changes.flatMap(({ id, at, transaction }) => (transaction === null ? [] : { id, at, transaction }));
    if (known.length === 0) return places;
    for (const row of await findPresence(database, reach, known))
      places.set(row.id, placeInRow(name, row, row.number, row.entries));
    return places;
  }

  const expiry = async (reach: Reach): Promise<AppError> =>
    expired(
      'The database has become another one: it was restored, moved, or another server took over.',
      await oldest(reach),
    );

  async function readForAll(
    projectId: string,
    views: readonly FeedView[],
    from: FeedPlace,
    take: (told: readonly (readonly FeedChange[])[], bytes: number) => void,
  ): Promise<{ next: FeedPlace; isMore: boolean; heldSince: Date | null } | null> {
    const reach = { projectId, userIds: null };
    const how = { naming: await naming(), most: MOST };
    const found = await readChanges(database, reach, { from, until: null, since: sinceOf(from, clock.now()) }, how);
    const { database: name, rows, isMore, heldSince } = found;
    if (name !== from.database) return null;
    const pause = createPauses();
    const entries = rows.flatMap((row) => entriesFrom(row, 0));
    let part = MOST.part;
    for (let at = 0; at < entries.length;) {
      const looked = entries.slice(at, at + part);
      const wanted: { view: FeedView; entries: Entry[] }[] = [];
      for (const view of views) {
        wanted.push({ view, entries: looked.filter((entry) => view.wants(entry)) });
        await pause(looked.length);
      }
      const allowance = { left: MOST_BYTES };
      try {
        const told = await tellChanges(database, { projectId, name }, wanted, {
          allowance,
          asked: null,
          pause,
        });
        take(told, (MOST_BYTES - allowance.left) / looked.length);
        at += looked.length;
      } catch (error) {
        if (!isTooLarge(error) || part === 1) throw error;
        part = Math.ceil(part / 4);
      }
    }
    const last = rows.at(-1);
    const after = last ? { ...from, transaction: last.transaction, part: last.part + 1, at: last.at.getTime() } : from;
    return { next: isMore ? after : horizonOf(found, after), isMore, heldSince };
  }

  return { now, oldest, check, read, readForAll, placesOfPresence, expiry };
}
