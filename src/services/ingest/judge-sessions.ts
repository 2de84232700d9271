import { writeChanges } from '../../store/change-rows.js';
import { closeSessions } from '../../store/ingest/close-sessions.js';
import { seeUsers } from '../../store/ingest/ingest-writes.js';
import type { Queryable } from '../../store/database.js';
import { flipPresence } from '../../store/presence/flip-presence.js';
import { noteDevices } from '../../store/presence/note-devices.js';
import { inOrderOfLocks, type UserKey } from '../../store/lock-order.js';
import { createTurns } from './presence-suspects.js';
import type { Changes } from '../publish-changes.js';
import { userKey } from './sessionize.js';

export interface Judged {
  readonly looked: number;
  /** Sessions closed for inactivity. */
  readonly closed: number;
  readonly changes: Changes;
}

/** The users of the sessions, each once, in the order of their locks. */
export function usersOf(sessions: readonly { projectId: string; userId: string | null }[]): UserKey[] {
  const users = new Map<string, UserKey>();
  for (const { projectId, userId } of sessions)
    if (userId) users.set(userKey(projectId, userId), { projectId, userId });
  return [...users.values()].toSorted(inOrderOfLocks);
}

/**
 * Brings sessions, and the presence of their users, to what rules 20 and 21 say by `now`. The sessions and their users must
 * be locked. The caller publishes the changes after the commit.
 */
export async function judgeSessions(
  tx: Queryable,
  sessions: readonly { projectId: string; id: string }[],
  now: Date,
): Promise<Judged> {
  const looked = sessions.length > 0 ? await closeSessions(tx, sessions, now) : [];
  const turns = createTurns();
  for (const { projectId, id, userId, lastActivityAt, cause } of looked) {
    if (userId === null || cause === null) continue;
    turns.add(
      { projectId, userId, sessionId: id, cause, lastSeenAt: lastActivityAt.getTime() },
      cause === 'HEARD' ? 1 : -1,
    );
  }
  const { turned, replaced } = turns.found();
  const edges = await flipPresence(tx, turned.toSorted(inOrderOfLocks), now);
  const closed = looked.filter((session) => session.closed);
  await seeUsers(
    tx,
    closed.flatMap(({ projectId, userId, lastActivityAt }) =>
      userId === null ? [] : [{ projectId, userId, lastSeenAt: lastActivityAt }],
    ),
  );
  const changed = {
    events: [],
    sessions: closed.map(({ projectId, id }) => ({ projectId, id, kind: 'ENDED' as const })),
  };
  await writeChanges(tx, changed, now);
  return {
    looked: looked.length,
    closed: closed.length,
    changes: {
      ...changed,
      edges,
      devices: await noteDevices(tx, replaced.toSorted(inOrderOfLocks), now),
    },
  };
}
