import type { Reach } from '../../domain/access.js';
import { firstUuidAt } from '../../domain/event-id.js';
import type { UserPresence } from '../../domain/presence.js';
import type { Database } from '../database.js';
import { Prisma } from '../generated/prisma/client.js';
import { toPage, type Page, type Rows } from '../keyset.js';
import { ENDS_SPELL, LONGEST_SPELL, SPELL_CLASS } from './presence-change.js';
import { MOST_COUNTED } from './presence-history.js';
import { neverSeen, withinReach, type PresenceFilter } from './read-presence.js';

/**
 * Reads presence as it was at a moment: what subscribers had been told then. A user's next change after the moment says what
 * was told before it; if there is none, it is what the user's row says. So it needs no change of before the moment, and
 * retention may delete those. Of the time before the first kept change only the row's status_since is known.
 */
const { sql, raw, empty } = Prisma;

interface AtRow {
  userId: string;
  identity: string;
  name: string | null;
  since: Date | null;
  onlineSessions: number;
}

/** When the user was last seen is not kept: null. The name is the user's name now. */
const toPresence = ({ identity, name, since, onlineSessions }: AtRow): UserPresence => ({
  identity,
  name,
  status: onlineSessions > 0 ? 'ONLINE' : 'OFFLINE',
  since,
  lastSeenAt: null,
  onlineSessions,
  isPast: true,
});

/** A row source `n` for a user `u`: the user's published number and status_since at the moment, and whether the user was new. */
const stateAt = (at: Date) => sql`CROSS JOIN LATERAL (
    SELECT CASE WHEN x.since <= ${at}::timestamptz THEN x.sessions ELSE 0 END AS sessions,
           CASE WHEN x.since <= ${at}::timestamptz THEN x.since END AS since,
           x.is_first AS is_new
    FROM (SELECT) one LEFT JOIN LATERAL (
      SELECT c.previous_sessions, c.previous_since, true AS found FROM presence_changes c
      WHERE c.project_id = u.project_id AND c.user_id = u.id AND c.id >= ${firstUuidAt(at.getTime() + 1)}::uuid ORDER BY c.id LIMIT 1
    ) c ON true
    CROSS JOIN LATERAL (
      SELECT CASE WHEN c.found THEN c.previous_sessions ELSE u.online_sessions END AS sessions,
             CASE WHEN c.found THEN c.previous_since ELSE u.status_since END AS since,
             c.found AND c.previous_since IS NULL AS is_first
    ) x
  ) n`;
const COLUMNS = raw(`u.id AS "userId", u.identity, u.name, n.since, n.sessions AS "onlineSessions"`);

/** Reads the presence that each identity within reach had, in the given order. A user who had not been seen is OFFLINE. */
export async function presenceOfAt(
  database: Database,
  reach: Reach,
  identities: readonly string[],
  at: Date,
): Promise<UserPresence[]> {
  const ids = withinReach(reach, identities);
  if (ids.size === 0) return [];
  const query = sql`SELECT ${COLUMNS} FROM users u ${stateAt(at)}
    WHERE u.project_id = ${reach.projectId}::uuid AND u.id = ANY(${[...ids.keys()]}::uuid[])`;
  const rows = await database.query<AtRow>({ name: 'presence.ofAt', text: query.text, values: query.values });
  const found = new Map(rows.map((row) => [row.userId, toPresence(row)]));
  return [...ids].map(([id, identity]) => found.get(id) ?? neverSeen(identity));
}

/**
 * So many users online are gathered and sorted (5 ms for 10,000). If there are more, the users are read in their order instead, and
 * one in so many of them is online: a page of 100 of a million users needs 5,000 looks.
 */
const MOST_GATHERED = 20_000;

/**
 * The ids of the users of the project that were online at the moment, at most `limit`, in no order: those of whom a spell
 * that included the moment has ended, of each class, and those whose spell goes on. At most twice as many rows are read.
 */
