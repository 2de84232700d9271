import { setImmediate as pause } from 'node:timers/promises';
import type { Reach } from '../../domain/access.js';
import { SESSION_DIMENSIONS, type SessionDimension } from '../../domain/breakdown.js';
import { DurationSketch } from '../../domain/duration-sketch.js';
import { BLOCK, DAY, HOUR, QUARTER, startOfSpan } from '../../domain/spans.js';
import { sketchedPart, UserSketch } from '../../domain/user-sketch.js';
import type { Database, Queryable } from '../database.js';
import { holdLock } from '../hold-lock.js';

/**
 * Makes the stored figures of sessions (session_sums), from the sessions themselves. What makes the sums of a block wrong adds a
 * mark in the same transaction: a trigger on sessions does it, so no statement can forget it. Sums of days are made from those of
 * their blocks, in the transaction that makes the last marked block of the day. So in every snapshot these two are true: the sums of
 * a block without a mark are those of its sessions, and the sums of a day without a marked block are those of its blocks.
 */

/** The dimension of the sums of all sessions together. */
export const ALL = 'ALL';
type SummedDimension = SessionDimension | typeof ALL;
const DIMENSIONS = Object.entries(SESSION_DIMENSIONS) as [SessionDimension, { readonly column: string }][];

/** Values of one dimension in a block or a day. If there are more, none is stored, and the rows of sessions are read. */
export const MOST_VALUES = 2_000;
/** The place of the row that says so. */
export const TOO_MANY = -1;

/** Sessions that are read at once: adding them up takes some milliseconds, and other work comes between. */
const PAGE = 1_000;
/** Sums that are written, or read for a day, at once: some 5 ms. */
const SUMS_PAGE = 100;
/** Sums that are put together, or made into rows, without a pause: up to 0.3 ms each. */
const AT_ONCE = 20;

/** Figures of sessions that have one value in common. */
class Sum {
  sessions = 0;
  withErrors = 0;
  /** Milliseconds. */
  duration = 0;
  readonly users = new UserSketch();

  constructor(readonly durations: DurationSketch | null) {}
}

/** The sums of one dimension in one span, by value. */
class Span {
  readonly sums = new Map<string | null, Sum>();

  constructor(
    readonly dimension: SummedDimension,
    readonly seconds: number,
    /** Milliseconds since the epoch. */
    readonly start: number,
    public hasTooMany = false,
  ) {}

  /** The sum of a value. Null: there are too many values. */
  of(value: string | null): Sum | null {
    if (this.hasTooMany) return null;
    let sum = this.sums.get(value);
    if (sum) return sum;
    if (this.sums.size === MOST_VALUES) {
      this.hasTooMany = true;
      this.sums.clear();
      return null;
    }
    this.sums.set(value, (sum = new Sum(this.dimension === ALL ? new DurationSketch() : null)));
    return sum;
  }
}

interface Ended {
  readonly id: string;
  readonly startedAt: Date;
  readonly userId: string | null;
  /** Milliseconds. */
  readonly duration: number;
  readonly hasErrors: boolean;
  /** The values of DIMENSIONS, in their order. */
  readonly values: readonly (string | null)[];
}

/** The duration of a session `s` in whole milliseconds, as SQL. */
export const MILLISECONDS = `round(extract(epoch FROM s.last_activity_at - s.started_at) * 1000)::float8`;

/** The next ended sessions of a block, after a place. */
const nextEnded = (tx: Queryable, { projectId }: Reach, end: Date, after: readonly [Date, string]): Promise<Ended[]> =>
  tx.query<Ended>({
    name: 'sums.sessions',
    text: `SELECT s.id, s.started_at AS "startedAt", s.user_id AS "userId", ${MILLISECONDS} AS duration,
                  s.error_count > 0 AS "hasErrors",
                  ARRAY[${DIMENSIONS.map(([, { column }]) => `s.${column}::text`).join(', ')}] AS values
           FROM sessions s
           WHERE s.project_id = $1 AND s.started_at < $2 AND (s.started_at, s.id) > ($3, $4::uuid) AND s.ended_at IS NOT NULL
           ORDER BY s.started_at, s.id LIMIT ${PAGE}`,
    values: [projectId, end, ...after],
  });

/** Less than the id of every session. */
const BEFORE_ALL = '00000000-0000-0000-0000-000000000000';

