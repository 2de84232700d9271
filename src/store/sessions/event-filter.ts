import type { Reach } from '../../domain/access.js';
import { firstUuidAt } from '../../domain/event-id.js';
import { askedTexts, EVENT_TEXTS, type EventFilter } from '../../domain/filters.js';
import { userIdOf } from '../../domain/identity.js';
import { Prisma } from '../generated/prisma/client.js';
import { containsPart, hasAny, type Sql } from './session-filter.js';

/** Selects events: those within the reach that match the filter. */
export interface EventConditions {
  readonly reach: Reach;
  readonly filter: EventFilter | null;
}

/**
 * A condition: the event is of one of these users. An event that names nobody is of the user of its session (rule 3). Only
 * sessions with a device or a key have such events. They are read first and as one array, so that Postgres finds the events
 * of both kinds by indexes.
 */
function isOf({ projectId }: Reach, userIds: readonly string[]): Sql {
  const { sql } = Prisma;
  return sql`(e.user_id = ANY(${userIds}::uuid[]) OR (e.user_id IS NULL AND e.session_id = ANY(ARRAY(
    SELECT id FROM sessions WHERE project_id = ${projectId}::uuid AND user_id = ANY(${userIds}::uuid[])
      AND (device_id IS NOT NULL OR key IS NOT NULL)))))`;
}

/**
 * Translates a filter into conditions on `events e`. No other SQL does that. (For events that are already in memory,
 * domain/event-predicate.ts checks the same conditions, except those that need the database.) The conditions always
 * include the caller's reach. An event's id is made from its time, so a time range becomes a range of ids, and Postgres
 * does not read partitions outside that range.
 */
export function eventConditions(reach: Reach, filter: EventFilter | null | undefined): Sql {
  const { sql } = Prisma;
  const conditions: Sql[] = [sql`e.project_id = ${reach.projectId}::uuid`];
  const add = (condition: Sql): void => void conditions.push(condition);
  if (reach.userIds) add(isOf(reach, reach.userIds));
  if (!filter) return Prisma.join(conditions, ' AND ');

  for (const { column, texts } of askedTexts(EVENT_TEXTS, filter)) add(hasAny(`e.${column}`, texts));
  if (filter.identities) {
    const userIds = filter.identities.map((identity) => userIdOf(reach.projectId, identity.trim()));
    add(isOf(reach, userIds));
  }
  if (filter.sessionIds) add(sql`e.session_id = ANY(${filter.sessionIds}::uuid[])`);
  if (filter.tags) add(sql`e.tags && ${filter.tags}::text[]`);
  if (filter.search) add(containsPart(['e.source', 'e.message'], filter.search));
  if (filter.occurredAt?.from) add(sql`e.id >= ${firstUuidAt(filter.occurredAt.from)}::uuid`);
  if (filter.occurredAt?.to) add(sql`e.id < ${firstUuidAt(filter.occurredAt.to)}::uuid`);
  if (filter.referenceId != null) add(sql`e.reference_id = ${filter.referenceId}`);
  if (filter.hasSession === true) add(sql`e.session_id IS NOT NULL`);
  if (filter.hasSession === false) add(sql`e.session_id IS NULL`);
  if (filter.dataContains) add(sql`e.data @> ${JSON.stringify(filter.dataContains)}::jsonb`);
  return Prisma.join(conditions, ' AND ');
}
