import { setImmediate as pause } from 'node:timers/promises';
import type { Reach } from '../../domain/access.js';
import type { TimeRange } from '../../domain/filters.js';
import {
  BLOCK,
  coverOf,
  DAY,
  HOUR,
  QUARTER,
  startOfSpan,
  type Cover,
  type Missing,
  type Stretch,
} from '../../domain/spans.js';
import { ID_BYTES, UserSketch } from '../../domain/user-sketch.js';
import type { Database, Queryable } from '../database.js';
import { Prisma } from '../generated/prisma/client.js';
import { LARGEST_FIRST, type Breakdown } from './breakdown.js';
import type { Sql } from './session-filter.js';
import { ALL, bitsOf, PACKED, sendBits, TOO_MANY } from './sums.js';

/**
 * Figures of many sessions or events, put together from stored sums (sums.ts) and, where there are none, from the rows themselves:
 * the last hours, what has changed lately, and what of the range is not a whole quarter of an hour. It is one snapshot, so each row is
 * counted once. Whatever has no sums, or is small, is read as before, and is exact.
 */
const { sql, raw, empty } = Prisma;

/** Up to so many sessions or events in sums, the rows are read instead: 40 ms. */
export const MOST_FROM_ROWS = 10_000;
/** If more marked blocks of the range have to be read from their rows, the sums are of little use, and all rows are read. */
const MOST_MISSING = 100;
/** So they are if more blocks are marked at all. Of those whose marks name rows these alone are read. */
const MOST_MARKED = 1_000;

/**
 * Of a block whose marks name rows, so many are read one by one, beside its sums. If there are more, all of it is read. So it is
 * with more of the whole range: then the blocks with the fewest are read one by one. A row that is named costs 3 to 4 µs, one of a
 * block that is read 1 µs: so of a block with many rows, and of a range with such blocks, a quarter of its rows may be named, up to
 * a bound (70 ms).
 */
export const MOST_ADDED = 2_000;
export const MOST_ADDED_OF_RANGE = 4_000;
const SHARE_ADDED = 4;
const MOST_ADDED_OF_LARGE = 20_000;

/** If more intervals consist of several pieces, their users would be more than an operation may read: 3.5 kB each. */
const MOST_PUT_TOGETHER = 1_000;
/** Points or groups whose users are counted without a pause: 0.1 ms each. */
const AT_ONCE = 50;
/** Users of a list that are counted without a pause: 5 ms. The list of what is in no sum may be long. */
const USERS_AT_ONCE = 10_000;

interface Ends {
  readonly first: Date;
  readonly last: Date;
  readonly next: Date | null;
}

/** Which sums are read. */
export interface SummedRows {
  /** Begins the names of the statements. */
  readonly name: string;
  readonly table: string;
  readonly marks: string;
  /** What says when a row was, also a row that a mark `m` names: SQL, its type, and how an instant is written there. */
  readonly time: { readonly ofRow: string; readonly ofMark: string; readonly type: string; of(at: number): string };
  /** SQL: the row is the one that the mark `m` names. */
  readonly isNamed: string;
  /**
   * SQL: the mark `m` names a row, and yet something else may have changed in the sums of a dimension, or of all rows (null), or the
   * row is in `beyond`: after the end of the range, in a span that it cuts.
   */
  isMore(by: string | null, beyond: Stretch): Sql;
  /** The column with the number of rows. */
  readonly count: string;
  /** SQL: the sum of the durations of a sum `s`, in milliseconds. */
  readonly duration: string;
  /**
   * When the first and the last row of a range was, and an instant from its end on before which no row is in sums (the end itself, if
   * that is not known). Null: there is no row; no end, or no row after it.
   */
  endsOf(tx: Queryable, reach: Reach, range: TimeRange): Promise<Ends | null>;
  /** Up to which instant there are sums. Milliseconds since the epoch. */
  untilOf(tx: Queryable, reach: Reach): Promise<number>;
}

/** Whether the sums can answer: of all users, and without conditions beside `range`. */
export const hasSums = (reach: Reach, filter: object | null, range: string): boolean =>
  reach.userIds === null &&
  Object.entries(filter ?? {}).every(([name, condition]) => name === range || condition == null);

