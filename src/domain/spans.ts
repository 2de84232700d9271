/**
 * The spans of time that figures are stored for: quarters of an hour, hours, blocks and days of UTC. Each span is a whole number
 * of those before it. The quarters are there because local days of some time zones begin a quarter or half of an hour after one
 * of UTC.
 */

/** Seconds. */
export const QUARTER = 900;
export const HOUR = 3_600;
/** What is stored together: nothing of a block is stored that is not right. */
export const BLOCK = 10_800;
export const DAY = 86_400;
const LONGEST_FIRST = [DAY, BLOCK, HOUR, QUARTER] as const;

/** Milliseconds since the epoch. */
export const startOfSpan = (at: number, seconds: number): number =>
  Math.floor(at / (seconds * 1_000)) * seconds * 1_000;

/** A stored span, and the interval (counted from 1) that it is part of. */
interface Piece {
  readonly seconds: number;
  readonly start: number;
  readonly place: number;
}

/** `to` is not included. Milliseconds since the epoch. */
export interface Stretch {
  readonly from: number;
  readonly to: number;
}

/** How a range is put together: of stored spans, and of the rest, which has none. */
export interface Cover {
  readonly pieces: readonly Piece[];
  readonly rest: readonly Stretch[];
}

/** What is not stored, by its start. */
export interface Missing {
  readonly blocks: ReadonlySet<number>;
  readonly days: ReadonlySet<number>;
  /** Hours of blocks that are there. */
  readonly hours?: ReadonlySet<number>;
}

/**
 * Covers the intervals that begin at `bounds` with the longest spans that fit into them, as far as they are in `range`. What is
 * `missing` is not taken, nor are spans that are shorter than `shortest`. Every instant of an interval and of the range is in exactly
 * one piece or stretch of the rest.
 */
export function coverOf(
  bounds: readonly number[],
  range: Stretch,
  missing: Missing,
  shortest: number = QUARTER,
): Cover {
  const lengths = LONGEST_FIRST.filter((length) => length >= shortest);
  const isStored = (start: number, seconds: number): boolean =>
    seconds === DAY
      ? !missing.days.has(start)
      : !missing.blocks.has(startOfSpan(start, BLOCK)) && !(seconds === HOUR && missing.hours?.has(start));
  const pieces: Piece[] = [];
  const rest: { from: number; to: number }[] = [];
  for (const [index, bound] of bounds.entries()) {
    const end = Math.min(bounds[index + 1] ?? range.to, range.to);
    for (let at = Math.max(bound, range.from); at < end;) {
      const seconds = lengths.find(
        (length) => startOfSpan(at, length) === at && at + length * 1_000 <= end && isStored(at, length),
      );
      if (seconds !== undefined) {
        pieces.push({ seconds, start: at, place: index + 1 });
        at += seconds * 1_000;
        continue;
      }
      const next = Math.min(end, startOfSpan(at, shortest) + shortest * 1_000);
      const last = rest.at(-1);
      if (last?.to === at) last.to = next;
      else rest.push({ from: at, to: next });
      at = next;
    }
  }
  return { pieces, rest };
}
