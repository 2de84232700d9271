import { randomUUID } from 'node:crypto';

/**
 * A UUIDv7's text up to its version. Layout (RFC 9562, 5.7): 48 bits of milliseconds, version, 12 bits, variant, 62 bits.
 */
function timeOf(milliseconds: number): string {
  const time = Math.max(0, milliseconds).toString(16).padStart(12, '0');
  return `${time.slice(0, 8)}-${time.slice(8, 12)}-7`;
}

/** The variant and 62 random bits: the last two groups of a new random UUID. */
const newTail = (): string => randomUUID().slice(19);

/**
 * A new UUIDv7 for the time `at` (a number is milliseconds since the epoch). Ids of one millisecond sort by `place`, from 0
 * to 4,095 (12 bits); a larger place counts as 4,095.
 */
export function uuidAt(at: Date | number, place = 0): string {
  return `${timeOf(Number(at))}${sequence(place)}-${newTail()}`;
}

/** The place of an id that uuidAt made for the time `at` (milliseconds); null if the id is of another time. */
export const placeIn = (id: string, at: number): number | null =>
  id.startsWith(timeOf(at)) ? Number.parseInt(id.slice(15, 18), 16) : null;

/** The time that an id was made for (milliseconds since the epoch). */
export const timeIn = (id: string): number => Number.parseInt(id.slice(0, 8) + id.slice(9, 13), 16);

/** The smallest UUIDv7 of that millisecond: an id is of that time or later if it is >= this one. */
export function firstUuidAt(at: Date | number): string {
  return `${timeOf(Number(at))}000-8000-000000000000`;
}

const SEQUENCES = Array.from({ length: 4_096 }, (_, at) => at.toString(16).padStart(3, '0'));
const sequence = (place: number): string => SEQUENCES[Math.min(place, SEQUENCES.length - 1)]!;

/**
 * Makes the ids (UUIDv7) of a request's events, each from the time of its event (milliseconds since the epoch), so that ids
 * sort as the events do. The 12 bits after the time number the ids in the order in which they are asked for. These bits
 * make the ids different, so the ids of a request share their random bits. New random bits are made for each request, and
 * after each 4,096 ids.
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
