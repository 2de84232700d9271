import { FEED_SLACK, type SessionChangeKind } from '../../domain/change.js';
import type { Reach } from '../../domain/access.js';
import { PRESENCE_PARTS, SESSION_LETTERS } from '../change-rows.js';
import type { Queryable } from '../database.js';

/** A row of the feed: what one transaction changed in a project. The lists have the ids in the order in which they are told. */
export interface ChangeRow {
  readonly transaction: number;
  readonly part: number;
  readonly at: Date;
  readonly sessions: readonly { readonly id: string; readonly kind: SessionChangeKind }[];
  readonly events: readonly string[];
  readonly presence: readonly string[];
  readonly erased: readonly string[];
}

/** Where to begin: the row with this transaction and part, or the first one after it. */
export interface RowPlace {
  readonly transaction: number;
  readonly part: number;
}

/** What a read of the feed found. */
export interface ReadRows {
  readonly rows: readonly ChangeRow[];
  /** Whether there may be more rows that can be read now. */
  readonly isMore: boolean;
  /** The time of the oldest row that cannot be read yet, because an older transaction is still under way. Null: there is none. */
  readonly heldSince: Date | null;
  /** `pg_current_snapshot()` of the read. Every transaction below its xmin has ended. */
  readonly snapshot: string;
  /** The database's name. */
  readonly database: string;
}

const KINDS = new Map<string, SessionChangeKind>(
  Object.entries(SESSION_LETTERS).map(([kind, letter]) => [letter, kind as SessionChangeKind]),
);

interface Found {
  snapshot: string;
  database: string;
  heldSince: Date | null;
  transaction: string | null;
  part: number;
  at: Date;
  sessions: string;
  kinds: string;
  events: string;
  presence: string;
  erased: string;
  last: boolean;
}

/** Ids travel as one text: the driver would read an array element by element, ten times as slowly. */
const list = (column: string): string => `array_to_string(c.${column}, ',')`;
const split = (text: string): string[] => (text === '' ? [] : text.split(','));

function toRow({ transaction, part, at, sessions, kinds, events, presence, erased }: Found): ChangeRow {
  return {
    transaction: Number(transaction),
    part,
    at,
    sessions: split(sessions).map((id, index) => ({ id, kind: KINDS.get(kinds[index]!)! })),
    // The statement of the shortcut stores in no fixed order. An id begins with the event's time.
    events: split(events).toSorted(),
    presence: split(presence),
    erased: split(erased),
  };
}

/**
 * The place after all rows. The end of a read is always a plain comparison, which the index can use: with a condition that may be
 * absent, a read up to a place went on to the end of the feed (1.3 s for 4,500,000 rows).
 */
const END: RowPlace = { transaction: Number.MAX_SAFE_INTEGER, part: 2_147_483_647 };

/** The oldest transaction that is under way. What is below it has ended: nothing can appear there any more. */
const XMIN = 'pg_snapshot_xmin(pg_current_snapshot())::text::bigint';

/**
 * Reads the rows of the project's feed from `from` on, in the order of transactions: those whose transaction is below the oldest
 * that is still under way, at most `most.rows`, and so many that they have at most `most.entries` entries, but at least one.
 * `until`: only rows before it. `since`: no row that is wanted is older; so only the partitions from then on are read.
 *
 * It reads the primary key, one look-up in each day from `since` on, and then only the rows that it returns. The sum of the entries
 * is made from a column of its own, so that long lists are fetched only for those rows.
 */
export async function readChanges(
  database: Queryable,
  { projectId }: Reach,
  { from, until, since }: { from: RowPlace; until: RowPlace | null; since: Date },
  { naming, most }: { naming: string; most: { readonly rows: number; readonly entries: number } },
): Promise<ReadRows> {
  const found = await database.query<Found>({
    name: 'feed.changes',
    prepared: true,
    text: `SELECT m.snapshot, m.database, m."heldSince", c.* FROM (
             SELECT pg_current_snapshot()::text AS snapshot, ${naming} AS database, (
               SELECT at FROM changes WHERE project_id = $1 AND at >= $2 AND transaction >= greatest(${XMIN}, $3::bigint)
               ORDER BY transaction LIMIT 1) AS "heldSince"
           ) m LEFT JOIN LATERAL (
             SELECT c.transaction, c.part, c.at, ${list('session_ids')} AS sessions, c.session_kinds AS kinds,
                    ${list('event_ids')} AS events, ${list('presence_ids')} AS presence, ${list('erased_ids')} AS erased
             FROM (
               SELECT c.*, sum(c.entries) OVER (ORDER BY c.transaction, c.part) - c.entries AS before FROM (
                 SELECT * FROM changes
                 WHERE project_id = $1 AND at >= $2 AND (transaction, part) >= ($3::bigint, $4::integer)
                   AND transaction < ${XMIN}
                   AND (transaction, part) < ($5::bigint, $6::integer)
                 ORDER BY transaction, part LIMIT $7
               ) c
             ) c
             WHERE c.before < $8 ORDER BY c.transaction, c.part
           ) c ON true`,
    values: [
      projectId,
      since,
      from.transaction,
      from.part,
      until?.transaction ?? END.transaction,
      until?.part ?? END.part,
      most.rows,
      most.entries,
    ],
  });
  const [{ snapshot, database: name, heldSince }] = found as [Found, ...Found[]];
  const rows = found.filter(({ transaction }) => transaction !== null).map(toRow);
  const entries = rows.reduce((sum, row) => sum + entriesOf(row), 0);
  return {
    rows,
    isMore: rows.length === most.rows || entries >= most.entries,
    heldSince,
    snapshot,
    database: name,
  };
}

