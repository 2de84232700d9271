import type { TimeRange } from '../domain/filters.js';
import { AppError } from '../errors.js';

/** Returns the range unchanged. Throws BAD_USER_INPUT with the name of the bound if a bound is an invalid Date. */
export function checkTimeRange(field: string, range: TimeRange | null | undefined): TimeRange | null {
  if (!range) return null;
  for (const bound of ['from', 'to'] as const) {
    const value = range[bound];
    if (value && Number.isNaN(value.getTime())) {
      throw new AppError(
        'BAD_USER_INPUT',
        `${field}.${bound} is not an RFC 3339 instant. Write it like 2026-01-31T09:30:00.000Z.`,
        {
          field: `${field}.${bound}`,
        },
      );
    }
  }
  return range;
}
