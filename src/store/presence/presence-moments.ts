import type { Reach } from '../../domain/access.js';
import type { PresenceEdge, PresenceRow, Snapshot, UserPresence } from '../../domain/presence.js';
import type { Database } from '../database.js';
import { Prisma } from '../generated/prisma/client.js';
import { PRESENCE_COLUMNS } from './read-presence.js';

/**
 * Reads presence at one moment, in pages: for the starts of watchers, and for the changes since another moment. A snapshot of
 * Postgres sees a transaction or does not see it. So two snapshots say exactly which users have changed between them.
 * Everything is read from the primary, because a standby has no such snapshots.
 */
const { sql, raw, empty, join } = Prisma;
const { status: STATUS, lastSeen: LAST_SEEN } = PRESENCE_COLUMNS;

/** Rows of one page. To read a page from the connection takes some 10 ms of the event loop. */
const PAGE = 2_000;
/**
 * The most rows of the first try of a read that is paid before it is read. Most clients that come back have missed fewer changes.
 * Each further try may have twice as many, and pays for those that are more. So less than half of what is paid is paid in vain,
 * and all tries together read less than twice as many rows as the last one.
 */
const FIRST_TRY = 50;

/** The moment of a read: `database` is the database's name. */
export interface Moment {
  readonly database: string;
  /** `pg_current_snapshot()`. The read includes a change exactly if isVisible(its transaction, snapshot). */
  readonly snapshot: string;
  /** The transactions of the projects' latest erasures. */
  readonly erasures: readonly { readonly projectId: string; readonly transactions: readonly string[] }[];
}

interface Found extends Omit<UserPresence, 'lastSeenAt'> {
  readonly userId: string;
}

/** Pays for so many more rows. If it rejects, the rows are not read. */
export type Pay = (rows: number) => Promise<void>;

/** Runs one statement on one snapshot, and hands its rows to `take` in pages. Returns the moment. */
async function readAt(
  database: Database,
  { naming, projectIds, name }: { naming: string; projectIds: readonly string[]; name: string },
  query: Prisma.Sql,
  take: (rows: readonly Found[]) => void,
): Promise<Moment> {
  return database.transaction(async (tx) => {
    const readPage = (): Promise<Found[]> =>
      tx.query<Found>({ name: 'presence.page', text: `FETCH ${PAGE} FROM presence` });
    // Sent together: one round trip to Postgres.
    const [, [moment], , first] = await Promise.all([
      tx.query({ name: 'presence.begin', text: 'SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY' }),
      tx.query<Moment>({
        name: 'presence.moment',
        text: `SELECT pg_current_snapshot()::text AS snapshot, ${naming} AS database, coalesce((
                 SELECT json_agg(json_build_object('projectId', id, 'transactions', presence_erasures::text[]))
                 FROM projects WHERE id = ANY($1::uuid[]) AND presence_erasures <> '{}'
               ), '[]') AS erasures`,
        values: [projectIds],
      }),
      tx.query({ name, text: `DECLARE presence NO SCROLL CURSOR FOR ${query.text}`, values: query.values }),
      readPage(),
    ]);
    let rows = first;
    take(rows);
    while (rows.length === PAGE) {
      rows = await readPage();
      take(rows);
    }
    return moment!;
  });
}

const toRow = ({ userId, identity, name, status, since, onlineSessions }: Found): PresenceRow => ({
  identity,
  name,
  status,
  since,
  lastSeenAt: null,
  onlineSessions,
  unread: userId,
});

/** The condition for the users within reach. Empty if the reach is the whole project. */
const whose = ({ userIds }: Reach) => (userIds ? sql`AND u.id = ANY(${userIds}::uuid[])` : empty);

/**
 * Reads, by user id, the users of the project that are online. If the reach names users, reads the presence of each of these
 * that was ever seen, also if offline.
 */
export async function presenceNow(
  database: Database,
  reach: Reach,
  naming: string,
): Promise<Moment & { readonly users: ReadonlyMap<string, PresenceRow> }> {
  const users = new Map<string, PresenceRow>();
  const query = sql`SELECT ${STATUS} FROM users u
    WHERE u.project_id = ${reach.projectId}::uuid ${whose(reach)} ${reach.userIds ? empty : raw('AND u.online_sessions > 0')}`;
  const about = { naming, projectIds: [reach.projectId], name: 'presence.snapshot' };
  const moment = await readAt(database, about, query, (rows) => {
    for (const row of rows) users.set(row.userId, toRow(row));
  });
  return { ...moment, users };
}

const EDGE_AT = raw('u.presence_transaction');
const DEVICES_AT = raw('u.devices_transaction');

/**
 * The conditions for a change that the snapshot does not see, each a range of an index: its transaction began after the
 * snapshot, or was running when the snapshot was taken. Rows that were restored from a dump can name transactions that have not
 * been yet. They are not changes. There is no second condition if nothing was running: with an empty list the planner may take
 * the index of another column, and read all of it.
 */
function unseen(at: Prisma.Sql, { xmax, running }: Snapshot): Prisma.Sql[] {
  const began = sql`${at} >= ${String(xmax)}::bigint AND ${at} < pg_snapshot_xmax(pg_current_snapshot())::text::bigint`;
  return running.size === 0 ? [began] : [began, sql`${at} = ANY(${[...running].map(String)}::bigint[])`];
}

