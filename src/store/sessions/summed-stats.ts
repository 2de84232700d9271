import type { Reach } from '../../domain/access.js';
import { SESSION_DIMENSIONS, type SessionDimension } from '../../domain/breakdown.js';
import { CLASS_WIDTH, DurationSketch } from '../../domain/duration-sketch.js';
import type { SessionFilter } from '../../domain/filters.js';
import type { Database, Queryable } from '../database.js';
import { Prisma } from '../generated/prisma/client.js';
import { intervalsOf, pointsOf, type SeriesRange } from '../intervals.js';
import { dimensionOf, readSessionBreakdown, type Breakdown } from './breakdown.js';
import {
  countUsers,
  fromSums,
  groupsAndUsers,
  groupsOfRest,
  hasSums,
  meanOf,
  MOST_FROM_ROWS,
  piecesOf,
  readGroups,
  restOf,
  unlessTooMany,
  USERS,
  withUsers,
  type Sources,
  type SummedRows,
  type Users,
} from './from-sums.js';
import type { Sql } from './session-filter.js';
import { MILLISECONDS } from './session-sums.js';
import { readSeries, readTotals, type SessionStatsPoint, type SessionTotals } from './session-stats.js';
import { ALL } from './sums.js';

/** Figures of many sessions, from stored sums and from the sessions that are in none (from-sums.ts). These are the open ones, too. */
const { sql, raw, empty } = Prisma;

/** So many open sessions that started after the end of a range are looked at: 1 ms. */
const MOST_OPEN_BEYOND = 1_000;

/** SQL: what the session that a mark `m` names was grouped by. */
const wasOf = (by: SessionDimension): Sql => raw(`m.was->>'${SESSION_DIMENSIONS[by].column}'`);

const SESSIONS: SummedRows = {
  name: 'sums',
  table: 'session_sums',
  marks: 'session_sum_marks',
  time: { ofRow: 's.started_at', ofMark: 'm.added_at', type: 'timestamptz', of: (at) => new Date(at).toISOString() },
  isNamed: 's.started_at = m.added_at AND s.id = m.added',
  // A session that had ended must be there with its start and its user, if it had one: no mark says what became of it while it was
  // open. Of one that has another value now, the users of the value that it had are not known.
  isMore: (by, beyond) =>
    sql`m.was IS NOT NULL AND (m.added_at >= ${new Date(beyond.from)} AND m.added_at < ${new Date(beyond.to)} OR NOT EXISTS (
        SELECT FROM sessions s WHERE s.project_id = m.project_id AND s.id = m.added AND s.started_at = m.added_at
          AND (m.was->>'user_id' IS NULL OR s.user_id = (m.was->>'user_id')::uuid)
          ${by === null ? empty : sql`AND ${dimensionOf(by as SessionDimension)} IS NOT DISTINCT FROM ${wasOf(by as SessionDimension)}`}))`,
  count: 'sessions',
  duration: 's.duration::float8',
  async endsOf(tx, { projectId }, { from, to }) {
    const start = (
      order: string,
    ): Sql => sql`(SELECT s.started_at FROM sessions s WHERE s.project_id = ${projectId}::uuid
      ${from ? sql`AND s.started_at >= ${from}` : empty} ${to ? sql`AND s.started_at < ${to}` : empty}
      ORDER BY s.started_at ${raw(order)} LIMIT 1)`;
    // Those that started lately are open, and in no sum.
    const next = to
      ? sql`(SELECT n.started_at FROM (
          SELECT s.started_at, s.ended_at, row_number() OVER (ORDER BY s.started_at) AS place FROM sessions s
          WHERE s.project_id = ${projectId}::uuid AND s.started_at >= ${to} ORDER BY s.started_at LIMIT ${MOST_OPEN_BEYOND}::integer
        ) n WHERE n.ended_at IS NOT NULL OR n.place = ${MOST_OPEN_BEYOND}::integer ORDER BY n.started_at LIMIT 1)`
      : raw('NULL::timestamptz');
    const { text, values } = sql`SELECT ${start('ASC')} AS first, ${start('DESC')} AS last, ${next} AS next`;
    const [row] = await tx.query<{ first: Date | null; last: Date | null; next: Date | null }>({
      name: 'sums.ends',
      text,
      values,
    });
    const { first, last, next: beyond } = row!;
    return first && last ? { first, last, next: beyond } : null;
  },
  untilOf: async () => Infinity,
};

/**
 * Rows of `columns` of the sessions `s` that are in no sum, and how often each counts (n): the open ones, and the ended ones of the
 * rest. `was`: these columns of what the sums have of a session that has changed since. Its user is in the sums.
 */
function sessionsOfRest(sources: Sources, columns: Sql, was: Sql): Sql {
  const { reach, range } = sources;
  const sessions = sql`SELECT ${columns}, 1 AS n FROM sessions s WHERE s.project_id = ${reach.projectId}::uuid`;
  return sql`${sessions} AND s.ended_at IS NULL AND s.started_at >= ${new Date(range.from)} AND s.started_at < ${new Date(range.to)}
      UNION ALL
      ${restOf(sources, sql`${sessions} AND s.ended_at IS NOT NULL`, sql`UNION ALL SELECT ${was}, -1 WHERE m.was IS NOT NULL`)}`;
}

interface Figures extends Users {
  readonly sessions: number;
  readonly withErrors: number;
  /** Milliseconds. */
  readonly duration: number;
}

/** The columns of sums, and what a session adds to each. */
const REST = { sessions: 'n', with_errors: 'n * with_errors', duration: 'n * duration' };
/** What of a session is counted, beside its user: as it is, and as it was. */
const COUNTED = raw(`(s.error_count > 0)::integer AS with_errors, ${MILLISECONDS} AS duration`);
const WAS_COUNTED = raw(`(m.was->>'with_errors')::integer, (m.was->>'duration')::float8`);

