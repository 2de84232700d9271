import type { Reach } from './access.js';
import { firstUuidAt } from './event-id.js';
import { askedTexts, EVENT_TEXTS, type EventFilter } from './filters.js';
import { userIdOf } from './identity.js';

/** The parts of an event that a filter compares. */
export interface FilteredEvent {
  readonly id: string;
  readonly type: string;
  readonly source: string | null;
  readonly tags: readonly string[];
  readonly referenceId: string | null;
  readonly userId: string | null;
  readonly sessionId: string | null;
  /** The user of its session. It decides whose the event is where the event itself names no user (rule 3). */
  readonly sessionUserId: string | null;
}

/** Whether only the database can decide the filter: Postgres has its own rules for ignoring case and for containment. */
export const needsDatabase = (filter: EventFilter | null): boolean => Boolean(filter?.search || filter?.dataContains);

/** The conditions of the filter that only the database can decide. */
export const askedOfDatabase = ({ search, dataContains }: EventFilter): EventFilter => ({
  ...(search && { search }),
  ...(dataContains && { dataContains }),
});

/** The filter without the conditions that only the database can decide. */
export const withoutAsked = (filter: EventFilter | null): EventFilter | null =>
  filter && { ...filter, search: null, dataContains: null };

/** Whose an event is: the user's that it names, or else the user's of its session. */
const ownerOf = ({ userId, sessionUserId }: FilteredEvent): string | null => userId ?? sessionUserId;

/**
 * Makes a function that says whether an event is within reach and matches the filter. It decides as the SQL conditions of
 * store/sessions/event-filter.ts do, but without a statement. It ignores `search` and `dataContains` (see needsDatabase).
 */
export function eventPredicate(reach: Reach, filter: EventFilter | null): (event: FilteredEvent) => boolean {
  const tests: ((event: FilteredEvent) => boolean)[] = [];
  const among = (wanted: readonly string[] | null | undefined, read: (event: FilteredEvent) => string | null): void => {
    if (!wanted) return;
    const values = new Set<string | null>(wanted);
    tests.push((event) => values.has(read(event)));
  };
  among(reach.userIds, ownerOf);
  if (filter) {
    among(
      filter.identities?.map((identity) => userIdOf(reach.projectId, identity.trim())),
      ownerOf,
    );
    for (const { column, texts } of askedTexts(EVENT_TEXTS, filter)) among(texts, (event) => event[column]);
    among(filter.sessionIds, ({ sessionId }) => sessionId);
    among(filter.referenceId == null ? null : [filter.referenceId], ({ referenceId }) => referenceId);
    const { tags, hasSession } = filter;
    if (tags) {
      const wanted = new Set(tags);
      tests.push((event) => event.tags.some((tag) => wanted.has(tag)));
    }
    if (hasSession != null) tests.push(({ sessionId }) => (sessionId !== null) === hasSession);
    // An id begins with the event's time, so the order of ids as texts is the order of times.
    const from = filter.occurredAt?.from && firstUuidAt(filter.occurredAt.from);
    const to = filter.occurredAt?.to && firstUuidAt(filter.occurredAt.to);
    if (from) tests.push(({ id }) => id >= from);
    if (to) tests.push(({ id }) => id < to);
  }
  return (event) => tests.every((test) => test(event));
}