/** Which sums and which rows make the answer. */
export interface Sources {
  readonly of: SummedRows;
  readonly reach: Reach;
  readonly cover: Cover;
  /** Blocks with rows that are in no sum, though their spans have sums: their marks name them. */
  readonly added: readonly number[];
  readonly range: Stretch;
  /** When the first row of the range was. */
  readonly earliest: Date;
  /** Whether lists of users may name a user several times (groupsOfRest). */
  readonly hasRepeats: boolean;
}

/** What the marks of a range say. */
interface Marks {
  readonly missing: Missing;
  /** Of these blocks the rows that marks name are to be added to the sums. */
  readonly added: readonly number[];
}

/**
 * Null: too many blocks are marked, or missing. From block to block, however many marks each has. A day whose sums are there has
 * those of its blocks, as they are. So they are right together with what marks name. `end`: of the range; `to` may be after it.
 */
async function readMarks(
  tx: Queryable,
  of: SummedRows,
  { projectId }: Reach,
  { from, to }: Stretch,
  by: string | null,
  end: number,
): Promise<Marks | null> {
  const { name, table, marks } = of;
  const ofProject = sql`project_id = ${projectId}::uuid`;
  const before = sql`block < ${new Date(to)}`;
  const { text, values } = sql`
    WITH RECURSIVE blocks AS (
      (SELECT block FROM ${raw(marks)} WHERE ${ofProject} AND block >= ${new Date(startOfSpan(from, BLOCK))} AND ${before} ORDER BY block LIMIT 1)
      UNION ALL
      SELECT n.block FROM blocks b CROSS JOIN LATERAL (
        SELECT block FROM ${raw(marks)} WHERE ${ofProject} AND block > b.block AND ${before} ORDER BY block LIMIT 1
      ) n
    ), found AS MATERIALIZED (
      SELECT block FROM blocks LIMIT ${MOST_MARKED + 1}::integer
    ), limits AS MATERIALIZED (
      SELECT f.block, least(${MOST_ADDED_OF_LARGE}::integer, greatest(${MOST_ADDED}::integer, (
        SELECT s.${raw(of.count)} / ${SHARE_ADDED}::integer FROM ${raw(table)} s
        WHERE s.${ofProject} AND s.dimension = ${ALL} AND s.seconds = ${BLOCK}::integer AND s.start = f.block
      ))) AS most FROM found f
    ), named AS (
      SELECT l.block, l.most, n.count FROM limits l CROSS JOIN LATERAL (
        SELECT CASE WHEN count(*) <= l.most AND bool_and(m.is_named) THEN count(*) END AS count
        FROM (
          SELECT m.added IS NOT NULL AS is_named FROM ${raw(marks)} m
          WHERE m.${ofProject} AND m.block = l.block AND (SELECT count(*) FROM found) <= ${MOST_MARKED}::integer
          LIMIT l.most + 1
        ) m
      ) n
    ), fewest AS MATERIALIZED (
      SELECT block, count IS NOT NULL AND sum(count) OVER (ORDER BY count, block) <= greatest(${MOST_ADDED_OF_RANGE}::integer, most) AS is_one
      FROM named
    ), looked AS MATERIALIZED (
      -- The rows of marks are looked up here, and so only of these blocks.
      SELECT f.block, f.is_one AND NOT EXISTS (
        SELECT FROM ${raw(marks)} m WHERE m.${ofProject} AND m.block = f.block AND ${of.isMore(by, { from: end, to })}
      ) AS is_added FROM fewest f
    ) SELECT block, is_added AS "isAdded",
        is_added AND EXISTS (SELECT FROM ${raw(table)} s WHERE s.${ofProject} AND s.dimension = ${ALL} AND s.seconds = ${DAY}::integer
                             AND s.start = date_bin('1 day', block, 'epoch')) AS "hasDay"
      FROM looked`;
  const rows = await tx.query<{ block: Date; isAdded: boolean; hasDay: boolean }>({
    name: `${name}.marks`,
    text,
    values,
  });
  const blocks = new Set(rows.flatMap(({ block, isAdded: are }) => (are ? [] : block.getTime())));
  if (rows.length > MOST_MARKED || blocks.size > MOST_MISSING) return null;
  const days = new Set(rows.flatMap(({ block, hasDay }) => (hasDay ? [] : startOfSpan(block.getTime(), DAY))));
  return { missing: { blocks, days }, added: rows.flatMap(({ block, isAdded: are }) => (are ? block.getTime() : [])) };
}

