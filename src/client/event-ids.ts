/** Numbers the ids of one millisecond: 12 bits. */
const PLACES = 4_096;

const hex = (value: number, digits: number): string => value.toString(16).padStart(digits, '0');

/**
 * Makes ids (UUIDv7, RFC 9562): each is later in the order of texts than the one before, also within a millisecond. `now` is
 * in milliseconds since the epoch.
 */
export function createEventIds(): (now: number) => string {
  let at = 0;
  let place = 0;
  return (now) => {
    place += 1;
    if (now > at || place === PLACES) {
      // After 4,096 ids of a millisecond, or where the clock was set back, the ids run ahead of the clock.
      at = Math.max(now, at + 1);
      place = 0;
    }
    const [high, low] = crypto.getRandomValues(new Uint32Array(2)) as unknown as [number, number];
    const time = hex(at, 12);
    // The two highest bits of the tail are 10, the variant.
    const tail = hex(0x8000_0000 + (high >>> 2), 8);
    return `${time.slice(0, 8)}-${time.slice(8)}-7${hex(place, 3)}-${tail.slice(0, 4)}-${tail.slice(4)}${hex(low, 8)}`;
  };
}

/** The time in an id that createEventIds made: milliseconds since the epoch. */
export const timeOfId = (id: string): number => Number.parseInt(id.slice(0, 8) + id.slice(9, 13), 16);
