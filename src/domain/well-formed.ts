/**
 * Text and JSON as Postgres can hold them. Postgres takes neither NUL nor half a surrogate pair; both become
 * U+FFFD, so that the rest of a text is not lost with them.
 */

const NUL = /\0/g;

export function wellFormed(text: string): string {
  const whole = text.isWellFormed() ? text : text.toWellFormed();
  return whole.includes('\0') ? whole.replace(NUL, '\uFFFD') : whole;
}

/** What JSON text looks like that may hold a NUL or half a pair; a false alarm only costs time. */
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

/** Deeper JSON is a mistake or an attack, and Postgres' parser recurses. */
const DEEPEST = 100;

/** An object as JSON text for a jsonb column; null where it nests deeper than 100 levels. */
export function toStorableJson(value: Readonly<Record<string, unknown>>): string | null {
  let json: string;
  try {
    json = JSON.stringify(value);
  } catch {
    return null;
  }
  if (depthOf(json) > DEEPEST) return null;
  return SUSPECT.test(json) ? JSON.stringify(wellFormedValue(value)) : json;
}

/** The text by itself. A part that a parser has cut out of a larger text keeps the whole of it in memory, for as long as it is kept. */
export const detached = (text: string): string => Buffer.from(text).toString();
