import { SESSION_DIMENSIONS, type SessionDimension } from '../../domain/breakdown.js';
import { DurationSketch } from '../../domain/duration-sketch.js';
import { BEFORE_ALL, PAGE, sumsOf, type Counted } from './sums.js';

/** What is stored of ended sessions (session_sums), by the time at which they started. Open sessions are in no sum. */

interface Ended extends Counted {
  readonly id: string;
  readonly startedAt: Date;
  /** Milliseconds. */
  readonly duration: number;
  readonly hasErrors: boolean;
}

interface Stored {
  readonly sessions: number;
  readonly with_errors: number;
  /** Milliseconds. A bigint: a text, where Postgres sends it. */
  readonly duration: number | string;
  readonly durations: Uint8Array | null;
}

const DIMENSIONS = Object.entries(SESSION_DIMENSIONS) as [SessionDimension, { readonly column: string }][];

/** SQL: the duration of a session `s` in whole milliseconds. (extract() gives a numeric, which costs four times as much.) */
export const MILLISECONDS = `round(date_part('epoch', s.last_activity_at - s.started_at) * 1000)`;

function figures(isOfAll: boolean) {
  let sessions = 0;
  let withErrors = 0;
  let total = 0;
  const sketch = isOfAll ? new DurationSketch() : null;
  return {
    add({ duration, hasErrors }: Ended): void {
      sessions += 1;
      withErrors += hasErrors ? 1 : 0;
      total += duration;
      sketch?.add(duration);
    },
    addStored(stored: Stored): void {
      sessions += stored.sessions;
      withErrors += stored.with_errors;
      total += Number(stored.duration);
      if (stored.durations) sketch?.addEncoded(stored.durations);
    },
    stored: (): Stored => ({
      sessions,
      with_errors: withErrors,
      duration: total,
      durations: sketch?.encode() ?? null,
    }),
  };
}

export const SESSION_SUMS = sumsOf<Ended, readonly [Date, string], Stored>({
  name: 'sums',
  table: 'session_sums',
  marks: 'session_sum_marks',
  dimensions: DIMENSIONS.map(([dimension]) => dimension),
  columns: ['sessions', 'with_errors', 'duration', 'durations'],
  count: 'sessions',
  duration: 'duration',
  until: null,
  // At the start of a range 9,000 sessions at most are read instead, in 7 ms.
  denseFrom: 3_000,
  figures,
  before: (block) => [new Date(block), BEFORE_ALL],
  placeOf: ({ startedAt, id }) => [startedAt, id],
  async rowsAfter(tx, { projectId }, end, after) {
    const rows = await tx.query<Omit<Ended, 'at'>>({
      name: 'sums.sessions',
      text: `SELECT s.id, s.started_at AS "startedAt", s.user_id AS "userId", ${MILLISECONDS} AS duration,
                    s.error_count > 0 AS "hasErrors",
                    ARRAY[${DIMENSIONS.map(([, { column }]) => `s.${column}::text`).join(', ')}] AS values
             FROM sessions s
             WHERE s.project_id = $1 AND s.started_at < $2 AND (s.started_at, s.id) > ($3, $4::uuid) AND s.ended_at IS NOT NULL
             ORDER BY s.started_at, s.id LIMIT ${PAGE}`,
      values: [projectId, new Date(end), ...after],
    });
    return rows.map((row) => ({ ...row, at: row.startedAt.getTime() }));
  },
});
