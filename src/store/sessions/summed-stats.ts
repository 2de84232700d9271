import { setImmediate as pause } from 'node:timers/promises';
import type { Reach } from '../../domain/access.js';
import type { SessionDimension } from '../../domain/breakdown.js';
import { CLASS_WIDTH, DurationSketch } from '../../domain/duration-sketch.js';
import type { SessionFilter } from '../../domain/filters.js';
import { BLOCK, coverOf, DAY, startOfSpan, type Cover, type Stretch } from '../../domain/spans.js';
import { ID_BYTES, UserSketch } from '../../domain/user-sketch.js';
import type { Database, Queryable } from '../database.js';
import { Prisma } from '../generated/prisma/client.js';
import { intervalsOf, pointsOf, type SeriesRange } from '../intervals.js';
import { dimensionOf, LARGEST_FIRST, readSessionBreakdown, type Breakdown } from './breakdown.js';
import type { Sql } from './session-filter.js';
import { readSeries, readTotals, type SessionStatsPoint, type SessionTotals } from './session-stats.js';
import { ALL, bitsOf, MILLISECONDS, sendBits, TOO_MANY } from './session-sums.js';

/**
 * Figures of many sessions, put together from stored sums (session-sums.ts) and, where there are none, from the sessions
 * themselves: open sessions, the last hours, what has changed lately, and what of the range is not a whole quarter of an hour. It
 * is one snapshot, so each session is counted once. Whatever has no sums, or is small, is read as before, and is exact.
 */
const { sql, raw, empty } = Prisma;

/** Up to so many sessions in sums, the sessions themselves are read instead: 40 ms. */
const MOST_FROM_ROWS = 10_000;
/** If more blocks of the range are marked, the sums are of little use, and the sessions are read. */
const MOST_MARKED = 100;

/** If more intervals consist of several pieces, their users would be more than an operation may read: 3.5 kB each. */
const MOST_PUT_TOGETHER = 1_000;
/** Points or groups whose users are counted without a pause: 0.1 ms each. */
const AT_ONCE = 50;
/** Users of a list that are counted without a pause: 5 ms. The list of the sessions that are in no sum may be long. */
const USERS_AT_ONCE = 10_000;

/** Whether the sums can answer: of all users, and without conditions beside the range. */
const hasSums = (reach: Reach, filter: SessionFilter | null): boolean =>
  reach.userIds === null &&
  Object.entries(filter ?? {}).every(([name, condition]) => name === 'startedAt' || condition == null);

/** Which sums and which sessions make the answer. */
interface Sources {
  readonly reach: Reach;
  readonly cover: Cover;
  readonly range: Stretch;
  /** When the first session of the range started. */
  readonly earliest: Date;
}

/** The first and the last start of a session in the range. Null: there is none. */
async function endsOf(tx: Queryable, { projectId }: Reach, filter: SessionFilter | null) {
  const { from, to } = filter?.startedAt ?? {};
  const start = (order: string): Sql => sql`(SELECT s.started_at FROM sessions s WHERE s.project_id = ${projectId}::uuid
    ${from ? sql`AND s.started_at >= ${from}` : empty} ${to ? sql`AND s.started_at < ${to}` : empty}
    ORDER BY s.started_at ${raw(order)} LIMIT 1)`;
  const { text, values } = sql`SELECT ${start('ASC')} AS first, ${start('DESC')} AS last`;
  const [row] = await tx.query<{ first: Date | null; last: Date | null }>({ name: 'sums.ends', text, values });
  const { first, last } = row!;
  return first && last ? { first, last } : null;
}

/** The marked blocks of a range, at most one more than MOST_MARKED. From block to block, however many marks each has. */
async function markedBlocks(tx: Queryable, { projectId }: Reach, { from, to }: Stretch): Promise<Set<number>> {
  const rows = await tx.query<{ block: Date }>({
    name: 'sums.marks',
    text: `WITH RECURSIVE blocks AS (
             (SELECT block FROM session_sum_marks WHERE project_id = $1 AND block >= $2 AND block < $3 ORDER BY block LIMIT 1)
             UNION ALL
             SELECT n.block FROM blocks b CROSS JOIN LATERAL (
               SELECT block FROM session_sum_marks WHERE project_id = $1 AND block > b.block AND block < $3 ORDER BY block LIMIT 1
             ) n
           ) SELECT block FROM blocks LIMIT ${MOST_MARKED + 1}`,
    values: [projectId, new Date(startOfSpan(from, BLOCK)), new Date(to)],
  });
  return new Set(rows.map(({ block }) => block.getTime()));
}