/** Adds a session to the sum of its value. `part`: the part of the user's id that is kept; null: nobody's session. */
function addTo(span: Span, value: string | null, part: string | null, { duration, hasErrors }: Ended): void {
  const sum = span.of(value);
  if (!sum) return;
  sum.sessions += 1;
  sum.withErrors += hasErrors ? 1 : 0;
  sum.duration += duration;
  if (part !== null) sum.users.add(part);
  sum.durations?.add(duration);
}

/** Adds up the sessions of a block. */
async function sumBlock(tx: Queryable, reach: Reach, block: number, stop: AbortSignal): Promise<Span[]> {
  const end = block + BLOCK * 1_000;
  // Only spans in which something started get sums.
  const within = [QUARTER, HOUR, BLOCK].map((seconds) => {
    const length = seconds * 1_000;
    const spans = Array.from({ length: BLOCK / seconds }, (_, at) => new Span(ALL, seconds, block + at * length));
    return { length, spans };
  });
  const grouped = DIMENSIONS.map(([dimension]) => new Span(dimension, BLOCK, block));
  for (let after: readonly [Date, string] | null = [new Date(block), BEFORE_ALL]; after;) {
    stop.throwIfAborted();
    const page: Ended[] = await nextEnded(tx, reach, new Date(end), after);
    for (const session of page) {
      const part = session.userId && sketchedPart(session.userId);
      const since = session.startedAt.getTime() - block;
      for (const { length, spans } of within) addTo(spans[Math.floor(since / length)]!, null, part, session);
      for (const [index, span] of grouped.entries()) addTo(span, session.values[index]!, part, session);
    }
    const last = page.at(-1);
    after = page.length === PAGE ? [last!.startedAt, last!.id] : null;
  }
  return [...within.flatMap(({ spans }) => spans), ...grouped];
}

interface Stored {
  readonly place: number;
  readonly start: Date;
  readonly value: string | null;
  readonly sessions: number;
  readonly withErrors: number;
  /** A bigint. */
  readonly duration: string;
  readonly list: Buffer | null;
  readonly bits: string | null;
  readonly durations: Buffer | null;
}

/** SQL that sends a bit string in a sixth of its text: in base64, after its length in 4 bytes. */
export const sendBits = (bits: string): string => `encode(varbit_send(${bits}), 'base64')`;

/** The bits that sendBits has sent. */
export const bitsOf = (sent: string): Buffer => Buffer.from(sent, 'base64').subarray(4);

/** What is added to the sum of a value. */
interface Part {
  readonly value: string | null;
  readonly sessions: number;
  readonly withErrors: number;
  readonly duration: number;
  readonly list: Uint8Array | null;
  readonly bits: Uint8Array | null;
  readonly durations: Uint8Array | null;
}

function addPart(span: Span, { value, sessions, withErrors, duration, list, bits, durations }: Part): void {
  const sum = span.of(value);
  if (!sum) return;
  sum.sessions += sessions;
  sum.withErrors += withErrors;
  sum.duration += duration;
  if (list) sum.users.addList(list);
  if (bits) sum.users.addTable(bits);
  if (durations) sum.durations?.addEncoded(durations);
}

/** Adds up the blocks of a day: `made`, which is not stored yet, and the sums of the others. */
async function sumDay(tx: Queryable, { projectId }: Reach, day: number, made: Span, stop: AbortSignal): Promise<Span> {
  const span = new Span(made.dimension, DAY, day, made.hasTooMany);
  let added = 0;
  for (const [value, { users, durations, ...sum }] of made.sums) {
    addPart(span, { value, ...sum, list: users.list, bits: users.bits, durations: durations?.encode() ?? null });
    if (++added % AT_ONCE === 0) await pause();
  }
  for (let after: readonly [Date, number] | null = [new Date(day), TOO_MANY - 1]; after && !span.hasTooMany;) {
    stop.throwIfAborted();
    const page: Stored[] = await tx.query<Stored>({
      name: 'sums.ofDay',
      text: `SELECT start, place, value, sessions, with_errors AS "withErrors", duration, user_list AS list,
                    ${sendBits('user_bits')} AS bits, durations
             FROM session_sums
             WHERE project_id = $1 AND dimension = $2 AND seconds = ${BLOCK} AND (start, place) > ($3, $4) AND start < $5
               AND start <> $6
             ORDER BY start, place LIMIT ${SUMS_PAGE}`,
      values: [projectId, made.dimension, ...after, new Date(day + DAY * 1_000), new Date(made.start)],
    });
    for (const { place, duration, bits, ...rest } of page) {
      if (place === TOO_MANY) span.hasTooMany = true;
      addPart(span, { ...rest, duration: Number(duration), bits: bits === null ? null : bitsOf(bits) });
    }
    const last = page.at(-1);
    after = page.length === SUMS_PAGE ? [last!.start, last!.place] : null;
  }
  return span;
}

