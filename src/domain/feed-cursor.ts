import type { FeedPlace } from './change.js';
import { decodeCursor, encodeCursor } from './cursor.js';
import { readSnapshot } from './presence.js';
import { isSnapshot, readPresenceCursor, type PresencePlace } from './presence-cursor.js';

const KIND = 'changes';

type Written = [database: string, transaction: number, part: number, entry: number, at: number, seen: string | null];

const isCount = (value: unknown): boolean => Number.isSafeInteger(value) && (value as number) >= 0;
/** Parts and entries are numbers that Postgres' integer holds. */
const MOST_PART = 2_147_483_647;

function isWritten(value: unknown): value is Written {
  if (!Array.isArray(value) || value.length !== 6) return false;
  const [database, transaction, part, entry, at, seen] = value as unknown[];
  if (typeof database !== 'string' || database.length >= 200) return false;
  if (![transaction, part, entry, at].every(isCount) || (part as number) > MOST_PART || (at as number) > 8.64e15) {
    return false;
  }
  return seen === null || (typeof seen === 'string' && isSnapshot(seen));
}

/** Writes a place in the feed as opaque text. */
export const writeFeedCursor = ({ database, transaction, part, entry, at, seen }: FeedPlace): string =>
  encodeCursor(KIND, [database, transaction, part, entry, at, seen]);

/**
 * Reads the text of `writeFeedCursor`. A cursor of presence is a place too: what its snapshot sees came before. Undefined if the text
 * is neither.
 */
export function readFeedCursor(text: string): FeedPlace | undefined {
  const written = decodeCursor(KIND, isWritten, text);
  if (!written) {
    const presence = readPresenceCursor(text);
    if (!presence) return undefined;
    const { database, snapshot: seen, at } = presence;
    return { database, transaction: readSnapshot(seen).xmin, part: 0, entry: 0, at, seen };
  }
  const [database, transaction, part, entry, at, seen] = written;
  return { database, transaction, part, entry, at, seen };
}

/**
 * Reads a cursor for a watch of presence: of presence, or of the feed. Everything below the transaction of a place in the feed has
 * been told, and what is told of that transaction and later ones again is the present state, which harms nobody. Null: the cursor
 * holds no place. Undefined if the text is no such cursor.
 */
export function readPresencePlace(text: string): PresencePlace | null | undefined {
  const place = readPresenceCursor(text);
  if (place !== undefined) return place;
  const feed = readFeedCursor(text);
  if (!feed) return undefined;
  const { database, transaction, at, seen } = feed;
  return { database, snapshot: seen ?? `${transaction}:${transaction}:`, at };
}