/** `session_sums s`, joined with the `pieces p` of the cover. */
function sumsOf({ reach, cover: { pieces } }: Sources, dimension: string): Sql {
  return sql`unnest(${pieces.map(({ seconds }) => seconds)}::integer[],
      ${pieces.map(({ start }) => new Date(start).toISOString())}::timestamptz[],
      ${pieces.map(({ place }) => place)}::integer[]) p (seconds, start, place)
    JOIN session_sums s ON s.project_id = ${reach.projectId}::uuid AND s.dimension = ${dimension}
      AND s.seconds = p.seconds AND s.start = p.start`;
}

/**
 * Rows of `columns` of the sessions `s` that are in no sum: the open ones, and the ended ones of the rest. Of the rest one stretch
 * after the other, or Postgres expects a ninth of all sessions and reads the table.
 */
function restOf({ reach, cover: { rest }, range }: Sources, columns: Sql): Sql {
  const instants = (which: (stretch: Stretch) => number): Sql =>
    sql`${rest.map((stretch) => new Date(which(stretch)).toISOString())}::timestamptz[]`;
  const sessions = sql`SELECT ${columns} FROM sessions s WHERE s.project_id = ${reach.projectId}::uuid`;
  return sql`${sessions} AND s.ended_at IS NULL AND s.started_at >= ${new Date(range.from)} AND s.started_at < ${new Date(range.to)}
      UNION ALL
      SELECT e.* FROM unnest(${instants(({ from }) => from)}, ${instants(({ to }) => to)}) r (start, finish)
      CROSS JOIN LATERAL (
        ${sessions} AND s.ended_at IS NOT NULL AND s.started_at >= r.start AND s.started_at < r.finish OFFSET 0
      ) e`;
}

/** The users of grouped rows as a list, as sums have it. */
const USER_LIST = raw(`string_agg(substring(uuid_send(user_id) FROM 1 FOR 8), ''::bytea)`);

/** What `work` reads in one snapshot from sums and sessions. Null: the sessions alone are to be read. */
function fromSums<Result>(
  database: Database,
  reach: Reach,
  {
    filter,
    bounds,
    shortest,
    mostFromRows,
  }: { filter: SessionFilter | null; bounds?: readonly Date[]; shortest?: number; mostFromRows: number },
  work: (tx: Queryable, sources: Sources) => Promise<Result | null>,
): Promise<Result | null> {
  return database.transaction(async (tx) => {
    await tx.query({ name: 'sums.snapshot', text: 'SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY' });
    const ends = await endsOf(tx, reach, filter);
    if (!ends) return null;
    const range = {
      from: Math.max(filter?.startedAt?.from?.getTime() ?? -Infinity, startOfSpan(ends.first.getTime(), DAY)),
      to: Math.min(filter?.startedAt?.to?.getTime() ?? Infinity, startOfSpan(ends.last.getTime(), DAY) + DAY * 1_000),
    };
    const marked = await markedBlocks(tx, reach, range);
    if (marked.size > MOST_MARKED) return null;
    const cover = coverOf(bounds?.map((at) => at.getTime()) ?? [range.from], range, marked, shortest);
    const putTogether = cover.pieces.filter(({ place }, at) => cover.pieces[at - 1]?.place === place);
    if (new Set(putTogether.map(({ place }) => place)).size > MOST_PUT_TOGETHER) return null;
    const left = cover.rest.reduce((sum, { from, to }) => sum + to - from, 0);
    if (left > (range.to - range.from) / 2) return null;
    const sources = { reach, cover, range, earliest: ends.first };
    const { text, values } = sql`SELECT coalesce(sum(s.sessions), 0)::float8 AS sessions FROM ${sumsOf(sources, ALL)}`;
    const [row] = await tx.query<{ sessions: number }>({ name: 'sums.size', text, values });
    return row!.sessions > mostFromRows ? work(tx, sources) : null;
  });
}

/** What sums and sessions have together. With one part alone `users` is its number; otherwise the parts are to be put together. */
interface Users {
  readonly parts: number;
  readonly users: number;
  readonly list: Buffer | null;
  readonly bits: string | null;
}
const USERS = raw(`count(*)::integer AS parts, max(users)::integer AS users,
  CASE WHEN count(*) > 1 THEN string_agg(user_list, ''::bytea) END AS list,
  CASE WHEN count(*) > 1 THEN ${sendBits('bit_or(user_bits)')} END AS bits`);

