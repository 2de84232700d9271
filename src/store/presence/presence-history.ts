import type { Reach } from '../../domain/access.js';
import { firstUuidAt } from '../../domain/event-id.js';
import type { TimeRange } from '../../domain/filters.js';
import type { PresenceCause } from '../../domain/presence.js';
import type { Database, Queryable } from '../database.js';
import { Prisma } from '../generated/prisma/client.js';
import { toPage, type Page, type Rows } from '../keyset.js';
import { withinReach } from './read-presence.js';

const { sql, raw, empty } = Prisma;

/** A change of a user's presence, as it was published. */
export interface PresenceChangeRow {
  /** UUIDv7: changes are ordered by time, and those of a user in the order in which they were published. */
  readonly id: string;
  readonly userId: string;
  readonly identity: string;
  readonly at: Date;
  readonly onlineSessions: number;
  readonly cause: PresenceCause;
  /** The session that caused it. It may be merged by now, or not be kept any more. Null: it is not known. */
  readonly sessionId: string | null;
  /** The transaction (xid8) in which the feed tells it. Null: it is not known. */
  readonly transaction: string | null;
}

const COLUMNS = raw(`c.id, c.user_id AS "userId", u.identity, c.at, c.online_sessions AS "onlineSessions", c.cause,
  c.session_id AS "sessionId", c.transaction`);
/** A change whose user is gone is going too, so it is left out. */
const WITH_USER = raw('(presence_changes c JOIN users u ON u.project_id = c.project_id AND u.id = c.user_id)');
const within = ({ projectId, userIds }: Reach) =>
  sql`c.project_id = ${projectId}::uuid ${userIds ? sql`AND c.user_id = ANY(${userIds}::uuid[])` : empty}`;

/** Reads the changes with these ids that are within reach, in the order of their ids. */
export async function presenceChangesByIds(
  database: Queryable,
  reach: Reach,
  ids: readonly string[],
): Promise<PresenceChangeRow[]> {
  const query = sql`SELECT ${COLUMNS} FROM ${WITH_USER} WHERE ${within(reach)} AND c.id = ANY(${ids}::uuid[]) ORDER BY c.id`;
  return database.query<PresenceChangeRow>({ name: 'presence.changes', text: query.text, values: query.values });
}

export interface PresenceHistoryFilter {
  readonly identities: readonly string[] | null;
  readonly range: TimeRange | null;
}

/** The most that a count of changes, or of users at a moment, says. Whoever sees this number knows: it is this or more. */
export const MOST_COUNTED = 10_000;

/** The users whose changes are asked for; null: of all users. */
const usersOf = (reach: Reach, identities: readonly string[] | null): readonly string[] | null =>
  identities ? [...withinReach(reach, identities).keys()] : reach.userIds;

/**
 * The ids of the changes that match, at most `limit` in the order of `direction`, by an index alone. Of certain users, each user's
 * are read apart, with the same limit: so a user's history costs the same beside any number of others. `direction` null: in no
 * order. Then no more than `limit` are read, of however many users.
 */
function matching(
  reach: Reach,
  { identities, range }: PresenceHistoryFilter,
  { bounds, direction, limit }: { bounds: Prisma.Sql; direction: 'ASC' | 'DESC' | null; limit: number },
): Prisma.Sql {
  const order = direction ? sql`ORDER BY c.id ${raw(direction)}` : empty;
  const userIds = usersOf(reach, identities);
  const conditions = sql`c.project_id = ${reach.projectId}::uuid
    ${range?.from ? sql`AND c.id >= ${firstUuidAt(range.from)}::uuid` : empty}
    ${range?.to ? sql`AND c.id < ${firstUuidAt(range.to)}::uuid` : empty} ${bounds}`;
  const part = (which: Prisma.Sql): Prisma.Sql =>
    sql`SELECT c.id FROM presence_changes c WHERE ${conditions} ${which} ${order} LIMIT ${limit}::integer`;
  if (!userIds) return part(empty);
  return sql`SELECT c.id FROM unnest(${userIds}::uuid[]) k (id) CROSS JOIN LATERAL (${part(sql`AND c.user_id = k.id`)}) c
    ${order} LIMIT ${limit}::integer`;
}

/** Reads a page of the changes within reach that match, the newest first. A place is the id of a change. */
export async function listPresenceHistory(
  database: Database,
  reach: Reach,
  filter: PresenceHistoryFilter,
  page: Page<string>,
): Promise<Rows<PresenceChangeRow>> {
  const { after, before } = page;
  const direction = page.backwards ? 'ASC' : 'DESC';
  const bounds = sql`${after ? sql`AND c.id < ${after}::uuid` : empty} ${before ? sql`AND c.id > ${before}::uuid` : empty}`;
  const changes = matching(reach, filter, { bounds, direction, limit: page.limit + 1 });
  const query = sql`SELECT ${COLUMNS} FROM (${changes}) k
    JOIN ${WITH_USER} ON c.project_id = ${reach.projectId}::uuid AND c.id = k.id ORDER BY c.id ${raw(direction)}`;
  const rows = await database.query<PresenceChangeRow>({
    name: 'presence.history',
    text: query.text,
    values: query.values,
  });
  return toPage(rows, page);
}

/** Counts the changes within reach that match, up to MOST_COUNTED. */
export async function countPresenceHistory(
  database: Database,
  reach: Reach,
  filter: PresenceHistoryFilter,
): Promise<number> {
  const changes = matching(reach, filter, { bounds: empty, direction: null, limit: MOST_COUNTED });
  const query = sql`SELECT count(*)::integer AS count FROM (${changes}) c`;
  const [row] = await database.query<{ count: number }>({
    name: 'presence.historyCount',
    text: query.text,
    values: query.values,
  });
  return row!.count;
}

/** When the first change within reach that is kept was. Null: there is none. */
export async function firstPresenceChange(database: Database, reach: Reach): Promise<Date | null> {
  const filter = { identities: null, range: null };
  const changes = matching(reach, filter, { bounds: empty, direction: 'ASC', limit: 1 });
  const query = sql`SELECT c.at FROM (${changes}) k JOIN presence_changes c ON c.project_id = ${reach.projectId}::uuid AND c.id = k.id`;
  const [row] = await database.query<{ at: Date }>({
    name: 'presence.firstChange',
    text: query.text,
    values: query.values,
  });
  return row?.at ?? null;
}
