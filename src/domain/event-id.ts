import { randomUUID } from 'node:crypto';

/** Layout of a UUIDv7 (RFC 9562, 5.7): 48 bits of milliseconds, version, 12 bits, variant, 62 bits. */
function timeOf(milliseconds: number): string {
  const time = Math.max(0, milliseconds).toString(16).padStart(12, '0');
  return `${time.slice(0, 8)}-${time.slice(8, 12)}-7`;
}

/** The last two groups of a random UUID are the variant and 62 random bits: just those of this one. */
const newTail = (): string => randomUUID().slice(19);

/**
 * A new UUIDv7 whose time is `at` (milliseconds since the epoch, where it is a number). Those of one millisecond sort by
 * `place`, as far as 12 bits tell them apart.
 */
export function uuidAt(at: Date | number, place = 0): string {
  return `${timeOf(Number(at))}${sequence(place)}-${newTail()}`;
}

/** The smallest UUIDv7 of that millisecond: ids >= it happened then or later. */
export function firstUuidAt(at: Date | number): string {
  return `${timeOf(Number(at))}000-8000-000000000000`;
}

const SEQUENCES = Array.from({ length: 4_096 }, (_, at) => at.toString(16).padStart(3, '0'));
const sequence = (place: number): string => SEQUENCES[Math.min(place, SEQUENCES.length - 1)]!;

/**
 * Makes UUIDv7s for the events of a request, from when each happened (milliseconds since the epoch), so that ids sort as
 * the events do. Those of one millisecond keep the order in which they are asked for, by the 12 bits behind the time; so
 * told apart, they share their random bits, which are drawn anew for each request (and each 4,096 ids).
 */
export function eventIds(): (at: number) => string {
  let lastAt = Number.NaN;
  let time = '';
  let place = 0;
  let tail = newTail();
  return (at) => {
    if (at !== lastAt) {
      time = timeOf(at);
      lastAt = at;
    }
    if (place === SEQUENCES.length) {
      place = 0;
      tail = newTail();
    }
    return `${time}${SEQUENCES[place++]}-${tail}`;
  };
}
