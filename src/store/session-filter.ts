import type { Reach } from '../domain/access.js';
import type { SessionFilter } from '../domain/filters.js';
import { userIdOf } from '../domain/identity.js';
import type { Found } from './session-search.js';
import { Prisma } from './generated/prisma/client.js';

export type Sql = Prisma.Sql;

/** A part of a text as LIKE takes it, ignoring case in every script: in_small_letters, of the migrations, is the one place that knows how. */
export const anywhere = (part: string): Sql =>
  Prisma.sql`in_small_letters(${`%${part.replace(/[\\%_]/g, '\\$&')}%`}::text)`;

/** Whether a part stands in any of the columns. */
export function containsPart(columns: readonly string[], part: string): Sql {
  const conditions = columns.map(
    (column) => Prisma.sql`in_small_letters(${Prisma.raw(column)}) LIKE ${anywhere(part)}`,
  );
  return Prisma.sql`(${Prisma.join(conditions, ' OR ')})`;
}

/** Seconds, 300 years: no session lasts longer, and an interval of Postgres holds no more than a few of these. */
const LONGEST = 1e10;
const bounded = (seconds: number): number => Math.max(-LONGEST, Math.min(LONGEST, seconds));

/**
 * What a filter means, as conditions on `sessions s LEFT JOIN users u`: the one place that knows. The
 * caller's reach is always among them. `found` is what findSearched has answered for the filter.
 */
export function sessionConditions(reach: Reach, filter: SessionFilter | null | undefined, found: Found | null): Sql {
  const { sql } = Prisma;
  const conditions: Sql[] = [sql`s.project_id = ${reach.projectId}::uuid`];
  const add = (condition: Sql): void => void conditions.push(condition);
  if (reach.userIds) add(sql`s.user_id = ANY(${reach.userIds}::uuid[])`);
  if (!filter) return Prisma.join(conditions, ' AND ');

  if (filter.identities) {
    add(
      sql`s.user_id = ANY(${filter.identities.map((identity) => userIdOf(reach.projectId, identity.trim()))}::uuid[])`,
    );
  }
  if (found) add(sql`(s.user_id = ANY(${found.userIds}::uuid[]) OR s.id = ANY(${found.sessionIds}::uuid[]))`);
  else if (filter.search) add(containsPart(['u.identity', 'u.name', 's.key'], filter.search));
  if (filter.status === 'ACTIVE') add(sql`s.ended_at IS NULL`);
  if (filter.status === 'ENDED') add(sql`s.ended_at IS NOT NULL`);
  if (filter.endReasons) add(sql`s.end_reason = ANY(${filter.endReasons}::session_end_reason[])`);
  if (filter.startedAt?.from) add(sql`s.started_at >= ${filter.startedAt.from}`);
  if (filter.startedAt?.to) add(sql`s.started_at < ${filter.startedAt.to}`);
  // A session lives from its start to its end; an open one is alive still.
  if (filter.activeDuring?.from) add(sql`(s.ended_at IS NULL OR s.ended_at >= ${filter.activeDuring.from})`);
  if (filter.activeDuring?.to) add(sql`s.started_at < ${filter.activeDuring.to}`);
  if (filter.duration?.min != null)
    add(sql`s.last_activity_at - s.started_at >= make_interval(secs => ${bounded(filter.duration.min)}::float8)`);
  if (filter.duration?.max != null)
    add(sql`s.last_activity_at - s.started_at <= make_interval(secs => ${bounded(filter.duration.max)}::float8)`);
  if (filter.hasErrors === true) add(sql`s.error_count > 0`);
  if (filter.hasErrors === false) add(sql`s.error_count = 0`);
  if (filter.eventTypes) add(sql`s.event_types && ${filter.eventTypes}::text[]`);
  if (filter.versions) add(sql`s.version = ANY(${filter.versions}::text[])`);
  if (filter.browsers) add(sql`s.browser_name = ANY(${filter.browsers}::text[])`);
  if (filter.operatingSystems) add(sql`s.os_name = ANY(${filter.operatingSystems}::text[])`);
  if (filter.devices) add(sql`s.device = ANY(${filter.devices}::text[])`);
  if (filter.ipAddresses) add(sql`s.ip_address = ANY(${filter.ipAddresses}::text[])`);
  if (filter.countries) add(sql`s.country = ANY(${filter.countries.map((country) => country.toUpperCase())}::text[])`);
  if (filter.isBot != null) add(sql`s.is_bot = ${filter.isBot}`);
  if (filter.dataContains) add(sql`s.data @> ${JSON.stringify(filter.dataContains)}::jsonb`);
  return Prisma.join(conditions, ' AND ');
}
