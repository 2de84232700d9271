import { firstUuidAt } from '../../domain/event-id.js';
import { NAME_CONFIRMED } from '../../domain/identity.js';
import type { PlannedEvent } from '../../domain/planned-event.js';
import { isOpen, type WorkingSession } from '../../domain/session.js';
import type { DeviceWrite, EventMove, UserWrite } from '../../store/ingest/ingest-writes.js';
import type { Changes } from '../publish-changes.js';
import { addTo } from '../add-to.js';
import { userKey, type BatchPlan, type BatchState } from './sessionize.js';

type Writable<Type> = { -readonly [Key in keyof Type]: Type[Key] };

/**
 * What changes in when users were seen (store/seen). First: a session of theirs begins before that. Last: one that has ended
 * was active after that; or a user has never had a session, and what named the user found none.
 */
function seenWrites(
  sessions: readonly WorkingSession[],
  state: BatchState,
): Map<string, { first: number; last: number }> {
  const seen = new Map<string, { first: number; last: number }>();
  for (const session of sessions) {
    const { projectId, userId, mergedInto, startedAt, lastActivityAt } = session;
    if (userId === null || mergedInto) continue;
    const key = userKey(projectId, userId);
    const { first, last } = seen.get(key) ?? { first: Infinity, last: -Infinity };
    const isOver = !isOpen(session) && (session.isNew || session.moved);
    seen.set(key, { first: Math.min(first, startedAt), last: isOver ? Math.max(last, lastActivityAt) : last });
  }
  for (const [key, { firstSeenAt, lastSeenAt }] of state.users) {
    if (lastSeenAt === null && firstSeenAt !== null && !seen.has(key))
      seen.set(key, { first: Infinity, last: firstSeenAt.getTime() });
  }
  return seen;
}

/**
 * What the events say about their users: the latest name (rule 24), the latest data, the ends (rule 18), and when they were
 * seen.
 */
export function userWrites(
  events: readonly PlannedEvent[],
  state: BatchState,
  { ends, sessions }: BatchPlan,
): UserWrite[] {
  const writes = new Map<string, Writable<UserWrite>>();
  const writeFor = (key: string) => {
    const known = writes.get(key);
    if (known) return known;
    const { projectId, userId } = state.users.get(key)!;
    const write: Writable<UserWrite> = {
      projectId,
      userId,
      name: null,
      nameAt: null,
      data: null,
      ends: null,
      firstSeenAt: null,
      lastSeenAt: null,
    };
    writes.set(key, write);
    return write;
  };
  for (const [key, { first, last }] of seenWrites(sessions, state)) {
    const { firstSeenAt, lastSeenAt } = state.users.get(key)!;
    if (firstSeenAt !== null && first < firstSeenAt.getTime()) writeFor(key).firstSeenAt = first;
    if (last > (lastSeenAt?.getTime() ?? -Infinity)) writeFor(key).lastSeenAt = last;
  }
  for (const { event, verdict } of events) {
    if (!event.user || verdict?.status === 'REJECTED') continue;
    const key = userKey(event.projectId, event.user.id);
    const user = state.users.get(key)!;
    if (event.user.data) writeFor(key).data = event.user.data;
    if (!event.user.name) continue;
    const pending = writes.get(key);
    const name = pending?.name ?? user.name;
    const nameAt = pending?.nameAt ?? user.nameAt?.getTime() ?? 0;
    if (event.time < nameAt || (event.user.name === name && event.time - nameAt < NAME_CONFIRMED)) continue;
    Object.assign(writeFor(key), { name: event.user.name, nameAt: event.time });
  }
  for (const { projectId, userId, deviceId, ends: times } of ends) {
    if (userId === null) continue;
    const key = userKey(projectId, userId);
    const known = writeFor(key).ends ?? state.users.get(key)!.ends;
    writeFor(key).ends = new Map([...known, [deviceId ?? '', times]]);
  }
  return [...writes.values()];
}

/** The ends of the devices alone (rule 18). */
export const deviceWrites = (ends: BatchPlan['ends']): DeviceWrite[] =>
  ends.flatMap(({ projectId, userId, deviceId, ends: times }) =>
    userId === null && deviceId !== null ? [{ projectId, deviceId, ends: times }] : [],
  );

/** Stored events that change their session: those of merged sessions, and those after a late start. */
export function eventMoves(sessions: readonly WorkingSession[]): EventMove[] {
  const owned = new Map<string, { at: number; target: WorkingSession }[]>();
  for (const session of sessions) {
    if (session.mergedInto) continue;
    for (const { under, at } of session.stored) addTo(owned, under, { at, target: session });
  }
  const moves: EventMove[] = [];
  for (const [source, parts] of owned) {
    const runs: { from: number; to: number | null; target: WorkingSession }[] = [];
    for (const { at, target } of parts.toSorted((a, b) => a.at - b.at)) {
      const last = runs.at(-1);
      if (last?.target === target) continue;
      if (last) last.to = at;
      runs.push({ from: at, to: null, target });
    }
    for (const { from, to, target } of runs) {
      if (target.id !== source) moves.push({ projectId: target.projectId, source, from, to, target: target.id });
    }
  }
  return moves;
}

/**
 * Returns a function that finds the session of a stored event after these moves. Takes the ids of the event and of the session
 * that it was read in. A repeat is answered with this session (rule 25), also when its own batch moves the event.
 */
export function sessionAfter(moves: readonly EventMove[]): (eventId: string, sessionId: string) => string {
  const bySource = new Map<string, { first: string; end: string | null; target: string }[]>();
  for (const { source, from, to, target } of moves)
    addTo(bySource, source, { first: firstUuidAt(from), end: to === null ? null : firstUuidAt(to), target });
  return (eventId, sessionId) =>
    bySource.get(sessionId)?.find(({ first, end }) => eventId >= first && (end === null || eventId < end))?.target ??
    sessionId;
}

/** The changes to publish for a session. `took`: the ids of the stored sessions that became part of it. */
export function sessionChanges(
  session: WorkingSession,
  wasOpen: ReadonlySet<WorkingSession>,
  took: readonly string[],
): Changes['sessions'] {
  const { projectId, id } = session;
  const ended = !isOpen(session);
  const merged = took.length > 0 ? { took } : {};
  if (!session.isNew) return [{ projectId, id, kind: ended && wasOpen.has(session) ? 'ENDED' : 'UPDATED', ...merged }];
  const started = { projectId, id, kind: 'STARTED' as const, ...merged };
  return ended ? [started, { projectId, id, kind: 'ENDED' }] : [started];
}
