import type { Clock } from '../../domain/clock.js';
import { userIdOf } from '../../domain/identity.js';
import { writeFeedCursor } from '../../domain/feed-cursor.js';
import { wellFormed } from '../../domain/well-formed.js';
import type { Observer } from '../../observation.js';
import { writeChanges, writeErasure } from '../../store/change-rows.js';
import type { Database, Queryable } from '../../store/database.js';
import { createNaming, type Naming } from '../../store/database-name.js';
import { withPartitions } from '../../store/partitions.js';
import { eraseChanges } from '../../store/presence/settle-minutes.js';
import { eraseEvents, eraseSessions, lockUser } from '../../store/projects/erase-user.js';
import { eraseDescriptions } from '../../store/ingest/user-descriptions.js';
import { auditBeside, type Actor } from '../access/audit.js';
import type { Bus } from '../bus.js';
import { retryLostRaces } from '../lost-race.js';
import { publishChanges } from '../publish-changes.js';

/**
 * Deletes every session and event of a user, and removes the user from what subscribers see. Answers how many were deleted
 * (zeros for a user that was never seen), and the cursor of the erasure in the feed. If it fails half-way, the rest is still
 * there: call it again. The hashes of the client's own event ids stay for their 3 days, so that a late retry does not bring an
 * event back.
 */
export type EraseUser = (
  actor: Actor,
  identity: string,
) => Promise<{ sessions: number; events: number; cursor: string }>;

/** Events deleted in one transaction: a user with many years of events must not hold locks for minutes. */
const CHUNK = 10_000;
/**
 * Changes of presence that one transaction deletes. The minutes that they were in are counted anew: with 200 changes of a project
 * a minute, that reads 20,000 changes.
 */
const CHANGES_CHUNK = 100;

export function createEraseUser(deps: {
  database: Database;
  naming?: Naming;
  bus: Bus;
  clock: Clock;
  observe: Observer;
}): EraseUser {
  const { database, naming = createNaming(database), bus, clock, observe } = deps;
  return async (actor, identity) => {
    const { reach } = actor;
    const spelt = wellFormed(identity.trim());
    const userId = userIdOf(reach.projectId, spelt);
    const name = await naming();
    const updated = (sessions: readonly string[]) =>
      sessions.map((id) => ({ projectId: reach.projectId, id, kind: 'UPDATED' as const }));
    /**
     * Runs a transaction, again if there was no partition for its rows, or if it has lost a race: two users who are erased at once
     * may have events in sessions of each other. So a transaction returns what it has counted, and adds to nothing outside.
     */
    const inTransaction = <Result>(at: Date, work: (tx: Queryable) => Promise<Result>): Promise<Result> =>
      withPartitions(database, at, observe, () =>
        retryLostRaces(
          () => database.transaction(work),
          (reason, attempt) => observe({ kind: 'batch.retried', reason: `erasure: ${reason}`, attempt }),
        ),
      );
    let before = 0;
    for (let gone = CHUNK; gone >= CHUNK; before += gone) {
      const at = clock.now();
      gone = await inTransaction(at, async (tx) => {
        const { count, sessions } = await eraseEvents(tx, reach, userId, CHUNK);
        await writeChanges(tx, { events: [], sessions: updated(sessions) }, at);
        return count;
      });
    }
    for (let gone = CHANGES_CHUNK; gone > 0;)
      gone = await inTransaction(clock.now(), (tx) => eraseChanges(tx, reach, userId, CHANGES_CHUNK));
    const now = clock.now();
    // The user's descriptions that wait for an event. A user who has sent no event may have some.
    await eraseDescriptions(database, reach, spelt);
    const eraseRest = async (tx: Queryable) => {
      const user = await lockUser(tx, reach, userId);
      // A user who is not there is told as erased too: an earlier call may have erased them, and its answer may be lost.
      if (!user) return { place: await writeErasure(tx, reach, userId, now, name), erased: null };
      // Events and changes of presence that came in since the last chunk. The lock lets no more come in.
      const others = new Set<string>();
      let events = before;
      for (let gone = CHUNK; gone >= CHUNK; events += gone) {
        const { count, sessions } = await eraseEvents(tx, reach, userId, CHUNK);
        for (const id of sessions) others.add(id);
        gone = count;
      }
      await writeChanges(tx, { events: [], sessions: updated([...others]) }, now);
      for (let gone = CHANGES_CHUNK; gone > 0;) gone = await eraseChanges(tx, reach, userId, CHANGES_CHUNK);
      const version = Math.max(user.version + 1, now.getTime());
      const erased = await eraseSessions(tx, reach, userId, version);
      // Only the hash of the user is recorded: nothing else of the user stays.
      await auditBeside(tx, actor, now, 'USER_ERASED', { user: userId, sessions: erased.sessions, events });
      // Last, because the feed tells an erasure after everything else of its transaction.
      return { place: await writeErasure(tx, reach, userId, now, name), erased: { user, version, events, ...erased } };
    };
    const { place, erased: last } = await inTransaction(now, eraseRest);
    const cursor = writeFeedCursor(place);
    const changed = [reach.projectId];
    if (!last) {
      publishChanges(bus, observe, { edges: [], sessions: [], events: [], changed });
      return { sessions: 0, events: before, cursor };
    }
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
      version: last.version,
      previous: last.user.version || null,
      transaction: last.transaction,
      sessionId: null,
    };
    const edges = [{ projectId: reach.projectId, edge, changeId: null }];
    publishChanges(bus, observe, { edges, sessions: [], events: [], changed });
    return { sessions: last.sessions, events: last.events, cursor };
  };
}
