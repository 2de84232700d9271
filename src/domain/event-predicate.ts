import type { Reach } from './access.js';
import { firstUuidAt } from './event-id.js';
import type { EventFilter } from './filters.js';
import { userIdOf } from './identity.js';

/** What a filter looks at of an event. */
export interface FilteredEvent {
  readonly id: string;
  readonly type: string;
  readonly source: string | null;
  readonly tags: readonly string[];
  readonly referenceId: string | null;
  readonly userId: string | null;
  readonly sessionId: string | null;
  /** Whose its session is, where the event itself names nobody. */
  readonly sessionUserId: string | null;
}

/** Whether only the database can decide: how it ignores case, and what contains what, are its own. */
export const needsDatabase = (filter: EventFilter | null): boolean => Boolean(filter?.search || filter?.dataContains);

/**
 * Tells whether an event is within reach and matches: the same as the conditions of store/event-filter.ts, without a
 * statement. `search` and `dataContains` are passed over (see needsDatabase).
 */
export function eventPredicate(reach: Reach, filter: EventFilter | null): (event: FilteredEvent) => boolean {
  const tests: ((event: FilteredEvent) => boolean)[] = [];
  const among = (wanted: readonly string[] | null | undefined, read: (event: FilteredEvent) => string | null): void => {
    if (!wanted) return;
    const values = new Set<string | null>(wanted);
    tests.push((event) => values.has(read(event)));
  };
  among(reach.userIds, ({ userId, sessionUserId }) => userId ?? sessionUserId);
  if (filter) {
    among(
      filter.identities?.map((identity) => userIdOf(reach.projectId, identity.trim())),
      ({ userId }) => userId,
    );
    among(filter.types, ({ type }) => type);
    among(filter.sessionIds, ({ sessionId }) => sessionId);
    among(filter.sources, ({ source }) => source);
    among(filter.referenceId == null ? null : [filter.referenceId], ({ referenceId }) => referenceId);
    const { tags, hasSession } = filter;
    if (tags) tests.push((event) => event.tags.some((tag) => tags.includes(tag)));
    if (hasSession != null) tests.push(({ sessionId }) => (sessionId !== null) === hasSession);
    // Ids are made from times, and ordered as their texts are.
    const from = filter.occurredAt?.from && firstUuidAt(filter.occurredAt.from);
    const to = filter.occurredAt?.to && firstUuidAt(filter.occurredAt.to);
    if (from) tests.push(({ id }) => id >= from);
    if (to) tests.push(({ id }) => id < to);
  }
  return (event) => tests.every((test) => test(event));
}