async function countUsers({ parts, users, list, bits }: Users): Promise<number> {
  if (parts === 1) return users;
  const sketch = new UserSketch();
  if (bits) sketch.addTable(bitsOf(bits));
  const length = USERS_AT_ONCE * ID_BYTES;
  for (let at = 0; list && at < list.length; at += length) {
    if (at > 0) await pause();
    sketch.addList(list.subarray(at, at + length));
  }
  return sketch.count();
}

/** The rows, each with the number of its users. */
async function withUsers<Row extends Users>(rows: readonly Row[]): Promise<Row[]> {
  const counted: Row[] = [];
  for (const row of rows) {
    counted.push({ ...row, users: await countUsers(row) });
    if (counted.length % AT_ONCE === 0) await pause();
  }
  return counted;
}

interface Figures extends Users {
  readonly place: number;
  readonly sessions: number;
  readonly withErrors: number;
  /** Milliseconds. */
  readonly duration: number;
}

/** The figures of each interval, `placeOf` as in Intervals. */
function readFigures(tx: Queryable, sources: Sources, placeOf: Sql): Promise<Figures[]> {
  const columns = sql`${placeOf} AS place, s.user_id, s.error_count, ${raw(MILLISECONDS)} AS duration`;
  const { text, values } = sql`
    SELECT place, sum(sessions)::integer AS sessions, sum(with_errors)::integer AS "withErrors",
           sum(duration)::float8 AS duration, ${USERS}
    FROM (
      SELECT p.place, s.sessions, s.with_errors, s.duration::float8 AS duration, s.users, s.user_list, s.user_bits
      FROM ${sumsOf(sources, ALL)}
      UNION ALL
      SELECT place, sum(sessions), sum(with_errors), sum(duration), count(user_id), ${USER_LIST}, NULL
      FROM (
        SELECT place, user_id, count(*) AS sessions, count(*) FILTER (WHERE error_count > 0) AS with_errors, sum(duration) AS duration
        FROM (${restOf(sources, columns)}) m GROUP BY place, user_id
      ) n GROUP BY place
    ) parts GROUP BY place`;
  return tx.query<Figures>({ name: 'sums.figures', text, values });
}

/** How often each duration occurs. */
async function readDurations(tx: Queryable, sources: Sources): Promise<DurationSketch> {
  const sums = sql`SELECT s.durations FROM ${sumsOf(sources, ALL)}`;
  // The same classes as in DurationSketch.
  const rest = sql`
    SELECT CASE WHEN duration <= 0 THEN 0 ELSE 1 + ceil(ln(duration) / ${CLASS_WIDTH}::float8) END::integer AS place,
           count(*)::integer AS count
    FROM (${restOf(sources, raw(`${MILLISECONDS} AS duration`))}) m GROUP BY 1`;
  const [stored, read] = await Promise.all([
    tx.query<{ durations: Buffer }>({ name: 'sums.durations', text: sums.text, values: sums.values }),
    tx.query<{ place: number; count: number }>({ name: 'sums.restDurations', text: rest.text, values: rest.values }),
  ]);
  const sketch = new DurationSketch();
  for (const { durations } of stored) sketch.addEncoded(durations);
  for (const { place, count } of read) sketch.addClass(place, count);
  return sketch;
}

/** Seconds; null if there are no sessions. */
const meanOf = (milliseconds: number, sessions: number): number | null =>
  sessions === 0 ? null : milliseconds / sessions / 1_000;

/** The totals of the sessions that match (readTotals), of many sessions from sums. */
export async function readSummedTotals(
  database: Database,
  reach: Reach,
  filter: SessionFilter | null,
  mostFromRows = MOST_FROM_ROWS,
): Promise<SessionTotals> {
  const summed =
    hasSums(reach, filter) &&
    (await fromSums(database, reach, { filter, mostFromRows }, async (tx, sources) => {
      const [[figures], durations] = await Promise.all([
        readFigures(tx, sources, raw('1')),
        readDurations(tx, sources),
      ]);
      const { sessions, withErrors, duration } = figures!;
      const [medianDuration, p95Duration] = durations.percentiles([0.5, 0.95]);
      return {
        sessions,
        users: await countUsers(figures!),
        averageDuration: meanOf(duration, sessions),
        medianDuration: medianDuration!,
        p95Duration: p95Duration!,
        sessionsWithErrors: withErrors,
        earliest: sources.earliest,
      };
    }));
  return summed || readTotals(database, reach, filter);
}