const hex = (bytes: Uint8Array | null, begin: string): string | null =>
  bytes && begin + Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('hex');

/** The rows of a span, as JSON. */
function* rowsOf(projectId: string, { dimension, seconds, start, sums, hasTooMany }: Span) {
  const place = { project_id: projectId, dimension, seconds, start: new Date(start).toISOString() };
  if (hasTooMany) yield { ...place, place: TOO_MANY, value: null, sessions: 0, with_errors: 0, duration: 0, users: 0 };
  else
    for (const [index, [value, sum]] of [...sums].entries()) {
      yield {
        ...place,
        place: index,
        value,
        sessions: sum.sessions,
        with_errors: sum.withErrors,
        duration: sum.duration,
        users: sum.users.count(),
        user_list: hex(sum.users.list, '\\x'),
        user_bits: hex(sum.users.bits, 'x'),
        durations: hex(sum.durations?.encode() ?? null, '\\x'),
      };
    }
}

/** The rows of spans, as JSON of SUMS_PAGE rows each. */
async function pagesOf({ projectId }: Reach, spans: readonly Span[], stop: AbortSignal): Promise<string[]> {
  const pages: string[] = [];
  let rows: string[] = [];
  const endPage = (): void => {
    pages.push(`[${rows.join(',')}]`);
    rows = [];
  };
  for (const span of spans) {
    for (const row of rowsOf(projectId, span)) {
      rows.push(JSON.stringify(row));
      if (rows.length % AT_ONCE === 0) await pause();
      if (rows.length < SUMS_PAGE) continue;
      endPage();
      stop.throwIfAborted();
    }
  }
  if (rows.length > 0) endPage();
  return pages;
}

const deleteSums = (tx: Queryable, { projectId }: Reach, seconds: number, start: number, end: number) =>
  tx.query({
    name: 'sums.delete',
    // With each dimension, so that the primary key finds them.
    text: `DELETE FROM session_sums WHERE project_id = $1 AND dimension = ANY($2::text[]) AND seconds = $3 AND start >= $4 AND start < $5`,
    values: [projectId, [ALL, ...DIMENSIONS.map(([dimension]) => dimension)], seconds, new Date(start), new Date(end)],
  });

/** A block whose sums are not right. */
export interface MarkedBlock {
  readonly reach: Reach;
  /** Its start; milliseconds since the epoch. */
  readonly block: number;
}

/**
 * Of each project the latest marked block that began before `before`; with a reach, of that project alone. 5 µs for each project.
 */
export async function latestMarked(
  database: Database,
  before: Date,
  reach: Reach | null = null,
): Promise<MarkedBlock[]> {
  const rows = await database.query<{ projectId: string; block: Date }>({
    name: 'sums.marked',
    text: `SELECT p.id AS "projectId", m.block FROM projects p CROSS JOIN LATERAL (
             SELECT block FROM session_sum_marks WHERE project_id = p.id AND block < $1 ORDER BY block DESC LIMIT 1
           ) m ${reach ? 'WHERE p.id = $2' : ''} ORDER BY p.id`,
    values: reach ? [before, reach.projectId] : [before],
  });
  return rows.map(({ projectId, block }) => ({ reach: { projectId, userIds: null }, block: block.getTime() }));
}

/** Marks that are deleted at once. */
const MARKS_AT_ONCE = 100_000;

/**
 * Leaves at most `atOnce` of the marks of a block that this sees. Each statement is a short transaction of its own, so that
 * makeSums deletes few, however many changes a block has had. Ends early when `stop` is aborted.
 */