/** Which of these hours, of blocks that have sums, are stored by value. An hour that is stored and has rows has a value. */
async function readHours(
  tx: Queryable,
  { name, table }: SummedRows,
  { projectId }: Reach,
  by: string,
  hours: readonly number[],
): Promise<Set<number>> {
  const rows = await tx.query<{ start: Date }>({
    name: `${name}.hours`,
    text: `SELECT h.start FROM unnest($3::timestamptz[]) h (start) WHERE EXISTS (
             SELECT FROM ${table} s WHERE s.project_id = $1 AND s.dimension = $2 AND s.seconds = ${HOUR} AND s.start = h.start)`,
    values: [projectId, by, hours.map((hour) => new Date(hour).toISOString())],
  });
  return new Set(rows.map(({ start }) => start.getTime()));
}

/** SQL: the `pieces p` of the cover. */
const spansOf = ({ cover }: Sources): Sql =>
  sql`unnest(${cover.pieces.map(({ seconds }) => seconds)}::integer[],
      ${cover.pieces.map(({ start }) => new Date(start).toISOString())}::timestamptz[],
      ${cover.pieces.map(({ place }) => place)}::integer[]) p (seconds, start, place)`;

/** SQL: the stored sums `s` of a dimension, to be joined with pieces. */
const sumsOfPieces = ({ of, reach }: Sources, dimension: string): Sql =>
  sql`JOIN ${raw(of.table)} s ON s.project_id = ${reach.projectId}::uuid AND s.dimension = ${dimension}
        AND s.seconds = p.seconds AND s.start = p.start`;

/** SQL: the stored sums `s` of a dimension, joined with the `pieces p` of the cover. */
export const piecesOf = (sources: Sources, dimension: string): Sql =>
  sql`${spansOf(sources)} ${sumsOfPieces(sources, dimension)}`;

/**
 * SQL: the rows that are in no sum, of those that `rows` selects: one stretch of the rest after the other (or Postgres expects a
 * ninth of all rows and reads the table), and then those that marks name. `was`: what the sums have of the row that the mark `m`
 * names, with a count of -1.
 */
export function restOf({ of, reach, cover: { rest }, range, added }: Sources, rows: Sql, was: Sql = empty): Sql {
  const { ofRow, ofMark, type } = of.time;
  const written = (at: number): string => of.time.of(at);
  const stretches = (some: readonly Stretch[]): Sql =>
    sql`unnest(${some.map(({ from }) => written(from))}::${raw(type)}[], ${some.map(({ to }) => written(to))}::${raw(type)}[]) r (start, finish)`;
  const ofRest = sql`SELECT e.* FROM ${stretches(rest)}
    CROSS JOIN LATERAL (${rows} AND ${raw(ofRow)} >= r.start AND ${raw(ofRow)} < r.finish OFFSET 0) e`;
  if (added.length === 0) return ofRest;
  // What is in the rest is read there.
  const cut = rest.filter(({ from, to }) => added.some((block) => block < to && block + BLOCK * 1_000 > from));
  const at = raw(ofMark);
  return sql`${ofRest}
    UNION ALL
    SELECT e.* FROM (
      SELECT DISTINCT ON (m.added) m.* FROM ${raw(of.marks)} m
      WHERE m.project_id = ${reach.projectId}::uuid AND m.block = ANY(${added.map((block) => new Date(block).toISOString())}::timestamptz[])
        AND ${at} >= ${written(range.from)}::${raw(type)} AND ${at} < ${written(range.to)}::${raw(type)}
        AND NOT EXISTS (SELECT FROM ${stretches(cut)} WHERE ${at} >= r.start AND ${at} < r.finish)
      ORDER BY m.added, m.id
    ) m CROSS JOIN LATERAL ((${rows} AND ${raw(of.isNamed)} OFFSET 0) ${was}) e`;
}

/** The users of grouped rows as a list, as sums have it. */
const USER_LIST = raw(`string_agg(substring(uuid_send(user_id) FROM 1 FOR ${ID_BYTES}), ''::bytea)`);

/** SQL: each of the figures by its name, made from what a row adds. */
const each = (figures: Record<string, string>, make: (figure: string, name: string) => string): Sql =>
  raw(
    Object.entries(figures)
      .map(([name, figure]) => `${make(figure, name)} AS ${name}`)
      .join(', '),
  );

