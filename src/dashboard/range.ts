import { useMemo } from 'react';
import { useSearch } from 'wouter/use-browser-location';
import { useNow } from './clock';
import type { TimeInterval } from './generated/graphql';

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;
const DAY = 24 * HOUR;

/** The ranges that one press away. */
export const RANGES = [
  { key: '1h', name: '1 hour', length: HOUR },
  { key: '24h', name: '24 hours', length: DAY },
  { key: '7d', name: '7 days', length: 7 * DAY },
  { key: '30d', name: '30 days', length: 30 * DAY },
] as const;

type RangeKey = (typeof RANGES)[number]['key'];

/** A stretch of time that is looked at. Milliseconds. */
export interface Range {
  /** Null where it was chosen by hand. */
  readonly key: RangeKey | null;
  readonly from: number;
  readonly to: number;
  readonly interval: TimeInterval;
}

/** The longest step with which a chart still shows a shape. */
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

/** The range that the address names: `?range=24h`, or `?from=…&to=…`. One that ends now moves on with the minute. */
export function useRange(): Range {
  const search = useSearch();
  const now = useNow(MINUTE);
  return useMemo(() => {
    const params = new URLSearchParams(search);
    const byHand = chosenByHand(params);
    if (byHand) return byHand;
    const { key, length } = RANGES.find((range) => range.key === params.get('range')) ?? RANGES[1];
    const to = now + MINUTE;
    return { key, from: to - length, to, interval: intervalOf(length) };
  }, [search, now]);
}

/** The address of a range by hand. */
export const rangeAddress = (from: number, to: number): string =>
  `/?from=${new Date(from).toISOString()}&to=${new Date(to).toISOString()}`;

/** What a range begins with, in a form: 2026-01-31T09:30 in the reader's zone. */
export function localInput(at: number): string {
  const date = new Date(at);
  const two = (value: number): string => String(value).padStart(2, '0');
  return `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())}T${two(date.getHours())}:${two(date.getMinutes())}`;
}
