import { LRUCache } from 'lru-cache';
import type { Caller } from '../../domain/access.js';

/** The longest delay of setTimeout, in milliseconds. */
const LONGEST = 2 ** 31 - 1;
const MOST_REMEMBERED = 10_000;

/** The subscriptions and sockets that callers hold open. They end when their caller's key is revoked or their token expires. */
export interface OpenStreams {
  /**
   * Adds a stream. `end` is called at once when the caller's key is revoked or the token expires. Returns a function that
   * removes the stream.
   */
  open(caller: Caller, end: (why: 'revoked' | 'expired') => void): () => void;
  close(): void;
}

export function createOpenStreams(
  onRevoked: (listener: (keyId: string) => void) => () => void,
  now: () => Date,
): OpenStreams {
  const byKey = new Map<string, Set<(why: 'revoked' | 'expired') => void>>();
  /**
   * Revoked keys. A revocation can arrive after the check of a key and before its stream opens. A revoked key never becomes
   * valid again.
   */
  const revoked = new LRUCache<string, true>({ max: MOST_REMEMBERED });
  const stop = onRevoked((keyId) => {
    revoked.set(keyId, true);
    for (const end of byKey.get(keyId) ?? []) end('revoked');
  });
  return {
    open(caller, end) {
      if (caller.kind === 'operator') return () => {};
      const { keyId, expiresAt } = caller;
      const own = byKey.get(keyId) ?? new Set();
      byKey.set(keyId, own);
      // A new function for each stream, because two streams may have the same `end`.
      const entry = (why: 'revoked' | 'expired'): void => end(why);
      own.add(entry);
      if (revoked.has(keyId)) setImmediate(() => entry('revoked'));
      const left = expiresAt && Math.min(LONGEST, expiresAt.getTime() - now().getTime());
      const timer = left === null ? null : setTimeout(() => entry('expired'), left);
      return () => {
        if (timer) clearTimeout(timer);
        own.delete(entry);
        if (own.size === 0 && byKey.get(keyId) === own) byKey.delete(keyId);
      };
    },
    close() {
      stop();
      byKey.clear();
    },
  };
}