export async function thinMarks(
  database: Database,
  { reach: { projectId }, block }: MarkedBlock,
  stop: AbortSignal,
  atOnce = MARKS_AT_ONCE,
): Promise<void> {
  for (let isMore = true; isMore && !stop.aborted;) {
    // The mark that is kept stands for those before it. It is written, so whoever makes the block from an older snapshot fails.
    const [row] = await database.query<{ isMore: boolean }>({
      name: 'sums.thinMarks',
      text: `WITH kept AS (
               UPDATE session_sum_marks SET block = block WHERE project_id = $1 AND block = $2 AND id = (
                 SELECT id FROM session_sum_marks WHERE project_id = $1 AND block = $2 ORDER BY id OFFSET $3 LIMIT 1
               ) RETURNING id
             ), gone AS (
               DELETE FROM session_sum_marks WHERE project_id = $1 AND block = $2 AND id < (SELECT id FROM kept)
             ) SELECT EXISTS (SELECT FROM kept) AS "isMore"`,
      values: [projectId, new Date(block), atOnce],
    });
    isMore = row!.isMore;
  }
}

/** A mark of another block of the day. Null: there is none. */
async function otherMark(tx: Queryable, { projectId }: Reach, day: number, block: number) {
  const [mark] = await tx.query<{ block: Date; id: string }>({
    name: 'sums.otherMark',
    text: `SELECT block, id FROM session_sum_marks WHERE project_id = $1 AND block >= $2 AND block < $3 AND block <> $4 LIMIT 1`,
    values: [projectId, new Date(day), new Date(day + DAY * 1_000), new Date(block)],
  });
  return mark ?? null;
}

/**
 * Makes the sums of a block, and those of its day if no other block of the day is marked: a day with a marked block has none, as
 * nobody may read them. One snapshot: a mark that it does not see stays, and belongs to a change that it does not see either.
 *
 * All is read and added up before the first row is written. So the transaction has an id for a short time only: what waits for the
 * oldest transaction under way (the feed of changes, the minutes of presence) does not wait for the reading.
 *
 * Only one server at a time should do this (withSumsLock). If two do, one of them fails: they delete the same marks, or one
 * deletes the mark on which the other relies.
 *
 * When `stop` is aborted, it ends before the next page with the signal's reason, and nothing is made.
 */
export function makeSums(database: Database, { reach, block }: MarkedBlock, stop: AbortSignal): Promise<void> {
  const { projectId } = reach;
  const day = startOfSpan(block, DAY);
  return database.transaction(async (tx) => {
    await tx.query({ name: 'sums.snapshot', text: 'SET TRANSACTION ISOLATION LEVEL REPEATABLE READ' });
    const spans = await sumBlock(tx, reach, block, stop);
    const pages = await pagesOf(reach, spans, stop);
    const other = await otherMark(tx, reach, day, block);
    if (!other) {
      for (const made of spans.filter(({ seconds }) => seconds === BLOCK))
        pages.push(...(await pagesOf(reach, [await sumDay(tx, reach, day, made, stop)], stop)));
    }

    await tx.query({
      name: 'sums.deleteMarks',
      text: 'DELETE FROM session_sum_marks WHERE project_id = $1 AND block = $2',
      values: [projectId, new Date(block)],
    });
    if (other) {
      // Whoever makes the other block from a snapshot without this one fails, and does not make a wrong day.
      await tx.query({
        name: 'sums.keepMark',
        text: 'UPDATE session_sum_marks SET block = block WHERE project_id = $1 AND block = $2 AND id = $3',
        values: [projectId, other.block, other.id],
      });
    }
    for (const seconds of [QUARTER, HOUR, BLOCK]) await deleteSums(tx, reach, seconds, block, block + BLOCK * 1_000);
    await deleteSums(tx, reach, DAY, day, day + DAY * 1_000);
    for (const page of pages) {
      stop.throwIfAborted();
      await tx.query({
        name: 'sums.write',
        text: 'INSERT INTO session_sums SELECT * FROM json_populate_recordset(NULL::session_sums, $1)',
        values: [page],
      });
    }
  });
}

/**
 * Does `work` if no other server is at it. The transactions of `work` begin after the lock is taken, so that they see all that was
 * made before.
 */
export function withSumsLock(database: Database, work: () => Promise<void>): Promise<void> {
  return database.transaction(async (tx) => {
    if (await holdLock(tx, 'sums', `hashtext('footsteps.session_sums')`)) await work();
  });
}