/** One point for every interval of the range (readSeries), of many sessions from sums. */
export async function readSummedSeries(
  database: Database,
  reach: Reach,
  filter: SessionFilter | null,
  range: SeriesRange,
  mostFromRows = MOST_FROM_ROWS,
): Promise<SessionStatsPoint[]> {
  if (!hasSums(reach, filter)) return readSeries(database, reach, filter, range);
  const intervals = intervalsOf(range);
  const asked = { startedAt: { from: range.from, to: range.to } };
  const bounds = [range.from, ...intervals.starts.slice(1)];
  const rows = await fromSums(database, reach, { filter: asked, bounds, mostFromRows }, (tx, sources) =>
    readFigures(tx, sources, intervals.placeOf('s.started_at')),
  );
  if (!rows) return readSeries(database, reach, filter, range);
  const summed = (await withUsers(rows)).map(({ place, sessions, users, duration }) => ({
    place,
    sessions,
    users,
    averageDuration: meanOf(duration, sessions),
  }));
  return pointsOf<Omit<SessionStatsPoint, 'at'>>(intervals, summed, { sessions: 0, users: 0, averageDuration: null });
}

type Group = Users & {
  readonly total: number;
  readonly hasTooMany: boolean;
  readonly value: string | null;
  /** Null: there is no group. */
  readonly count: number | null;
  readonly duration: number;
};

/** The `first` largest groups of the matching sessions (readSessionBreakdown), of many sessions from sums. */
export async function readSummedBreakdown(
  database: Database,
  reach: Reach,
  by: SessionDimension,
  filter: SessionFilter | null,
  first: number,
  mostFromRows = MOST_FROM_ROWS,
): Promise<Breakdown> {
  const summed =
    hasSums(reach, filter) &&
    (await fromSums(database, reach, { filter, shortest: BLOCK, mostFromRows }, async (tx, sources) => {
      const columns = sql`${dimensionOf(by)} AS value, s.user_id, ${raw(MILLISECONDS)} AS duration`;
      const { text, values } = sql`
        WITH rest AS MATERIALIZED (
          SELECT value, user_id, count(*) AS sessions, sum(duration) AS duration
          FROM (${restOf(sources, columns)}) m GROUP BY value, user_id
        ), groups AS MATERIALIZED (
          SELECT value, sum(sessions)::integer AS count, sum(duration)::float8 AS duration
          FROM (
            SELECT s.value, s.sessions, s.duration::float8 AS duration FROM ${sumsOf(sources, by)}
            UNION ALL
            SELECT value, sessions, duration FROM rest
          ) parts GROUP BY value
        ), top AS MATERIALIZED (
          SELECT * FROM groups WHERE count > 0 ORDER BY ${LARGEST_FIRST} LIMIT ${first}::integer
        ), named AS (
          SELECT coalesce(value, '') AS name, value IS NULL AS is_null, * FROM top
        ), counted AS (
          SELECT name, is_null, ${USERS}
          FROM (
            SELECT n.name, n.is_null, s.users, s.user_list, s.user_bits FROM ${sumsOf(sources, by)}
            JOIN named n ON n.name = coalesce(s.value, '') AND n.is_null = (s.value IS NULL)
            UNION ALL
            SELECT n.name, n.is_null, count(user_id), ${USER_LIST}, NULL FROM rest r
            JOIN named n ON n.name = coalesce(r.value, '') AND n.is_null = (r.value IS NULL) GROUP BY n.name, n.is_null
          ) parts GROUP BY name, is_null
        )
        SELECT t.total, t."hasTooMany", n.value, n.count, n.duration, u.parts, u.users, u.list, u.bits
        FROM (
          SELECT (SELECT coalesce(sum(count), 0)::integer FROM groups) AS total,
                 EXISTS (SELECT FROM ${sumsOf(sources, by)} WHERE s.place = ${TOO_MANY}::integer) AS "hasTooMany"
        ) t LEFT JOIN (named n JOIN counted u USING (name, is_null)) ON true
        ORDER BY ${LARGEST_FIRST}`;
      const rows = await tx.query<Group>({ name: `sums.breakdown.${by}`, text, values });
      if (rows[0]!.hasTooMany) return null;
      return {
        groups: (await withUsers(rows)).flatMap(({ value, count, users, duration }) =>
          count === null ? [] : [{ value, count, users, averageDuration: meanOf(duration, count) }],
        ),
        totalCount: rows[0]!.total,
      };
    }));
  return summed || readSessionBreakdown(database, reach, by, filter, first);
}
