/** The most ends that are remembered of a user. A heartbeat needs those within twice the presence timeout at most. */
const MOST_ENDS = 16;

/**
 * Adds a `sessionend` at `time` to the remembered ends of a user (rule 18), and answers them in order. All values are
 * milliseconds. A heartbeat asks whether an end lies at most `presence` before it. So of three ends within that time the
 * middle one is not needed: where there are too many, such ends are dropped first, then the oldest.
 */
export function rememberEnd(ends: readonly number[], time: number, presence: number): readonly number[] {
  if (ends.includes(time)) return ends;
  const all = [...ends, time].toSorted((a, b) => a - b);
  if (all.length <= MOST_ENDS) return all;
  const useful: number[] = [];
  for (const [at, end] of all.entries()) {
    const before = useful.at(-1);
    const after = all[at + 1];
    if (before === undefined || after === undefined || after - before > presence) useful.push(end);
  }
  return useful.slice(-MOST_ENDS);
}
