import { reachName, type Reach } from '../../domain/access.js';
import { isBefore, type ChangeKind, type FeedPlace, type SessionChangeKind } from '../../domain/change.js';
import { eventPredicate, type FilteredEvent } from '../../domain/event-predicate.js';
import type { EventFilter } from '../../domain/filters.js';
import { userIdOf } from '../../domain/identity.js';
import type { ChangeRow } from '../../store/feed/read-changes.js';
import type { PresenceChangeRow } from '../../store/presence/presence-history.js';
import type { EventRow, SessionRow } from '../../store/rows.js';

/** What a reader of the feed asks for. Null: no such condition. */
export interface FeedFilter {
  readonly kinds: readonly ChangeKind[] | null;
  /** Only what concerns these users. */
  readonly identities: readonly string[] | null;
  /** Of events: only these. */
  readonly events: EventFilter | null;
  /** Of sessions: only these kinds. Null: all but UPDATED. */
  readonly sessionChanges: readonly SessionChangeKind[] | null;
  /** Of sessions: only these (UUIDs), and what they become by merging. */
  readonly sessionIds: readonly string[] | null;
}

export const WHOLE_FEED: FeedFilter = {
  kinds: null,
  identities: null,
  events: null,
  sessionChanges: null,
  sessionIds: null,
};

interface Told {
  /** The place after the change. */
  readonly place: FeedPlace;
  /** The place as text: where a reader goes on. */
  readonly cursor: string;
  /** When the server stored it. */
  readonly at: Date;
  /** Whether a reader has the object alone: it was read for that one reader. */
  readonly isOwn: boolean;
}

/** A change as a reader gets it. Readers that get the same change share the object. */
export type FeedChange =
  | (Told & { readonly kind: 'EVENT'; readonly event: EventRow })
  | (Told & {
      readonly kind: 'SESSION';
      readonly change: SessionChangeKind;
      readonly session: SessionRow;
      /** Of MERGED: the session that is no more. */
      readonly mergedId: string | null;
    })
  | (Told & { readonly kind: 'PRESENCE' } & PresenceChangeRow)
  | (Told & { readonly kind: 'ERASURE'; readonly userId: string });

/** One entry of a row: an id, and what it stands for. `number`: its place in the row. */
export interface Entry {
  readonly row: ChangeRow;
  readonly number: number;
  readonly id: string;
  readonly kind: ChangeKind;
  /** Of SESSION. */
  readonly change: SessionChangeKind | null;
}

/** The place of an entry. */
type EntryPlace = Pick<FeedPlace, 'transaction' | 'part' | 'entry'>;

/** The entries of a row in the order in which they are told, from number `from` on. */
export function entriesFrom(row: ChangeRow, from: number): Entry[] {
  const entries: Entry[] = [];
  const add = (kind: ChangeKind, id: string, change: SessionChangeKind | null = null): void =>
    void entries.push({ row, number: entries.length, id, kind, change });
  for (const { id, kind } of row.sessions) add('SESSION', id, kind);
  for (const id of row.events) add('EVENT', id);
  for (const id of row.presence) add('PRESENCE', id);
  for (const id of row.erased) add('ERASURE', id);
  return from === 0 ? entries : entries.slice(from);
}

/** What a reader may see and asks for. */
export interface FeedView {
  /** Views with the same name want the same. */
  readonly name: string;
  /** The caller's reach, narrowed to the identities of the filter. */
  readonly reach: Reach;
  /** Callers with the same name of rights have the same reach, whatever their filters leave of it. */
  readonly rights: string;
  /** Whether the caller is limited to certain users. */
  readonly isNarrowed: boolean;
  readonly events: EventFilter | null;
  /**
   * Whether the view may want the entry. It follows merges of the sessions of its filter, so it must hear of the entries in order.
   * It may hear again of the entries from an earlier place on, and says the same of them.
   */
  wants(entry: Entry): boolean;
  readonly matchesEvent: (event: FilteredEvent) => boolean;
  readonly hasUser: (userId: string | null) => boolean;
  /** Whether nearly every entry that it wants is told: nothing but the kinds selects. */
  readonly isWide: boolean;
  /** A view that wants the same from now on. */
  copy(): FeedView;
}

