import type { Clock } from '../domain/clock.js';
import { userIdOf } from '../domain/identity.js';
import type { Observer } from '../observation.js';
import type { Database } from '../store/database.js';
import { eraseEvents, eraseSessions, lockUser } from '../store/erase-user.js';
import { audit, type Actor } from './audit.js';
import type { Bus } from './bus.js';
import { publishChanges } from './publish-changes.js';

/**
 * Deletes every session and event of a user, and the user from what subscribers see. Answers what was
 * deleted, zeros for a user never seen. Where it fails half-way the rest is still there: call it again.
 * The hashes of the client's own event ids stay for their 3 days, so that a late retry brings nothing back.
 */
export type EraseUser = (actor: Actor, identity: string) => Promise<{ sessions: number; events: number }>;

/** Events deleted in one transaction: a user of many years must not hold locks for minutes. */
const CHUNK = 10_000;

export function createEraseUser(deps: { database: Database; bus: Bus; clock: Clock; observe: Observer }): EraseUser {
  const { database, bus, clock, observe } = deps;
  return async (actor, identity) => {
    const { reach } = actor;
    const userId = userIdOf(reach.projectId, identity.trim());
    let events = 0;
    for (;;) {
      const gone = await database.transaction((tx) => eraseEvents(tx, reach, userId, CHUNK));
      events += gone;
      if (gone < CHUNK) break;
    }
    const now = clock.now();
    const last = await database.transaction(async (tx) => {
      const user = await lockUser(tx, reach, userId);
      if (!user) return null;
      // What came in since the last chunk; nothing more can come now.
      for (let gone = CHUNK; gone >= CHUNK; events += gone) gone = await eraseEvents(tx, reach, userId, CHUNK);
      const erased = await eraseSessions(tx, reach, userId);
      // By the hash alone: nothing of the user stays.
      await audit(tx, actor, now, 'USER_ERASED', { user: userId, sessions: erased.sessions, events });
      return { user, ...erased };
    });
    if (!last) return { sessions: 0, events };
    const edge = {
      userId,
      presence: {
        identity: last.user.identity,
        name: null,
        status: 'OFFLINE' as const,
        since: null,
        lastSeenAt: null,
        onlineSessions: 0,
      },
      version: Math.max(last.user.version + 1, now.getTime()),
      previous: last.user.version || null,
      transaction: last.transaction,
      sessionId: null,
    };
    publishChanges(bus, observe, { edges: [{ projectId: reach.projectId, edge }], sessions: [], events: [] }, now);
    return { sessions: last.sessions, events };
  };
}