const onlineAt = ({ projectId }: Reach, at: Date, limit: number) => sql`
  SELECT c.user_id AS id FROM generate_series(0, ${raw(String(LONGEST_SPELL))}) k (class) CROSS JOIN LATERAL (
    SELECT c.user_id FROM presence_changes c
    WHERE c.project_id = ${projectId}::uuid AND ${raw(ENDS_SPELL)} AND ${raw(SPELL_CLASS)} = k.class
      AND c.at > ${at}::timestamptz AND c.at <= ${at}::timestamptz + interval '1 second' * power(2, k.class + 1)
      AND c.previous_since <= ${at}::timestamptz
    OFFSET 0
  ) c
  UNION ALL
  SELECT u.id FROM users u
  WHERE u.project_id = ${projectId}::uuid AND u.online_sessions > 0 AND u.status_since <= ${at}::timestamptz
  LIMIT ${limit}::integer`;

const bounds = ({ after, before }: Page<string>, id: Prisma.Sql) =>
  sql`${after ? sql`AND ${id} > ${after}::uuid` : empty} ${before ? sql`AND ${id} < ${before}::uuid` : empty}`;

/**
 * The users within reach that had the status, of those whom the server knew at the moment, one by one in the order of ids. The
 * conditions are written so that the planner expects many to match; otherwise it sorts all users first.
 */
const walk = (reach: Reach, { status }: PresenceFilter, at: Date) => sql`FROM users u ${stateAt(at)}
  WHERE u.project_id = ${reach.projectId}::uuid ${reach.userIds ? sql`AND u.id = ANY(${reach.userIds}::uuid[])` : empty}
    ${status === 'ONLINE' ? raw('AND n.sessions > 0') : raw('AND n.is_new IS NOT TRUE')}
    ${status === 'OFFLINE' ? raw('AND (n.sessions > 0) IS NOT TRUE') : empty}`;

/** Reads a page of the users within reach with the presence that they had, in the order of their ids. */
export async function listPresenceAt(
  database: Database,
  reach: Reach,
  filter: PresenceFilter,
  page: Page<string>,
  at: Date,
): Promise<Rows<{ userId: string; presence: UserPresence }>> {
  const direction = raw(page.backwards ? 'DESC' : 'ASC');
  const limit = sql`LIMIT ${page.limit + 1}::integer`;
  const read = async (query: Prisma.Sql) =>
    database.query<AtRow & { found?: number }>({ name: 'presence.listAt', text: query.text, values: query.values });
  const answer = (rows: readonly AtRow[]) => {
    const { rows: users, more } = toPage([...rows], page);
    return { rows: users.map((row) => ({ userId: row.userId, presence: toPresence(row) })), more };
  };
  if (filter.status === 'ONLINE' && !reach.userIds) {
    const rows = await read(sql`
      WITH online AS MATERIALIZED (${onlineAt(reach, at, MOST_GATHERED)})
      SELECT f.found, p.* FROM (SELECT count(*)::integer AS found FROM online) f LEFT JOIN (
        SELECT ${COLUMNS} FROM (
          SELECT id FROM online o WHERE true ${bounds(page, raw('o.id'))} ORDER BY id ${direction} ${limit}
        ) o CROSS JOIN LATERAL (
          SELECT * FROM users u WHERE u.project_id = ${reach.projectId}::uuid AND u.id = o.id OFFSET 0
        ) u ${stateAt(at)}
      ) p ON true ORDER BY p."userId" ${direction}`);
    if (rows[0]!.found! < MOST_GATHERED) {
      // Without a user on the page there is one row, with the count alone.
      return answer(rows.filter(({ userId }) => userId !== null));
    }
  }
  return answer(
    await read(
      sql`SELECT ${COLUMNS} ${walk(reach, filter, at)} ${bounds(page, raw('u.id'))} ORDER BY u.id ${direction} ${limit}`,
    ),
  );
}

/** Counts the users within reach that had the status, up to MOST_COUNTED. */
export async function countPresenceAt(
  database: Database,
  reach: Reach,
  filter: PresenceFilter,
  at: Date,
): Promise<number> {
  const users =
    filter.status === 'ONLINE' && !reach.userIds
      ? onlineAt(reach, at, MOST_COUNTED)
      : sql`SELECT u.id ${walk(reach, filter, at)} LIMIT ${MOST_COUNTED}::integer`;
  const query = sql`SELECT count(*)::integer AS count FROM (${users}) u`;
  const [row] = await database.query<{ count: number }>({
    name: 'presence.countAt',
    text: query.text,
    values: query.values,
  });
  return row!.count;
}