const FIGURES = raw(`sum(sessions)::integer AS sessions, sum(with_errors)::integer AS "withErrors",
  sum(duration)::float8 AS duration, ${USERS.sql}`);
const OF_SUM = raw('s.sessions, s.with_errors, s.duration::float8 AS duration, s.users, s.user_list, s.user_bits');

/** The figures of each interval. `placeOf` as in Intervals, of an instant. */
async function readFigures(tx: Queryable, sources: Sources, placeOf: (at: string) => Sql) {
  const rest = sessionsOfRest(
    sources,
    sql`${placeOf('s.started_at')} AS place, s.user_id, ${COUNTED}`,
    sql`${placeOf('m.added_at')}, NULL::uuid, ${WAS_COUNTED}`,
  );
  const { text, values } = sql`
    SELECT place, ${FIGURES}
    FROM (
      SELECT p.place, ${OF_SUM} FROM ${piecesOf(sources, ALL)}
      UNION ALL
      SELECT *, NULL FROM (${groupsOfRest(sources, rest, 'place', REST)}) rest
    ) parts GROUP BY place`;
  return unlessTooMany(await tx.query<Figures & { readonly place: number }>({ name: 'sums.figures', text, values }));
}

/** SQL: the class of a duration, as in DurationSketch. */
const CLASS = raw(`CASE WHEN duration <= 0 THEN 0 ELSE 1 + ceil(ln(duration) / ${CLASS_WIDTH}::float8) END::integer`);

interface AllFigures extends Figures {
  /** The durations of what is in no sum: their classes, and how often each occurs. */
  readonly classes: readonly number[];
  readonly counts: readonly number[];
}

/**
 * The figures of all intervals together. What is in no sum is read once, grouped by the classes of durations. Nearly each session of a
 * user is in another class, so if each user is to be there once, the users are apart from the classes.
 */
async function readAllFigures(tx: Queryable, sources: Sources) {
  const sessions = sessionsOfRest(sources, sql`s.user_id, ${COUNTED}`, sql`NULL::uuid, ${WAS_COUNTED}`);
  const rows = sql`SELECT ${CLASS} AS class, user_id, with_errors, duration, n FROM (${sessions}) m`;
  const { text, values } = sql`
    WITH sessions_of_rest AS (${rows}), rest AS MATERIALIZED (${
      sources.hasRepeats
        ? groupsOfRest(sources, raw('SELECT * FROM sessions_of_rest'), 'class', REST)
        : groupsAndUsers('sessions_of_rest', 'class', REST)
    })
    SELECT ${FIGURES}, ARRAY(SELECT class FROM rest WHERE class IS NOT NULL ORDER BY class) AS classes,
           ARRAY(SELECT sessions::integer FROM rest WHERE class IS NOT NULL ORDER BY class) AS counts
    FROM (
      SELECT ${OF_SUM} FROM ${piecesOf(sources, ALL)}
      UNION ALL
      SELECT sessions, with_errors, duration, users, user_list, NULL FROM rest
    ) parts`;
  return unlessTooMany(await tx.query<AllFigures>({ name: 'sums.figures', text, values }));
}

/** How often each duration occurs in sums. */
async function readDurations(tx: Queryable, sources: Sources): Promise<DurationSketch> {
  const { text, values } = sql`SELECT s.durations FROM ${piecesOf(sources, ALL)}`;
  const sketch = new DurationSketch();
  for (const { durations } of await tx.query<{ durations: Buffer }>({ name: 'sums.durations', text, values }))
    sketch.addEncoded(durations);
  return sketch;
}

/** The totals of the sessions that match (readTotals), of many sessions from sums. */
export async function readSummedTotals(
  database: Database,
  reach: Reach,
  filter: SessionFilter | null,
  mostFromRows = MOST_FROM_ROWS,
): Promise<SessionTotals> {
  const summed =
    hasSums(reach, filter, 'startedAt') &&
    (await fromSums(
      database,
      SESSIONS,
      reach,
      { range: filter?.startedAt ?? {}, mostFromRows },
      async (tx, sources) => {
        const [found, durations] = await Promise.all([readAllFigures(tx, sources), readDurations(tx, sources)]);
        if (!Array.isArray(found)) return found;
        const [figures] = found;
        const { sessions, withErrors, duration, classes, counts } = figures!;
        for (const [at, place] of classes.entries()) durations.addClass(place, counts[at]!);
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
      },
    ));
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
  if (!hasSums(reach, filter, 'startedAt')) return readSeries(database, reach, filter, range);
  const intervals = intervalsOf(range);
  const bounds = [range.from, ...intervals.starts.slice(1)];
  const rows = await fromSums(database, SESSIONS, reach, { range, bounds, mostFromRows }, (tx, sources) =>
    readFigures(tx, sources, intervals.placeOf),
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
    hasSums(reach, filter, 'startedAt') &&
    (await fromSums(
      database,
      SESSIONS,
      reach,
      { range: filter?.startedAt ?? {}, by, mostFromRows },
      async (tx, sources) => {
        const rest = sessionsOfRest(
          sources,
          sql`${dimensionOf(by)} AS value, s.user_id, ${raw(MILLISECONDS)} AS duration`,
          sql`${wasOf(by)}, NULL::uuid, (m.was->>'duration')::float8`,
        );
        return readGroups(tx, sources, by, rest, first);
      },
    ));
  return summed || readSessionBreakdown(database, reach, by, filter, first);
}