/** How many entries a row has. */
export const entriesOf = ({ sessions, events, presence, erased }: ChangeRow): number =>
  sessions.length + events.length + presence.length + erased.length;

/** What the look found of a project. */
export interface LookedAt {
  readonly projectId: string;
  /** Whether there are rows that can be read now. */
  readonly isReady: boolean;
  /** The time of the oldest row that has not been read; null: there is none. */
  readonly waitingSince: Date | null;
}

/**
 * Looks which of these projects have rows from a place on, and whether the first of them can be read. One statement for all of a
 * server's projects: two look-ups in each day from the oldest `since` on.
 */
export async function lookForChanges(
  database: Queryable,
  places: readonly (RowPlace & { readonly projectId: string; readonly since: Date })[],
): Promise<LookedAt[]> {
  const since = Math.min(...places.map((place) => place.since.getTime()));
  return database.query<LookedAt>({
    name: 'feed.look',
    prepared: true,
    text: `SELECT p.project_id AS "projectId", coalesce(c.transaction < ${XMIN}, false) AS "isReady", c.at AS "waitingSince"
           FROM unnest($1::uuid[], $2::bigint[], $3::integer[]) p (project_id, transaction, part)
           LEFT JOIN LATERAL (
             SELECT c.transaction, c.at FROM changes c
             WHERE c.project_id = p.project_id AND c.at >= $4 AND (c.transaction, c.part) >= (p.transaction, p.part)
             ORDER BY c.transaction, c.part LIMIT 1
           ) c ON true`,
    values: [
      places.map(({ projectId }) => projectId),
      places.map(({ transaction }) => transaction),
      places.map(({ part }) => part),
      new Date(since),
    ],
  });
}

/** Where the feed tells a change of presence. */
export interface ToldPresence {
  readonly id: string;
  readonly transaction: number;
  readonly part: number;
  readonly at: Date;
  /** Its place among the entries of the row, and how many the row has. */
  readonly number: number;
  readonly entries: number;
}

/**
 * Finds where the feed tells these changes of presence, by their ids. Those that it does not have any more are left out. Reads, of
 * each transaction, the rows with changes of presence, in the days around `at`.
 */
export async function findPresence(
  database: Queryable,
  { projectId }: Reach,
  changes: readonly { readonly id: string; readonly transaction: string; readonly at: Date }[],
): Promise<ToldPresence[]> {
  const times = changes.map(({ at }) => at.getTime());
  const rows = await database.query<Omit<ToldPresence, 'transaction'> & { transaction: string }>({
    name: 'feed.presence',
    prepared: true,
    text: `SELECT k.id, c.transaction, c.part, c.at, array_position(c.presence_ids, k.id) - 1 AS number, c.entries
           FROM unnest($2::uuid[], $3::bigint[]) k (id, transaction) CROSS JOIN LATERAL (
             SELECT * FROM changes c
             WHERE c.project_id = $1 AND c.transaction = k.transaction AND c.part = ANY (${PRESENCE_PARTS}) AND c.at >= $4 AND c.at <= $5
               AND k.id = ANY (c.presence_ids)
           ) c`,
    values: [
      projectId,
      changes.map(({ id }) => id),
      changes.map(({ transaction }) => transaction),
      new Date(Math.min(...times) - FEED_SLACK),
      new Date(Math.max(...times) + FEED_SLACK),
    ],
  });
  return rows.map((row) => ({ ...row, transaction: Number(row.transaction) }));
}

/** The snapshot of now, and the name of the database: a place after everything that is stored now. */
export async function presentMoment(
  database: Queryable,
  naming: string,
): Promise<{ snapshot: string; database: string }> {
  const [row] = await database.query<{ snapshot: string; database: string }>({
    name: 'feed.moment',
    text: `SELECT pg_current_snapshot()::text AS snapshot, ${naming} AS database`,
  });
  return row!;
}
