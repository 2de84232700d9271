import type { Reach } from '../domain/access.js';
import { firstUuidAt } from '../domain/event-id.js';
import type { EventFilter } from '../domain/filters.js';
import { userIdOf } from '../domain/identity.js';
import { Prisma } from './generated/prisma/client.js';
import { containsPart, type Sql } from './session-filter.js';

/** Which events are meant: those within reach that match. */
export interface EventConditions {
  readonly reach: Reach;
  readonly filter: EventFilter | null;
}

/**
 * What a filter means, as conditions on `events e`: the one place that knows (for events that are
 * there already, domain/event-predicate.ts says the same of all that needs no database). The caller's reach is always
 * among them. An event's id is made from its time, so that times become ranges of ids and
 * partitions out of range are not touched.
 */
export function eventConditions(reach: Reach, filter: EventFilter | null | undefined): Sql {
  const { sql } = Prisma;
  const conditions: Sql[] = [sql`e.project_id = ${reach.projectId}::uuid`];
  const add = (condition: Sql): void => void conditions.push(condition);
  if (reach.userIds) {
    // An event that names nobody is its session's user's.
    add(sql`(e.user_id = ANY(${reach.userIds}::uuid[]) OR (e.user_id IS NULL AND e.session_id IN (
      SELECT id FROM sessions WHERE project_id = ${reach.projectId}::uuid AND user_id = ANY(${reach.userIds}::uuid[]))))`);
  }
  if (!filter) return Prisma.join(conditions, ' AND ');

  if (filter.types) add(sql`e.type = ANY(${filter.types}::text[])`);
  if (filter.identities) {
    add(
      sql`e.user_id = ANY(${filter.identities.map((identity) => userIdOf(reach.projectId, identity.trim()))}::uuid[])`,
    );
  }
  if (filter.sessionIds) add(sql`e.session_id = ANY(${filter.sessionIds}::uuid[])`);
  if (filter.sources) add(sql`e.source = ANY(${filter.sources}::text[])`);
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
