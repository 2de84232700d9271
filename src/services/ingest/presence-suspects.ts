import type { PresenceCause } from '../../domain/presence.js';
import { isOpen, survivor, type WorkingSession } from '../../domain/session.js';
import type { PresenceSuspect } from '../../store/presence/flip-presence.js';
import type { DevicesNote } from '../../store/presence/note-devices.js';
import { inOrderOfLocks } from '../../store/lock-order.js';
import type { SessionWrite, UserWrite } from '../../store/ingest/ingest-writes.js';
import { userKey, type BatchState } from './sessionize.js';

/** A session that is in the published number of its user, as it was before this transaction. */
interface Counted {
  readonly userId: string;
  /** What `UserPresence.devices` shows of it. */
  readonly shown: string;
}

const shownOf = ({ startedAt, browserName, osName, device }: WorkingSession): string =>
  JSON.stringify([startedAt, browserName, osName, device]);

/** The stored sessions that are in the published number of their user (`toldOnline`). */
export const countedSessions = (sessions: readonly WorkingSession[]): ReadonlyMap<WorkingSession, Counted> =>
  new Map(
    sessions.flatMap((session) => {
      const { userId, toldOnline } = session;
      return userId !== null && toldOnline ? [[session, { userId, shown: shownOf(session) }]] : [];
    }),
  );

/** Those of the writes that give their user another name than the row has. */
export const renames = (writes: readonly UserWrite[], { users }: BatchState): UserWrite[] =>
  writes.filter(({ projectId, userId, name }) => name !== null && name !== users.get(userKey(projectId, userId))!.name);

/** A session that began to count as online for its user, or that counts no more, and why. */
export type Turn = Omit<PresenceSuspect, 'isRenamed'> & { readonly sessionId: string; readonly cause: PresenceCause };

/**
 * Gathers the sessions that one transaction has turned online and offline, by user. `found` answers the users whose number of
 * online sessions has changed, each with the session of latest activity among those that changed the number; and the users of
 * whom one session has replaced another, each with the one that came.
 */
export function createTurns(): {
  add(turn: Turn, by: 1 | -1): void;
  found(): { readonly turned: PresenceSuspect[]; readonly replaced: Turn[] };
} {
  const users = new Map<string, { by: number; more: Turn | null; fewer: Turn | null }>();
  return {
    add(turn, by) {
      const key = userKey(turn.projectId, turn.userId);
      const user = users.get(key) ?? { by: 0, more: null, fewer: null };
      const which = by > 0 ? 'more' : 'fewer';
      user.by += by;
      if (turn.lastSeenAt >= (user[which]?.lastSeenAt ?? -Infinity)) user[which] = turn;
      users.set(key, user);
    },
    found() {
      const turned: PresenceSuspect[] = [];
      const replaced: Turn[] = [];
      for (const { by, more, fewer } of users.values()) {
        if (by !== 0) turned.push({ ...(by > 0 ? more! : fewer!), isRenamed: false });
        else replaced.push(more!);
      }
      return { turned, replaced };
    },
  };
}

/** Why a session counts as online now that did not count for this user before. */
function causeOfMore({ isNew, toldOnline }: WorkingSession): PresenceCause {
  // A session that counted, but for nobody, begins for the first user whom it brings (rule 1).
  return isNew || toldOnline ? 'STARTED' : 'HEARD';
}

/** Why a session does not count as online any more. */
function causeOfFewer(session: WorkingSession): PresenceCause {
  if (session.mergedInto) return 'ENDED';
  if (isOpen(session)) return 'LAPSED';
  return session.endReason === 'INACTIVITY' ? 'CLOSED' : 'ENDED';
}

interface Suspects {
  readonly turned: PresenceSuspect[];
  /** The users without an edge whose devices have changed: a session counts in the place of another, or shows something else. */
  readonly shown: DevicesNote[];
}

/**
 * The users whose number of sessions online has changed since `counted`, because of sessions that are written or that
 * became part of another. Each comes with the session of latest activity among those that changed the number.
 * And the users whom a write gives another name (`renamed`).
 */
export function suspects(
  counted: ReadonlyMap<WorkingSession, Counted>,
  writes: readonly SessionWrite[],
  merged: readonly WorkingSession[],
  renamed: readonly UserWrite[],
  now: number,
): Suspects {
  const turns = createTurns();
  function turn(session: WorkingSession, userId: string, by: 1 | -1): void {
    const { projectId, id, lastActivityAt } = survivor(session);
    const cause = by > 0 ? causeOfMore(session) : causeOfFewer(session);
    turns.add({ projectId, userId, sessionId: id, cause, lastSeenAt: lastActivityAt }, by);
  }
  const changed: DevicesNote[] = [];
  for (const { session, liveness } of writes) {
    const known = counted.get(session);
    const before = known?.userId ?? null;
    const after = liveness.live && liveness.onlineUntil > now ? session.userId : null;
    if (before === after) {
      if (after !== null && known!.shown !== shownOf(session))
        changed.push({ projectId: session.projectId, userId: after, sessionId: null, cause: null });
      continue;
    }
    if (before !== null) turn(session, before, -1);
    if (after !== null) turn(session, after, 1);
  }
  for (const session of merged) {
    const before = counted.get(session)?.userId;
    if (before !== undefined) turn(session, before, -1);
  }
  const { turned: users, replaced } = turns.found();
  const turned = new Map(users.map((suspect) => [userKey(suspect.projectId, suspect.userId), suspect]));
  for (const { projectId, userId, nameAt } of renamed) {
    const key = userKey(projectId, userId);
    const suspect = turned.get(key) ?? { projectId, userId, sessionId: null, cause: null, lastSeenAt: nameAt! };
    turned.set(key, { ...suspect, isRenamed: true });
  }
  // The session that replaced another comes last, so its user keeps it.
  const shown = new Map([...changed, ...replaced].map((user) => [userKey(user.projectId, user.userId), user]));
  for (const key of turned.keys()) shown.delete(key);
  return { turned: [...turned.values()].toSorted(inOrderOfLocks), shown: [...shown.values()].toSorted(inOrderOfLocks) };
}
