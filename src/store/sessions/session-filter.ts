import type { Reach } from '../../domain/access.js';
import { askedTexts, SESSION_TEXTS, type SessionFilter } from '../../domain/filters.js';
import { userIdOf } from '../../domain/identity.js';
import type { Found } from './session-search.js';
import { Prisma } from '../generated/prisma/client.js';

export type Sql = Prisma.Sql;

/**
 * A LIKE pattern that finds a part anywhere in a text, ignoring case in every script. The SQL function in_small_letters
 * (in the migrations) is the only place that defines how case is ignored.
 */
export const anywhere = (part: string): Sql =>
  Prisma.sql`in_small_letters(${`%${part.replace(/[\\%_]/g, '\\$&')}%`}::text)`;

/** A condition: at least one of the columns contains the part. */
export function containsPart(columns: readonly string[], part: string): Sql {
  const conditions = columns.map(
    (column) => Prisma.sql`in_small_letters(${Prisma.raw(column)}) LIKE ${anywhere(part)}`,
  );
  return Prisma.sql`(${Prisma.join(conditions, ' OR ')})`;
}

/** A condition: the column equals one of these texts. */
export const hasAny = (column: string, texts: readonly string[]): Sql =>
  Prisma.sql`${Prisma.raw(column)} = ANY(${texts}::text[])`;

/**
 * Seconds (300 years). No session lasts longer, and this avoids overflow: a Postgres interval holds only a few times as
 * much.
 */
const LONGEST = 1e10;
const bounded = (seconds: number): number => Math.max(-LONGEST, Math.min(LONGEST, seconds));

/**
 * Translates a filter into conditions on `sessions s LEFT JOIN users u`. No other SQL does that. The conditions always
 * include the caller's reach. `found` is what findSearched returned for this filter.
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
  // A session is active from its start to its end; an open session is still active.
  if (filter.activeDuring?.from) add(sql`(s.ended_at IS NULL OR s.ended_at >= ${filter.activeDuring.from})`);
  if (filter.activeDuring?.to) add(sql`s.started_at < ${filter.activeDuring.to}`);
  if (filter.duration?.min != null)
    add(sql`s.last_activity_at - s.started_at >= make_interval(secs => ${bounded(filter.duration.min)}::float8)`);
  if (filter.duration?.max != null)
    add(sql`s.last_activity_at - s.started_at <= make_interval(secs => ${bounded(filter.duration.max)}::float8)`);
  if (filter.hasErrors === true) add(sql`s.error_count > 0`);
  if (filter.hasErrors === false) add(sql`s.error_count = 0`);
  if (filter.eventTypes) add(sql`s.event_types && ${filter.eventTypes}::text[]`);
  if (filter.deviceIds) add(hasAny('s.device_id', filter.deviceIds));
  for (const { column, texts } of askedTexts(SESSION_TEXTS, filter)) add(hasAny(`s.${column}`, texts));
  if (filter.isBot != null) add(sql`s.is_bot = ${filter.isBot}`);
  if (filter.userDataContains)
    add(sql`EXISTS (SELECT FROM users d WHERE d.project_id = s.project_id AND d.id = s.user_id
      AND d.data @> ${JSON.stringify(filter.userDataContains)}::jsonb)`);
  if (filter.dataContains) add(sql`s.data @> ${JSON.stringify(filter.dataContains)}::jsonb`);
  return Prisma.join(conditions, ' AND ');
}
