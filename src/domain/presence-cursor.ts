import { decodeCursor, encodeCursor } from './cursor.js';
import { readSnapshot } from './presence.js';

/**
 * A state of the database that a client has seen. From it the server finds exactly what has changed since. Clocks and the
 * length of transactions do not matter.
 */
export interface PresencePlace {
  /** The name of the database. A snapshot of another database, or of an earlier state of a restored one, means nothing here. */
  readonly database: string;
  /** `pg_current_snapshot()`, as Postgres writes it. */
  readonly snapshot: string;
  /** When the snapshot was read. Milliseconds since the epoch. */
  readonly at: number;
}

/**
 * The greatest age of a cursor. Retention deletes only users that have been idle for at least a day. So every cursor that is
 * younger has seen the last change of such a user. Milliseconds.
 */
export const OLDEST_CURSOR = 12 * 3_600_000;

const KIND = 'presence since';
/** The most characters of a snapshot. It names the running transactions. There are at most as many of them as connections. */
const LONGEST = 4_096;
/** `xmin:xmax:running,running`. A number represents 15 digits exactly. */
const SNAPSHOT = /^\d{1,15}:\d{1,15}:(\d{1,15}(,\d{1,15})*)?$/;

/** Whether Postgres can have written it: the running transactions lie between the two limits. */
export function isSnapshot(text: string): boolean {
  if (text.length > LONGEST || !SNAPSHOT.test(text)) return false;
  const { xmin, xmax, running } = readSnapshot(text);
  return xmin <= xmax && [...running].every((transaction) => transaction >= xmin && transaction < xmax);
}

type Written = [database: string, snapshot: string, at: number] | null;

function isWritten(value: unknown): value is Written {
  if (value === null) return true;
  if (!Array.isArray(value) || value.length !== 3) return false;
  const [database, snapshot, at] = value as unknown[];
  if (typeof database !== 'string' || typeof snapshot !== 'string' || !Number.isSafeInteger(at)) return false;
  return database.length < 200 && (at as number) >= 0 && isSnapshot(snapshot);
}

/** Writes a place as opaque text. Null: the client has seen nothing for certain. A client with such a cursor begins anew. */
export const writePresenceCursor = (place: PresencePlace | null): string =>
  encodeCursor(KIND, place && [place.database, place.snapshot, place.at]);

/** Reads the text of `writePresenceCursor`. Undefined if the text is not such a cursor. */
export function readPresenceCursor(text: string): PresencePlace | null | undefined {
  const written = decodeCursor(KIND, isWritten, text);
  return written && { database: written[0], snapshot: written[1], at: written[2] };
}
