import type { Reach } from '../../domain/access.js';
import { firstUuidAt } from '../../domain/event-id.js';
import { AppError } from '../../errors.js';
import type { Database } from '../database.js';
import { Prisma } from '../generated/prisma/client.js';
import { intervalsOf, type SeriesRange } from '../intervals.js';
import { CAME_OR_LEFT } from './presence-change.js';
import { MINUTE, readSettling } from './settle-minutes.js';

/**
 * How many users were online at once, over time. Settled minutes come from presence_minutes, the rest of the range and what came
 * after the last settled minute from the changes themselves; both are pieces of one line, so the result is exact. The line is
 * counted back from the number of users online now, in one snapshot. So nothing of before the range is needed.
 */
const { sql, raw, empty, join } = Prisma;

export interface ConcurrencyPoint {
  /** The start of the interval. */
  readonly at: Date;
  readonly peak: number;
  /** Mean number of users over the part of the interval that is in the range. */
  readonly average: number;
}

export interface Concurrency {
  readonly peak: number;
  /** When the peak was reached first. Null: nobody was online. */
  readonly peakAt: Date | null;
  readonly series: readonly ConcurrencyPoint[];
}

/** The most changes that are read for a token of certain users: they have no minutes. A read takes some 100 ms. */
export const MOST_OWN_CHANGES = 50_000;

/** A range of ids of changes; milliseconds since the epoch. `to` null: no end. */
interface Piece {
  readonly from: number;
  readonly to: number | null;
  /** Whether what is counted back contains it; settled minutes are counted back by their rows. */
  readonly isCountedBack: boolean;
}

/** Which changes are read one by one, and between which times settled minutes are: a plan without overlaps. */
function piecesOf(from: number, to: number, settledUntil: number) {
  const first = Math.ceil(from / MINUTE) * MINUTE;
  if (settledUntil <= first) return { minutes: null, single: [{ from, to: null, isCountedBack: true }] };
  const last = Math.max(first, Math.min(settledUntil, Math.floor(to / MINUTE) * MINUTE));
  const single: Piece[] = [
    { from, to: first, isCountedBack: true },
    { from: last, to: Math.min(to, settledUntil), isCountedBack: false },
    { from: settledUntil, to: null, isCountedBack: true },
  ];
  return { minutes: { first, last }, single: single.filter((piece) => piece.to === null || piece.from < piece.to) };
}

const instant = (milliseconds: number) => sql`${new Date(milliseconds).toISOString()}::timestamptz`;
/** The milliseconds since the epoch of an instant, or of an interval, as an exact whole number. */
const milliseconds = (time: string): string => `(date_part('epoch', ${time}) * 1000)::bigint`;

/**
 * Reads the numbers of users within reach that were online from `from` to `to` (not included; not later than now), by intervals of
 * a time zone. Throws BAD_USER_INPUT for a token of certain users if they have too many changes.
 */
