import { keptSince, type Away } from '../domain/change.js';
import { SETTING_LIMITS } from '../domain/project.js';
import type { Queryable } from './database.js';
import { LONG_OUTAGE } from './pulse.js';

interface Found {
  readonly days: number | null;
  readonly from: Date | null;
  readonly to: Date | null;
}

/** SQL: the outages of at least $2 milliseconds, also one that no beat has ended yet at $1. */
const OUTAGES = `SELECT away_from, back_at FROM long_outages
  UNION ALL SELECT beat_at, $1 FROM pulse WHERE id AND beat_at <= $1::timestamptz - $2 * interval '1 ms'`;

/**
 * From when on the feed of a project is kept at `now`, without the outages of LONG_OUTAGE and more (domain/change.ts). Null as the
 * project: that of the project that keeps it longest. Returns null if there is no such project. An outage that no beat has ended
 * yet counts too: so it does not matter who comes first at a start.
 */
export async function changesKeptSince(
  database: Queryable,
  projectId: string | null,
  now: Date,
): Promise<number | null> {
  const rows = await database.query<Found>({
    name: 'changes.kept',
    text: `SELECT p.days, o.away_from AS "from", o.back_at AS "to"
           FROM (SELECT max(change_retention_days) AS days FROM projects ${projectId === null ? '' : 'WHERE id = $3'}) p
           LEFT JOIN (${OUTAGES}) o ON true ORDER BY o.back_at DESC`,
    values: [now, LONG_OUTAGE, ...(projectId === null ? [] : [projectId])],
  });
  const days = rows[0]?.days ?? null;
  if (days === null) return null;
  const outages = rows.flatMap(({ from, to }): Away[] =>
    from && to ? [{ from: from.getTime(), to: to.getTime() }] : [],
  );
  return keptSince(now.getTime(), days, outages);
}

/** Forgets the outages that are older than any project can keep its feed. */
export async function forgetOutages(database: Queryable, now: Date): Promise<void> {
  const rows = await database.query<{ from: Date; to: Date }>({
    name: 'changes.outages',
    text: `SELECT away_from AS "from", back_at AS "to" FROM (${OUTAGES}) o ORDER BY back_at DESC`,
    values: [now, LONG_OUTAGE],
  });
  const outages = rows.map(({ from, to }): Away => ({ from: from.getTime(), to: to.getTime() }));
  await database.query({
    name: 'changes.forgetOutages',
    text: 'DELETE FROM long_outages WHERE back_at < $1',
    values: [new Date(keptSince(now.getTime(), SETTING_LIMITS.changeRetentionDays.max, outages))],
  });
}
