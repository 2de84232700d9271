import type { Reach } from '../domain/access.js';
import type { PresenceUpdate } from '../domain/presence.js';

/** Watches who is online (rules 28 to 30). */
export interface Presence {
  /**
   * A SNAPSHOT, then a DIFF for each change, without end. `identities` null: every user within reach.
   * Ends when the caller returns it, or when the server closes. Throws UNAVAILABLE where the snapshot cannot be read.
   */
  watch(reach: Reach, identities: readonly string[] | null): AsyncIterableIterator<PresenceUpdate>;
  /** Ends every watch. */
  close(): Promise<void>;
}