const ALL_BUT_UPDATED: readonly SessionChangeKind[] = ['STARTED', 'ENDED', 'MERGED'];

/** The reach without the users that the filter leaves out. */
function narrowed({ projectId, userIds }: Reach, identities: readonly string[] | null): Reach {
  if (!identities) return { projectId, userIds };
  const named = [...new Set(identities.map((identity) => userIdOf(projectId, identity.trim())))];
  const within = userIds && new Set(userIds);
  return { projectId, userIds: within ? named.filter((id) => within.has(id)) : named };
}

/** How far a view has followed merges. */
interface Following {
  /** Sessions that watched ones have become part of, and from where on each of them is wanted. */
  readonly sessions: ReadonlyMap<string, EntryPlace>;
  /** Where a watched session has become part of the session that the next entry of its transaction names. */
  readonly merge: EntryPlace | null;
}

/**
 * The most sessions that a view follows beside those that it watches. Each merge adds one, and the one before it is no more: it is
 * kept for entries that are read again. So what is forgotten is a thousand merges old.
 */
const MOST_FOLLOWED = 1_000;

const placeOf = ({ row, number }: Entry): EntryPlace => ({
  transaction: row.transaction,
  part: row.part,
  entry: number,
});

/**
 * Says of sessions whether they are watched, or have become what watched ones are by merging. The same entry gets the same
 * answer if it is asked about again, from any earlier place on: a session is followed from its merge on, and not before.
 */
function createFollower(watched: ReadonlySet<string>, before: Following | null) {
  const followed = new Map(before?.sessions);
  let merge = before?.merge ?? null;
  const isFollowed = (id: string, place: EntryPlace): boolean => {
    const since = followed.get(id);
    return watched.has(id) || (since !== undefined && !isBefore(place, since));
  };
  return {
    get following(): Following {
      return { sessions: followed, merge };
    },
    /** Must be called for each entry of a session, in order. */
    wants(entry: Entry): boolean {
      const { id, change } = entry;
      const place = placeOf(entry);
      const isWanted = isFollowed(id, place);
      if (change === 'MERGED') {
        if (isWanted) merge = place;
        return isWanted;
      }
      // Entries that are read again come before the merge.
      if (merge === null || isBefore(place, merge)) return isWanted;
      const isItsOwn = merge.transaction === place.transaction;
      merge = null;
      if (!isItsOwn || isWanted) return isWanted;
      followed.set(id, place);
      if (followed.size > MOST_FOLLOWED) followed.delete(followed.keys().next().value!);
      return true;
    },
  };
}

export function createView(caller: Reach, filter: FeedFilter, before: Following | null = null): FeedView {
  const reach = narrowed(caller, filter.identities);
  const { events, sessionIds } = filter;
  const users = reach.userIds && new Set(reach.userIds);
  const kinds = filter.kinds && new Set(filter.kinds);
  const changes = new Set(filter.sessionChanges ?? ALL_BUT_UPDATED);
  const sessions = sessionIds && createFollower(new Set(sessionIds), before);
  const isOfKind = (kind: ChangeKind): boolean => kinds?.has(kind) ?? true;
  return {
    get name() {
      return JSON.stringify([reachName(caller), filter, sessions && [...sessions.following.sessions]]);
    },
    reach,
    rights: reachName(caller),
    isNarrowed: caller.userIds !== null,
    events,
    wants(entry) {
      const { kind, change } = entry;
      // The follower hears of each entry, wanted or not.
      if (kind === 'SESSION' && sessions && !sessions.wants(entry)) return false;
      return isOfKind(kind) && (change === null || changes.has(change));
    },
    matchesEvent: eventPredicate(reach, events),
    hasUser: (userId) => !users || (userId !== null && users.has(userId)),
    isWide: !users && !events && !sessions,
    copy: () => createView(caller, filter, sessions && sessions.following),
  };
}