/**
 * The users of the projects `p.id` whose latest edge the snapshot does not see; if `devices`, also those of whom only the
 * devices have changed (note-devices). They are found by users_presence_transaction and users_devices_transaction: 0.1 ms for 100
 * changed users of 100,000 or of 1,000,000, 14 ms for 20,000.
 */
function changedSince(since: Snapshot, reach: Reach | null, devices: boolean): Prisma.Sql {
  const edges = unseen(EDGE_AT, since);
  const beside = devices ? unseen(DEVICES_AT, since) : [];
  const conditions = [...edges, ...beside.map((how) => sql`${how} AND (${join(edges, ' OR ')}) IS NOT TRUE`)];
  const parts = conditions.map(
    (how) => sql`SELECT * FROM users u WHERE u.project_id = p.id AND ${how} ${reach ? whose(reach) : empty}`,
  );
  return sql`(${join(parts, ' UNION ALL ')})`;
}

/**
 * Reads, by user id, the users within reach that have changed since a snapshot. `devices`: also those whose devices are others.
 * `users` is null if more than `most` have changed. What is read is paid first, and not while a transaction waits for it: the
 * counter of rates may take 250 ms to answer, and would hold a connection. So if there is more than has been paid, the read is
 * given up and made anew for twice as many, after these have been paid.
 */
export async function presenceSince(
  database: Database,
  reach: Reach,
  options: { naming: string; since: Snapshot; most: number; devices: boolean; pay: Pay },
): Promise<Moment & { readonly users: ReadonlyMap<string, PresenceRow> | null }> {
  const { naming, since, devices, pay } = options;
  const users = new Map<string, PresenceRow>();
  const most = Math.min(options.most, reach.userIds?.length ?? Infinity) + 1;
  const queryOf = (size: number): Prisma.Sql => sql`SELECT ${STATUS} FROM (SELECT ${reach.projectId}::uuid AS id) p
    CROSS JOIN LATERAL ${changedSince(since, reach, devices)} u LIMIT ${size}::integer`;
  const about = { naming, projectIds: [reach.projectId], name: 'presence.since' };
  const take = (rows: readonly Found[]): void => {
    for (const row of rows) users.set(row.userId, toRow(row));
  };
  for (let paid = 0; ;) {
    const size = Math.min(most, Math.max(FIRST_TRY, 2 * paid));
    await pay(size - paid);
    paid = size;
    users.clear();
    const moment = await readAt(database, about, queryOf(size), take);
    if (users.size < size || size === most) return { ...moment, users: users.size < most ? users : null };
  }
}

export interface FoundEdge extends Found {
  readonly projectId: string;
  readonly version: string;
  readonly transaction: string;
  readonly devicesTransaction: string | null;
  readonly lastSeenAt: Date | null;
}

/** The columns of a FoundEdge. */
export const EDGE = sql`u.project_id AS "projectId", u.presence_version AS version,
  coalesce(u.presence_transaction, 0) AS transaction, u.devices_transaction AS "devicesTransaction", ${STATUS}, ${LAST_SEEN} AS "lastSeenAt"`;

/** The latest edge of a user, as the row has it. */
export function toEdge(row: FoundEdge): { projectId: string; edge: PresenceEdge } {
  const { projectId, userId, version, transaction, devicesTransaction } = row;
  const { identity, name, status, since, lastSeenAt, onlineSessions } = row;
  return {
    projectId,
    edge: {
      userId,
      presence: { identity, name, status, since, lastSeenAt, onlineSessions },
      version: Number(version),
      previous: null,
      transaction,
      sessionId: null,
      ...(devicesTransaction !== null && { devicesTransaction }),
    },
  };
}

/**
 * Reads the latest edge of each user of these projects that has changed since a snapshot, or whose devices have, and hands the
 * edges to `take` in pages. So it finds what the bus lost, or what a server did not publish because it died after the commit.
 */
export function edgesSince(
  database: Database,
  reaches: readonly Reach[],
  { naming, since }: { naming: string; since: Snapshot },
  take: (edges: { projectId: string; edge: PresenceEdge }[]) => void,
): Promise<Moment> {
  const projectIds = reaches.map(({ projectId }) => projectId);
  const query = sql`SELECT ${EDGE}
    FROM unnest(${projectIds}::uuid[]) p (id) CROSS JOIN LATERAL ${changedSince(since, null, true)} u`;
  const about = { naming, projectIds, name: 'presence.look' };
  return readAt(database, about, query, (rows) => take((rows as FoundEdge[]).map(toEdge)));
}

/** Reads when users were last seen, by user id; the same value as in every other read of presence. */
export async function lastSeen(
  database: Database,
  { projectId }: Reach,
  userIds: readonly string[],
): Promise<ReadonlyMap<string, Date | null>> {
  const query = sql`SELECT u.id AS "userId", ${LAST_SEEN} AS "lastSeenAt" FROM users u
    WHERE u.project_id = ${projectId}::uuid AND u.id = ANY(${userIds}::uuid[])`;
  const rows = await database.query<{ userId: string; lastSeenAt: Date | null }>({
    name: 'presence.lastSeen',
    text: query.text,
    values: query.values,
  });
  return new Map(rows.map(({ userId, lastSeenAt }) => [userId, lastSeenAt]));
}
