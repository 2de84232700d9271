import type { Caller } from '../domain/access.js';

/** The longest delay setTimeout takes. */
const LONGEST = 2 ** 31 - 1;
const MOST_REMEMBERED = 10_000;

/** What a caller keeps open: subscriptions and sockets, which end with the caller's right to them. */
export interface OpenStreams {
  /** `end` is called at once when the caller's key is revoked, or the token runs out. Answers how to forget it. */
  open(caller: Caller, end: (why: 'revoked' | 'expired') => void): () => void;
  close(): void;
}

export function createOpenStreams(
  onRevoked: (listener: (keyId: string) => void) => () => void,
  now: () => Date,
): OpenStreams {
  const byKey = new Map<string, Set<(why: 'revoked' | 'expired') => void>>();
  /** A revocation may be heard between the look at the key and the opening of the stream. A key never comes back. */
  const revoked = new Set<string>();
  const stop = onRevoked((keyId) => {
    if (revoked.size >= MOST_REMEMBERED) revoked.clear();
    revoked.add(keyId);
    for (const end of byKey.get(keyId) ?? []) end('revoked');
  });
  return {
    open(caller, end) {
      if (caller.kind === 'operator') return () => {};
      const { keyId, expiresAt } = caller;
      const own = byKey.get(keyId) ?? new Set();
      byKey.set(keyId, own);
      // Two streams may bring the same function: each counts.
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