/**
 * SQL: the rows that are in no sum, grouped by the column `by`, with `figures` (names, and for each the number that a row adds), users
 * and user_list. To have each user once in a list costs twice as much as all the rest. So of few rows a user is there once for each
 * row, and `users` is null.
 */
export function groupsOfRest({ hasRepeats }: Sources, rows: Sql, by: string, figures: Record<string, string>): Sql {
  const column = raw(by);
  return hasRepeats
    ? sql`SELECT ${column}, ${each(figures, (figure) => `sum(${figure})`)}, NULL::bigint AS users, ${USER_LIST} AS user_list
          FROM (${rows}) r GROUP BY ${column}`
    : sql`SELECT ${column}, ${each(figures, (_, name) => `sum(${name})`)}, count(user_id) AS users, ${USER_LIST} AS user_list
          FROM (SELECT ${column}, user_id, ${each(figures, (figure) => `sum(${figure})`)} FROM (${rows}) r GROUP BY ${column}, user_id) u
          GROUP BY ${column}`;
}

/**
 * SQL: the same of the rows of `table`, where only the users of all groups together are asked for. So each user is there once, also
 * one who is in many groups: the groups have no users, and one row, whose group is null, has all users and no figures.
 */
export const groupsAndUsers = (table: string, by: string, figures: Record<string, string>): Sql =>
  sql`SELECT ${raw(by)}, ${each(figures, (figure) => `sum(${figure})`)}, NULL::bigint AS users, NULL::bytea AS user_list
      FROM ${raw(table)} GROUP BY ${raw(by)}
      UNION ALL
      SELECT NULL, ${each(figures, () => '0')}, count(user_id), ${USER_LIST} FROM (SELECT DISTINCT user_id FROM ${raw(table)}) u`;

/** What is asked for: a range, in which intervals begin at `bounds`. */
interface Asked {
  readonly range: TimeRange;
  readonly bounds?: readonly Date[];
  /** The dimension. Null: all rows together. */
  readonly by?: string | null;
  readonly mostFromRows: number;
}

/** An answer whose lists of users are too long (MOST_LISTS). */
const TOO_MANY_USERS = Symbol('too many users');
/** Up to so many rows in no sum, a user may be there several times: they are four fifths of MOST_LISTS. */
const MOST_REPEATS = 250_000;

/** What `work` reads in one snapshot from sums and rows. Null: the rows alone are to be read. */
export function fromSums<Result>(
  database: Database,
  of: SummedRows,
  reach: Reach,
  { range: asked, bounds, by = null, mostFromRows }: Asked,
  work: (tx: Queryable, sources: Sources) => Promise<Result | null | typeof TOO_MANY_USERS>,
): Promise<Result | null> {
  return database.transaction(async (tx) => {
    await tx.query({
      name: `${of.name}.snapshot`,
      text: 'SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY',
    });
    const ends = await of.endsOf(tx, reach, asked);
    if (!ends) return null;
    const endOfDays = startOfSpan(ends.last.getTime(), DAY) + DAY * 1_000;
    const range = {
      from: Math.max(asked.from?.getTime() ?? -Infinity, startOfSpan(ends.first.getTime(), DAY)),
      to: Math.min(asked.to?.getTime() ?? Infinity, endOfDays),
    };
    // A span that the end of the range cuts is taken too, if its sums have nothing beyond: one that is under way.
    const to = Math.min(ends.next?.getTime() ?? Infinity, endOfDays);
    const until = Math.max(range.from, Math.min(to, await of.untilOf(tx, reach)));
    const summed = { from: range.from, to: until };
    const marks = await readMarks(tx, of, reach, summed, by, range.to);
    if (!marks) return null;
    const starts = bounds?.map((at) => at.getTime()) ?? [range.from];
    let { pieces, rest } = coverOf(starts, summed, marks.missing, by === null ? QUARTER : HOUR);
    // By value not every hour is stored.
    const hours = by === null ? [] : pieces.flatMap(({ seconds, start }) => (seconds === HOUR ? start : []));
    if (by !== null && hours.length > 0) {
      const stored = await readHours(tx, of, reach, by, hours);
      const missing = { ...marks.missing, hours: new Set(hours.filter((hour) => !stored.has(hour))) };
      ({ pieces, rest } = coverOf(starts, summed, missing, HOUR));
    }
    const putTogether = pieces.filter(({ place }, at) => pieces[at - 1]?.place === place);
    if (new Set(putTogether.map(({ place }) => place)).size > MOST_PUT_TOGETHER) return null;
    // After the end of the range nothing is counted, though a span that it cuts is taken.
    if (until < range.to) rest = [...rest, { from: until, to: range.to }];
    rest = rest.flatMap(({ from, to: end }) => (from < range.to ? { from, to: Math.min(end, range.to) } : []));
    const cover = { pieces, rest };
    const left = rest.reduce((sum, { from, to: end }) => sum + end - from, 0);
    if (left > (range.to - range.from) / 2) return null;
    const sources = { of, reach, cover, added: marks.added, range, earliest: ends.first, hasRepeats: false };
    const { text, values } =
      sql`SELECT coalesce(sum(s.${raw(of.count)}), 0)::float8 AS count FROM ${piecesOf(sources, ALL)}`;
    const [row] = await tx.query<{ count: number }>({ name: `${of.name}.size`, text, values });
    if (row!.count <= mostFromRows) return null;
    // As many in the rest as in the same time in sums.
    const covered = range.to - range.from - left;
    for (const hasRepeats of [true, false]) {
      if (hasRepeats && (row!.count / covered) * left > MOST_REPEATS) continue;
      const result = await work(tx, { ...sources, hasRepeats });
      if (result !== TOO_MANY_USERS) return result;
    }
    return null;
  });
}

