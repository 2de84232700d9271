import { useMemo } from 'react';
import { useParams } from './address';
import { useNow } from './clock';
import type { TimeInterval } from './generated/graphql';

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;

/**
 * The ranges that have a button of their own. `step`: it moves on once in this time, because each move is counted anew.
 * Milliseconds.
 */
export const RANGES = [
  { key: '1h', name: '1 hour', length: HOUR, step: MINUTE },
  { key: '24h', name: '24 hours', length: DAY, step: MINUTE },
  { key: '7d', name: '7 days', length: 7 * DAY, step: 10 * MINUTE },
  { key: '30d', name: '30 days', length: 30 * DAY, step: HOUR },
] as const;

type RangeKey = (typeof RANGES)[number]['key'];

/** The time range of the overview. `from` and `to` are in milliseconds. */
export interface Range {
  /** Null for a custom range. */
  readonly key: RangeKey | null;
  readonly from: number;
  readonly to: number;
  readonly interval: TimeInterval;
}

/** The interval of the chart for a range of `length` milliseconds. */
function intervalOf(length: number): TimeInterval {
  if (length <= 3 * HOUR) return 'MINUTE';
  if (length <= 8 * DAY) return 'HOUR';
  return length <= 400 * DAY ? 'DAY' : 'MONTH';
}

function chosenByHand(params: URLSearchParams): Range | null {
  const from = Date.parse(params.get('from') ?? '');
  const to = Date.parse(params.get('to') ?? '');
  if (Number.isNaN(from) || Number.isNaN(to) || from >= to) return null;
  return { key: null, from, to, interval: intervalOf(to - from) };
}

/** The range in the address: `?range=24h`, or `?from=…&to=…`. A range up to now moves on with the time. */
export function useRange(): Range {
  const params = useParams();
  const chosen = RANGES.find((range) => range.key === params.get('range')) ?? RANGES[1];
  const now = useNow(chosen.step);
  return useMemo(() => {
    const byHand = chosenByHand(params);
    if (byHand) return byHand;
    const { key, length, step } = chosen;
    const to = now + step;
    return { key, from: to - length, to, interval: intervalOf(length) };
  }, [params, chosen, now]);
}

/** The parameters of a custom range. `from` and `to` are in milliseconds. */
export const rangeParams = (from: number, to: number): { range: null; from: string; to: string } => ({
  range: null,
  from: new Date(from).toISOString(),
  to: new Date(to).toISOString(),
});
