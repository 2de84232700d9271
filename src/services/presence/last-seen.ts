import type { PresenceRow, UserPresence } from '../../domain/presence.js';
import type { Database } from '../../store/database.js';
import { lastSeen } from '../../store/presence/presence-moments.js';

type Unread = PresenceRow & { unread: string };

const isUnread = (user: UserPresence): user is Unread => (user as Partial<PresenceRow>).unread != null;

async function readUnread(database: Database, projectId: string, users: readonly Unread[]): Promise<void> {
  const ids = users.map(({ unread }) => unread);
  const seen = await lastSeen(database, { projectId, userIds: null }, ids);
  for (const [at, user] of (users as readonly PresenceRow[]).entries()) {
    user.lastSeenAt = seen.get(ids[at]!) ?? null;
    user.unread = null;
  }
}

/** The reads that are under way, by the list of users. */
const reading = new WeakMap<readonly UserPresence[], Promise<void>>();

/**
 * Reads lastSeenAt of those users whose lastSeenAt has not been read, and writes it into the same objects. So a later reader
 * of the same objects does not read it again; one that comes meanwhile with the same list waits for the same read. Returns null if there is nothing to read.
 */
export function readLastSeen(
  database: Database,
  projectId: string,
  users: readonly UserPresence[],
): Promise<void> | null {
  const known = reading.get(users);
  if (known) return known;
  const unread = users.filter(isUnread);
  if (unread.length === 0) return null;
  const read = readUnread(database, projectId, unread).finally(() => reading.delete(users));
  reading.set(users, read);
  return read;
}