/** What sums and rows have together. With one part alone `users` may be its number; otherwise the parts are to be put together. */
export interface Users {
  readonly parts: number;
  readonly users: number | null;
  /** In base64. */
  readonly list: string | null;
  readonly bits: string | null;
  /** Bytes of the lists of all rows of the answer. If there are more than MOST_LISTS, the lists are left out. */
  readonly lists: number;
}
/**
 * An operation reads 8 MiB at most, and each of these bytes takes 1.37. So two answers fit, each
 * of some 300,000 users that are in no sum, or in sums with few users each. Beyond that the rows are read.
 */
const MOST_LISTS = 2_500_000;
const IS_READ = '(count(*) > 1 OR max(users) IS NULL)';
const LISTS = `sum(CASE WHEN ${IS_READ} THEN sum(length(user_list)) END) OVER ()`;
export const USERS = raw(`count(*)::integer AS parts, max(users)::integer AS users,
  CASE WHEN ${IS_READ} AND ${LISTS} <= ${MOST_LISTS} THEN encode(string_agg(user_list, ''::bytea), 'base64') END AS list,
  CASE WHEN count(*) > 1 THEN ${sendBits('bit_or(user_bits)')} END AS bits,
  coalesce(${LISTS}, 0)::float8 AS lists`);

/** These rows, unless their users are too many to be read. */
export const unlessTooMany = <Row extends Users>(rows: Row[]): Row[] | typeof TOO_MANY_USERS =>
  rows[0] !== undefined && rows[0].lists > MOST_LISTS ? TOO_MANY_USERS : rows;

export async function countUsers({ parts, users, list, bits }: Users): Promise<number> {
  if (parts === 1 && users !== null) return users;
  const sketch = new UserSketch(parts === 1 ? Infinity : undefined);
  if (bits) sketch.addTable(bitsOf(bits));
  const listed = Buffer.from(list ?? '', 'base64');
  const length = USERS_AT_ONCE * ID_BYTES;
  for (let at = 0; at < listed.length; at += length) {
    if (at > 0) await pause();
    sketch.addList(listed.subarray(at, at + length));
  }
  return sketch.count();
}

/** The rows, each with the number of its users. */
export async function withUsers<Row extends Users>(rows: readonly Row[]): Promise<(Row & { users: number })[]> {
  const counted: (Row & { users: number })[] = [];
  for (const row of rows) {
    counted.push({ ...row, users: await countUsers(row) });
    if (counted.length % AT_ONCE === 0) await pause();
  }
  return counted;
}

/** The mean of durations in seconds; null if there are none. `milliseconds`: their sum. */
export const meanOf = (milliseconds: number | null, count: number): number | null =>
  milliseconds === null || count === 0 ? null : milliseconds / count / 1_000;

type Group = Users & {
  readonly total: number;
  readonly hasTooMany: boolean;
  readonly value: string | null;
  /** Null: there is no group. */
  readonly count: number | null;
  readonly duration: number | null;
};

