import { randomUUID } from 'node:crypto';

/** Layout of a UUIDv7 (RFC 9562, 5.7): 48 bits of milliseconds, version, 12 bits, variant, 62 bits. */
function compose(milliseconds: number, sequence: number, tail: string): string {
  const time = Math.max(0, milliseconds).toString(16).padStart(12, '0');
  return `${time.slice(0, 8)}-${time.slice(8, 12)}-7${(sequence & 0xfff).toString(16).padStart(3, '0')}-${tail}`;
}

/**
 * A new UUIDv7 whose time is `at` (milliseconds since the epoch, where it is a number). For events `at` is when they
 * happened, so that ids sort as the events do; `sequence` (0 to 4095) keeps the order of events of the same millisecond.
 */
export function uuidAt(at: Date | number, sequence = 0): string {
  // The last two groups of a random UUID are the variant and 62 random bits: just those of this one.
  return compose(typeof at === 'number' ? at : at.getTime(), sequence, randomUUID().slice(19));
}

/** The smallest UUIDv7 of that millisecond: ids >= it happened then or later. */
export function firstUuidAt(at: Date): string {
  return compose(at.getTime(), 0, '8000-000000000000');
}
