/** What a page gives to the client, made harmless. */

/** The longest time that anything waits, in seconds. Timers with more than 24.8 days fire at once. */
const LONGEST = 3_600;

/** Seconds as milliseconds for a timer: at least `least`, at most an hour. What is no number is 0. */
export const timeOf = (seconds: number, least = 0): number => Math.min(Math.max(seconds || 0, least), LONGEST) * 1_000;

/** What may hold fields that are looked at each alone: an event, and in it a user and data. */
const HOLDS = /^(user|data)?$/;

/**
 * The value as JSON. Of what cannot be written so (a BigInt, a ring, a getter that throws), as little as possible is left out,
 * and `left` hears why. Throws where nothing can be written.
 */
export function write(value: object, left: (error: unknown) => void): string {
  try {
    return JSON.stringify(value);
  } catch (error) {
    left(error);
    return JSON.stringify(value, (name, inner) => {
      try {
        return HOLDS.test(name) || JSON.stringify(inner) ? inner : undefined;
      } catch {
        return undefined;
      }
    });
  }
}