/**
 * The `first` largest groups. `rows` has the columns value, user_id, duration and n (how often it counts) of what is in no sum. Null: a sum has too many
 * values. The users of sums are wide: only those of these groups are read, by the primary key.
 */
export async function readGroups(
  tx: Queryable,
  sources: Sources,
  by: string,
  rows: Sql,
  first: number,
): Promise<Breakdown | null | typeof TOO_MANY_USERS> {
  const { reach } = sources;
  const { name, table, count, duration } = sources.of;
  const { text, values } = sql`
    WITH rest AS MATERIALIZED (
      ${groupsOfRest(sources, rows, 'value', { n: 'n', duration: 'n * duration' })}
    ), packed AS MATERIALIZED (
      -- Put together with nothing, a list is unpacked here, and not once for each value that is looked for in it.
      SELECT s.seconds, s.start, s.all_values || '{}' AS all_values, s.all_counts, s.all_durations FROM ${piecesOf(sources, by)}
      WHERE s.place = ${PACKED}::integer
    ), unpacked AS MATERIALIZED (
      SELECT s.seconds, s.start, s.place, s.value, s.${raw(count)} AS n, ${raw(duration)} AS duration
      FROM (
        SELECT * FROM ${spansOf(sources)}
        WHERE NOT EXISTS (SELECT FROM packed k WHERE k.seconds = p.seconds AND k.start = p.start) OFFSET 0
      ) p ${sumsOfPieces(sources, by)}
    ), groups AS MATERIALIZED (
      SELECT value, sum(n)::integer AS count, sum(duration)::float8 AS duration
      FROM (
        SELECT unnest(all_values) AS value, unnest(all_counts) AS n, unnest(all_durations)::float8 AS duration FROM packed
        UNION ALL
        SELECT value, n, duration FROM unpacked
        UNION ALL
        SELECT value, n, duration FROM rest
      ) parts GROUP BY value
    ), top AS MATERIALIZED (
      SELECT * FROM groups WHERE count > 0 ORDER BY ${LARGEST_FIRST} LIMIT ${first}::integer
    ), named AS (
      SELECT coalesce(value, '') AS name, value IS NULL AS is_null, * FROM top
    ), places AS (
      SELECT n.name, n.is_null, k.seconds, k.start, array_position(k.all_values, n.value) - 1 AS place FROM packed k CROSS JOIN named n
      UNION ALL
      SELECT n.name, n.is_null, m.seconds, m.start, m.place FROM unpacked m
      JOIN named n ON n.name = coalesce(m.value, '') AND n.is_null = (m.value IS NULL)
    ), counted AS (
      SELECT name, is_null, ${USERS}
      FROM (
        SELECT m.name, m.is_null, s.users, s.user_list, s.user_bits FROM places m CROSS JOIN LATERAL (
          SELECT users, user_list, user_bits FROM ${raw(table)} s
          WHERE s.project_id = ${reach.projectId}::uuid AND s.dimension = ${by} AND s.seconds = m.seconds AND s.start = m.start
            AND s.place = m.place OFFSET 0
        ) s
        UNION ALL
        SELECT n.name, n.is_null, r.users, r.user_list, NULL FROM rest r
        JOIN named n ON n.name = coalesce(r.value, '') AND n.is_null = (r.value IS NULL)
      ) parts GROUP BY name, is_null
    )
    SELECT t.total, t."hasTooMany", n.value, n.count, n.duration, u.parts, u.users, u.list, u.bits, coalesce(u.lists, 0) AS lists
    FROM (
      SELECT (SELECT coalesce(sum(count), 0)::integer FROM groups) AS total,
             EXISTS (SELECT FROM unpacked WHERE place = ${TOO_MANY}::integer) AS "hasTooMany"
    ) t LEFT JOIN (named n JOIN counted u USING (name, is_null)) ON true
    ORDER BY ${LARGEST_FIRST}`;
  const found = unlessTooMany(await tx.query<Group>({ name: `${name}.breakdown.${by}`, text, values }));
  if (found === TOO_MANY_USERS) return found;
  if (found[0]!.hasTooMany) return null;
  return {
    groups: (await withUsers(found)).flatMap((group) =>
      group.count === null
        ? []
        : [
            {
              value: group.value,
              count: group.count,
              users: group.users,
              averageDuration: meanOf(group.duration, group.count),
            },
          ],
    ),
    totalCount: found[0]!.total,
  };
}
