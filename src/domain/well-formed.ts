/**
 * Text and JSON in a form that Postgres can store. Postgres accepts neither NUL nor half a surrogate pair. Both become
 * U+FFFD, so that the rest of the text is not lost.
 */

const NUL = /\0/g;

export function wellFormed(text: string): string {
  const whole = text.isWellFormed() ? text : text.toWellFormed();
  return whole.includes('\0') ? whole.replace(NUL, '\uFFFD') : whole;
}

/** Matches all JSON text that holds a NUL or half a surrogate pair. A false match only costs time. */
const SUSPECT = /\\u0000|\\ud[89a-f]/i;

function wellFormedValue(value: unknown): unknown {
  if (typeof value === 'string') return wellFormed(value);
  if (Array.isArray(value)) return value.map(wellFormedValue);
  if (value === null || typeof value !== 'object') return value;
  return Object.fromEntries(Object.entries(value).map(([key, inner]) => [wellFormed(key), wellFormedValue(inner)]));
}

/** How deep brackets nest in JSON text. */
function depthOf(json: string): number {
  let depth = 0;
  let deepest = 0;
  let inString = false;
  for (let at = 0; at < json.length; at += 1) {
    const char = json.charCodeAt(at);
    if (inString) {
      if (char === 92) at += 1;
      else if (char === 34) inString = false;
    } else if (char === 34) inString = true;
    else if (char === 123 || char === 91) deepest = Math.max(deepest, (depth += 1));
    else if (char === 125 || char === 93) depth -= 1;
  }
  return deepest;
}

/** Whether JSON text has more than `most` opening brackets. Most JSON has fewer, and so cannot nest deeper than that. */
function hasMoreBrackets(json: string, most: number): boolean {
  let count = 0;
  for (const bracket of ['{', '[']) {
    for (let at = json.indexOf(bracket); at !== -1; at = json.indexOf(bracket, at + 1)) {
      count += 1;
      if (count > most) return true;
    }
  }
  return false;
}

/** The deepest nesting that is stored. Deeper JSON is a mistake or an attack, and Postgres' parser recurses. */
const DEEPEST = 100;

/**
 * The characters that are counted for a value too deep for JSON.stringify, which may have made much text before it failed.
 */
const TOO_DEEP_TO_TELL = 1_000_000;

/**
 * An object as JSON text for a jsonb column; null where it nests deeper than 100 levels. Adds the number of characters that
 * JSON.stringify made to `spent`.
 */
export function toStorableJson(
  value: Readonly<Record<string, unknown>>,
  spent: { characters: number } = { characters: 0 },
): string | null {
  let json: string;
  try {
    json = JSON.stringify(value);
  } catch {
    spent.characters += TOO_DEEP_TO_TELL;
    return null;
  }
  spent.characters += json.length;
  if (hasMoreBrackets(json, DEEPEST) && depthOf(json) > DEEPEST) return null;
  return SUSPECT.test(json) ? JSON.stringify(wellFormedValue(value)) : json;
}

/**
 * A number with an exponent, as JSON.stringify writes it. Within a text it is a false match, which only makes the text
 * count for more.
 */
const EXPONENT = /\de[+-](\d{1,3})/g;

/**
 * Bytes of JSON text in UTF-8 with its numbers written out, as Postgres stores and answers them: 1e300 is 301 bytes of an
 * answer.
 */
export function storedBytes(json: string): number {
  let bytes = Buffer.byteLength(json);
  for (const [, zeros] of json.matchAll(EXPONENT)) bytes += Number(zeros);
  return bytes;
}

/**
 * Whether JSON text has more than `bytes` stored bytes. A character counts for at most 45, so that most texts need no
 * count.
 */
export const isLarger = (json: string, bytes: number): boolean => json.length * 45 > bytes && storedBytes(json) > bytes;

/** A copy of the text. A part that a parser cut out of a larger text would keep the whole larger text in memory. */
export const detached = (text: string): string => Buffer.from(text).toString();
