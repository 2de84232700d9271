import type { Reach } from '../domain/access.js';
import { FEED_SLACK, type FeedPlace, type SessionChangeKind } from '../domain/change.js';
import type { Queryable } from './database.js';
import type { UserKey } from './lock-order.js';
import { Overtaken, OWN_NUMBER } from './overtaken.js';
import { instant, plainArray, textArray, timestamp } from './parameters.js';

/**
 * The rows of the feed, as transactions write them. Every transaction that stores events, changes sessions or presence, or erases
 * a user, writes what it did for each project into `changes`. A row has lists of ids only: a reader reads what they stand for as
 * it is then.
 */

/**
 * The most entries of a row. A batch of 2,000 events in 2,000 sessions fits in one row. A reader that begins in the middle of a
 * row reads it again, so rows must not be larger than a page by much.
 */
const MOST_IN_ROW = 4_000;

/** The letter of each kind in `session_kinds`. For MERGED the id is that of the session that is no more. */
export const SESSION_LETTERS = { STARTED: 'S', UPDATED: 'U', ENDED: 'E', MERGED: 'M' } as const satisfies Record<
  SessionChangeKind,
  string
>;

/**
 * The `part` of the rows of changes of presence, by the statement that writes them. They come after the rows of the sessions that
 * caused the changes. Each of these statements runs once in a transaction, for at most MOST_IN_ROW users.
 */
const PRESENCE_PART = { edges: 1_000_000, devices: 1_000_001 } as const;

/** SQL for a list of them. */
export const PRESENCE_PARTS = `'{${Object.values(PRESENCE_PART).join()}}'::integer[]`;

/** The `part` of the row of an erasure: the last of its transaction. */
const ERASURE_PART = 2_000_000;

/** What a transaction has changed, of any projects. */
export interface Changed {
  readonly events: readonly { readonly projectId: string; readonly id: string }[];
  readonly sessions: readonly {
    readonly projectId: string;
    readonly id: string;
    readonly kind: SessionChangeKind;
    /** The sessions that became part of it by this transaction (rule 27). */
    readonly took?: readonly string[];
  }[];
}

interface Row {
  readonly projectId: string;
  readonly part: number;
  readonly sessions: string[];
  kinds: string;
  readonly events: string[];
}

/** Packs the changes into rows of at most MOST_IN_ROW entries: of each project first the sessions, then the events. */
function rowsOf({ events, sessions }: Changed): Row[] {
  const rows: Row[] = [];
  const last = new Map<string, Row>();
  const rowFor = (projectId: string): Row => {
    const row = last.get(projectId);
    if (row && row.sessions.length + row.events.length < MOST_IN_ROW) return row;
    const next: Row = { projectId, part: row ? row.part + 1 : 0, sessions: [], kinds: '', events: [] };
    last.set(projectId, next);
    rows.push(next);
    return next;
  };
  const add = (projectId: string, id: string, kind: SessionChangeKind): void => {
    const row = rowFor(projectId);
    row.sessions.push(id);
    row.kinds += SESSION_LETTERS[kind];
  };
  for (const { projectId, id, kind, took = [] } of sessions) {
    for (const gone of took) add(projectId, gone, 'MERGED');
    add(projectId, id, kind);
  }
  for (const { projectId, id } of events) rowFor(projectId).events.push(id);
  return rows;
}

/**
 * Writes what this transaction has changed at `now` into the feed. Sends one statement, and none if nothing has changed. Fails
 * with a missing partition (isMissingPartition) if there is none for that day.
 */
export async function writeChanges(tx: Queryable, changed: Changed, now: Date): Promise<void> {
  const rows = rowsOf(changed);
  if (rows.length === 0) return;
  await tx.query({
    name: 'changes.write',
    prepared: true,
    text: `INSERT INTO changes (project_id, at, transaction, part, entries, session_ids, session_kinds, event_ids)
           SELECT c.project_id, $1, pg_current_xact_id()::text::bigint, c.part, c.entries, c.session_ids::uuid[], c.session_kinds,
                  c.event_ids::uuid[]
           FROM unnest($2::uuid[], $3::integer[], $4::integer[], $5::text[], $6::text[], $7::text[])
             c (project_id, part, entries, session_ids, session_kinds, event_ids)`,
    values: [
      timestamp(now.getTime()),
      plainArray(rows.map(({ projectId }) => projectId)),
      plainArray(rows.map(({ part }) => part)),
      plainArray(rows.map(({ sessions, events }) => sessions.length + events.length)),
      textArray(rows.map(({ sessions }) => plainArray(sessions))),
      textArray(rows.map(({ kinds }) => kinds)),
      textArray(rows.map(({ events }) => plainArray(events))),
    ],
  });
}

/**
 * SQL that writes changes of presence into the feed, as a part of the statement that makes them. `rows`: a query with the columns
 * project_id and change_id, of which change_id may be null. `now`: SQL for milliseconds since the epoch.
 */
export const tellPresence = (rows: string, now: string, by: keyof typeof PRESENCE_PART): string =>
  `INSERT INTO changes (project_id, at, transaction, part, entries, presence_ids)
   SELECT r.project_id, ${instant(`${now}::bigint`)}, pg_current_xact_id()::text::bigint, ${PRESENCE_PART[by]}, count(*),
          array_agg(r.change_id ORDER BY r.change_id)
   FROM (${rows}) r WHERE r.change_id IS NOT NULL GROUP BY r.project_id`;

/** Writes the erasure of a user at `now` into the feed. `naming`: SQL that names the database. Returns the place after it. */
export async function writeErasure(
  tx: Queryable,
  { projectId }: Reach,
  userId: string,
  now: Date,
  naming: string,
): Promise<FeedPlace> {
  const [row] = await tx.query<{ transaction: string; database: string }>({
    name: 'changes.writeErasure',
    text: `INSERT INTO changes (project_id, at, transaction, part, entries, erased_ids)
           VALUES ($1, $2, pg_current_xact_id()::text::bigint, ${ERASURE_PART}, 1, ARRAY[$3::uuid])
           RETURNING transaction, ${naming} AS database`,
    values: [projectId, timestamp(now.getTime()), userId],
  });
  const { transaction, database } = row!;
  const place = { transaction: Number(transaction), part: ERASURE_PART + 1, entry: 0 };
  return { database, ...place, at: now.getTime(), seen: null };
}

/**
 * Throws Overtaken if one of these users was erased by a transaction with a later number than this one's: the feed would tell what
 * this transaction does before the erasure. `now`: about the time of this transaction. Reads the project's rows with later numbers.
 */
export async function checkErasures(tx: Queryable, users: readonly UserKey[], now: Date): Promise<void> {
  const overtaking = await tx.query({
    name: 'changes.checkErasures',
    prepared: true,
    text: `SELECT FROM unnest($1::uuid[]) p (project_id) JOIN changes c ON c.project_id = p.project_id
             AND c.at >= $3 AND c.at < $4 AND c.transaction > ${OWN_NUMBER} AND c.part = ${ERASURE_PART}
           WHERE c.erased_ids && $2::uuid[] LIMIT 1`,
    values: [
      plainArray([...new Set(users.map(({ projectId }) => projectId))]),
      plainArray(users.map(({ userId }) => userId)),
      timestamp(now.getTime() - FEED_SLACK),
      timestamp(now.getTime() + FEED_SLACK),
    ],
  });
  if (overtaking.length > 0) throw new Overtaken();
}