export async function readConcurrency(database: Database, reach: Reach, range: SeriesRange): Promise<Concurrency> {
  const { projectId, userIds } = reach;
  const { from, to } = range;
  // Of certain users no minute is settled. Later minutes may be settled by the next statement; it leaves them out.
  const settledUntil = userIds ? null : (await readSettling(database)).settledUntil;
  const { minutes, single } = piecesOf(from.getTime(), to.getTime(), settledUntil?.getTime() ?? -Infinity);
  const changes = single.map(
    (
      piece,
    ) => sql`SELECT c.id, c.at, c.online_sessions, ${piece.isCountedBack}::boolean AS is_counted_back FROM presence_changes c
      WHERE c.project_id = ${projectId}::uuid AND ${raw(CAME_OR_LEFT)} AND c.id >= ${firstUuidAt(piece.from)}::uuid
        ${piece.to === null ? empty : sql`AND c.id < ${firstUuidAt(piece.to)}::uuid`}
        ${userIds ? sql`AND c.user_id = ANY(${userIds}::uuid[]) LIMIT ${MOST_OWN_CHANGES + 1}::integer` : empty}`,
  );
  const intervals = intervalsOf(range);
  const query = sql`
    WITH changes AS MATERIALIZED (${join(changes, ' UNION ALL ')}), instants AS MATERIALIZED (
      SELECT at, is_counted_back, sum(CASE WHEN online_sessions > 0 THEN 1 ELSE -1 END) AS net FROM changes GROUP BY at, is_counted_back
    ), minutes AS MATERIALIZED (
      SELECT minute, net, peak, peak_after, area FROM presence_minutes
      WHERE ${minutes ? sql`project_id = ${projectId}::uuid AND minute >= ${instant(minutes.first)} AND minute < ${instant(settledUntil!.getTime())}` : raw('false')}
    ), base AS MATERIALIZED (
      SELECT (SELECT count(*) FROM users u WHERE u.project_id = ${projectId}::uuid AND u.online_sessions > 0
                ${userIds ? sql`AND u.id = ANY(${userIds}::uuid[])` : empty})
        - (SELECT coalesce(sum(net), 0) FROM minutes) - (SELECT coalesce(sum(net), 0) FROM instants WHERE is_counted_back) AS level
    ), pieces AS (
      SELECT minute AS start, minute + interval '1 minute' AS finish, net, peak, minute + peak_after * interval '1 ms' AS peak_at, area
      FROM minutes WHERE ${minutes ? sql`minute < ${instant(minutes.last)}` : raw('false')}
      UNION ALL
      SELECT at, at, net, net, at, 0 FROM instants WHERE at < ${instant(to.getTime())}
    ), placed AS MATERIALIZED (
      SELECT p.*, b.level + sum(p.net) OVER (ORDER BY p.start) - p.net AS before, ${intervals.placeOf('p.start')} AS place
      FROM pieces p CROSS JOIN base b
    ), intervals AS (
      SELECT place::integer AS place, start, lead(start, 1, ${instant(to.getTime())}) OVER (ORDER BY place) AS finish
      FROM unnest(${intervals.bounds}) WITH ORDINALITY k (start, place)
    ), grouped AS (
      SELECT place, sum(net) AS net, max(before + peak) AS peak, min(start) AS first,
             sum(area - net * ${raw(milliseconds('finish'))}) AS area
      FROM placed GROUP BY place
    ), highest AS (
      SELECT peak, at FROM (
        SELECT before + peak AS peak, peak_at AS at FROM placed
        UNION ALL
        SELECT level, ${instant(from.getTime())} FROM base WHERE NOT EXISTS (SELECT FROM placed WHERE start = ${instant(from.getTime())})
      ) all_levels ORDER BY peak DESC, at LIMIT 1
    )
    SELECT greatest(i.peak, CASE WHEN i.first IS DISTINCT FROM i.start THEN i.level END)::integer AS peak,
           (i.level + (i.area + i.net * ${raw(milliseconds('i.finish'))})
             / ${raw(milliseconds('i.finish - i.start'))}::numeric)::float8 AS average,
           h.peak::integer AS highest, h.at AS "highestAt", (SELECT count(*) FROM changes)::integer AS changes
    FROM (
      SELECT i.*, g.peak, g.first, coalesce(g.net, 0) AS net, coalesce(g.area, 0) AS area,
             b.level + coalesce(sum(g.net) OVER (ORDER BY i.place ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), 0) AS level
      FROM intervals i CROSS JOIN base b LEFT JOIN grouped g ON g.place = i.place
    ) i CROSS JOIN highest h ORDER BY i.place`;
  const rows = await database.query<
    Omit<ConcurrencyPoint, 'at'> & { highest: number; highestAt: Date; changes: number }
  >({
    name: 'presence.concurrency',
    text: query.text,
    values: query.values,
  });
  if (userIds && rows[0]!.changes > MOST_OWN_CHANGES) {
    throw new AppError(
      'BAD_USER_INPUT',
      `The users of this token have more than ${MOST_OWN_CHANGES} changes from range.from until now. Give a later range.from.`,
      { field: 'range.from' },
    );
  }
  const { highest, highestAt } = rows[0]!;
  return {
    peak: highest,
    peakAt: highest > 0 ? highestAt : null,
    series: rows.map(({ peak, average }, place) => ({ at: intervals.starts[place]!, peak, average })),
  };
}
