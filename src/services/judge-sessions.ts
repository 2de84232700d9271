import { closeSessions, type LookedAt } from '../store/close-sessions.js';
import type { Queryable } from '../store/database.js';
import { flipPresence, type PresenceSuspect } from '../store/flip-presence.js';
import { inOrderOfLocks, type UserKey } from '../store/ingest-reads.js';
import type { Changes } from './publish-changes.js';
import { userKey } from './sessionize.js';

export interface Judged {
  readonly looked: number;
  /** Sessions closed for inactivity. */
  readonly closed: number;
  readonly changes: Changes;
}

/** The sessions' users, each once, in the order of their locks. */
export function usersOf(sessions: readonly { projectId: string; userId: string | null }[]): UserKey[] {
  const users = new Map<string, UserKey>();
  for (const { projectId, userId } of sessions)
    if (userId) users.set(userKey(projectId, userId), { projectId, userId });
  return [...users.values()].toSorted(inOrderOfLocks);
}

/** Users whose status may differ from their sessions by now, whichever way. */
function suspects(looked: readonly LookedAt[]): PresenceSuspect[] {
  const suspects = new Map(
    looked
      .filter((session) => session.userId)
      .toSorted((a, b) => a.lastActivityAt.getTime() - b.lastActivityAt.getTime())
      .map(({ projectId, userId, id, lastActivityAt }) => [
        userKey(projectId, userId!),
        { projectId, userId: userId!, sessionId: id, lastSeenAt: lastActivityAt.getTime() },
      ]),
  );
  return [...suspects.values()].toSorted(inOrderOfLocks);
}

/**
 * Sees to it that sessions and the presence of their users are what rules 20 and 21 make of them by now. The sessions and
 * their users must be locked. The changes are to be published after the commit.
 */
export async function judgeSessions(
  tx: Queryable,
  sessions: readonly { projectId: string; id: string }[],
  now: Date,
): Promise<Judged> {
  const looked = sessions.length > 0 ? await closeSessions(tx, sessions, now) : [];
  const edges = await flipPresence(tx, suspects(looked), now);
  const closed = looked.filter((session) => session.closed);
  return {
    looked: looked.length,
    closed: closed.length,
    changes: {
      edges,
      events: [],
      sessions: closed.map(({ projectId, id }) => ({ projectId, id, kind: 'ENDED' as const })),
    },
  };
}
