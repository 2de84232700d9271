import { findKeys, type KeyQuery, type KnownKey } from '../store/api-keys.js';
import type { Database } from '../store/database.js';

interface Asked {
  readonly query: KeyQuery;
  readonly resolve: (key: KnownKey | null) => void;
  readonly reject: (error: unknown) => void;
}

const matches = (query: KeyQuery, key: KnownKey): boolean =>
  'hash' in query ? key.hash.equals(query.hash) : key.projectId === query.projectId && key.id === query.id;

const nameOf = (query: KeyQuery): string =>
  'hash' in query ? query.hash.toString('base64') : `${query.projectId} ${query.id}`;

/**
 * Looks keys up in the database for every request, so that a revoked key is of no use from the moment its
 * revocation has committed, on any server. Requests that arrive while a look-up is under way share the
 * next one, which begins after all of them: one statement at a time, however many requests.
 */
export function createKeyLookup(database: Database): (query: KeyQuery) => Promise<KnownKey | null> {
  let waiting: Asked[] = [];
  let running = false;

  async function run(): Promise<void> {
    while (waiting.length > 0) {
      const asked = waiting;
      waiting = [];
      try {
        // Most of those who ask at once ask with the same key.
        const different = new Map(asked.map(({ query }) => [nameOf(query), query]));
        const keys = await findKeys(database, [...different.values()]);
        for (const { query, resolve } of asked) resolve(keys.find((key) => matches(query, key)) ?? null);
      } catch (error) {
        for (const { reject } of asked) reject(error);
      }
    }
    running = false;
  }

  return (query) =>
    new Promise((resolve, reject) => {
      waiting.push({ query, resolve, reject });
      if (running) return;
      running = true;
      // A turn of the loop later, with all that has been read from the sockets in this one. Errors are answered to those who
      // asked; nothing is left to reject.
      setImmediate(() => void run());
    });
}
