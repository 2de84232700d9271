/** Ends of a user that are remembered at most: a heartbeat asks for those of twice the presence timeout at most. */
const MOST_ENDS = 16;

/**
 * Adds a `sessionend` at `time` to those that are remembered of a user (rule 18), in order; all in milliseconds. A
 * heartbeat asks whether one lies at most `presence` before it. So of three within that time the middle one is of no use:
 * where there are too many those go first, and then the oldest.
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
