import { setImmediate as nextTurn } from 'node:timers/promises';
import { rejected, type IngestOutcome } from '../../domain/event.js';
import { livenessOf } from '../../domain/online.js';
import type { PlannedEvent, ReadyEvent, Verdict } from '../../domain/planned-event.js';
import { isOpen, survivor } from '../../domain/session.js';
import { checkErasures, writeChanges } from '../../store/change-rows.js';
import type { Queryable } from '../../store/database.js';
import type { EventWrite } from '../../store/sessions/event-columns.js';
import { flipPresence } from '../../store/presence/flip-presence.js';
import { noteDevices } from '../../store/presence/note-devices.js';
import {
  absorbSessions,
  copySources,
  describeSessions,
  insertEventKeys,
  insertEvents,
  insertSessions,
  moveEvents,
  moveSessions,
  updateDevices,
  updateUsers,
  type EventKeyWrite,
  type SessionWrite,
} from '../../store/ingest/ingest-writes.js';
import { sendInOrder } from '../../store/send-in-order.js';
import { deviceWrites, eventMoves, sessionAfter, sessionChanges, userWrites } from './batch-writes.js';
import { countedSessions, renames, suspects } from './presence-suspects.js';
import { readState } from './read-state.js';
import { duplicateOf, idDays, Repeats } from './repeats.js';
import { addTo } from '../add-to.js';
import type { Changes } from '../publish-changes.js';
import { sessionize, userKey } from './sessionize.js';

export interface Committed {
  /** One list for each request, with one outcome for each event, in order. */
  readonly outcomes: IngestOutcome[][];
  readonly changes: Changes;
}

function outcomeOf(verdict: Verdict, eventId: string | null): IngestOutcome {
  const session = verdict.session && survivor(verdict.session);
  return {
    status: verdict.status,
    eventId,
    sessionId: session?.id ?? null,
    code: verdict.code,
    message: verdict.message,
  };
}

/** A larger batch is processed in several turns of the event loop, so that other work gets its turn in between. */
const MOST_A_TURN = { events: 500, characters: 1_000_000 };

const isLong = (events: readonly PlannedEvent[]): boolean =>
  events.length > MOST_A_TURN.events ||
  events.reduce((sum, { event }) => sum + event.json.length, 0) > MOST_A_TURN.characters;

/**
 * Processes the events of several requests, of any projects, in one transaction: it locks, reads, plans and writes. The
 * number of statements does not depend on the number of events. Throws PlanAnew, or a driver error whose SQLSTATE says
 * whether another try may succeed; then nothing was stored.
 */
export async function commitBatch(
  tx: Queryable,
  requests: readonly (readonly ReadyEvent[])[],
  now: Date,
): Promise<Committed> {
  const planned = requests.map((events, request) =>
    events.map((event): PlannedEvent => ({ event, request, verdict: null })),
  );
  const all = planned.flat();
  const pause = isLong(all) ? nextTurn : null;
  const repeats = new Repeats();
  const state = await readState(
    tx,
    all.filter(({ event }) => !event.refusal),
    now,
    (on) => repeats.read(on, all, now.getTime()),
  );
  const wasOpen = new Set(state.sessions.filter(isOpen));
  const counted = countedSessions(state.sessions);
  await pause?.();

  const fresh = all.filter((one) => !repeats.knownAs(one) && repeats.isFirst(one));
  const plan = sessionize(fresh, state);
  const byId = new Map(plan.sessions.map((session) => [session.id, session]));

  await pause?.();
  const eventWrites: EventWrite[] = [];
  const keyWrites: EventKeyWrite[] = [];
  const outcomes = new Map<PlannedEvent, IngestOutcome>();
  const { remembered } = idDays(now.getTime());
  for (const one of fresh) {
    const { event } = one;
    const verdict = one.verdict!;
    const eventId = verdict.status === 'ACCEPTED' ? event.id : null;
    const outcome = outcomeOf(verdict, eventId);
    outcomes.set(one, outcome);
    if (verdict.status === 'REJECTED') continue;
    const { sessionId } = outcome;
    if (eventId) eventWrites.push({ sessionId, event });
    if (!event.eventKey) continue;
    for (const receivedOn of remembered) {
      keyWrites.push({ projectId: event.projectId, eventKey: event.eventKey, receivedOn, eventId, sessionId });
    }
  }

  const merged = plan.sessions.filter((session) => session.mergedInto && !session.isNew);
  const changed: SessionWrite[] = plan.sessions
    .filter((session) => !session.mergedInto && (session.isNew || session.moved || session.described))
    .toSorted((a, b) => ((a.key ?? a.id) < (b.key ?? b.id) ? -1 : 1))
    .map((session) => {
      const { projectId, userId } = session;
      const isOnline = userId !== null && state.users.get(userKey(projectId, userId))?.online === true;
      return { session, liveness: livenessOf(session, state.settings.get(projectId)!, now.getTime(), isOnline) };
    });
  const stored = changed.filter(({ session }) => !session.isNew);
  const closing = stored.filter(({ session }) => session.moved && !isOpen(session));
  const staying = stored.filter(({ session }) => session.moved && isOpen(session));
  const inserted = changed.filter(({ session }) => session.isNew);
  const described = stored.filter(({ session }) => session.described);
  const unread = changed
    .map(({ session }) => session)
    .filter(({ hasOthersMarks, entry, exit }) => hasOthersMarks && (entry?.source === null || exit?.source === null));
  const merges = merged.map((session) => ({
    projectId: session.projectId,
    userId: survivor(session).userId,
    from: session.id,
    to: survivor(session).id,
  }));
  const took = new Map<string, string[]>();
  for (const { from, to } of merges) addTo(took, to, from);
  const moves = eventMoves(plan.sessions);
  const sessionNow = sessionAfter(moves);
  const learned = userWrites(fresh, state, plan);
  const ended = deviceWrites(plan.ends);
  const renamed = renames(learned, state);
  const { turned, shown } = suspects(counted, [...closing, ...staying, ...inserted], merged, renamed, now.getTime());
  const told = {
    events: eventWrites.map(({ event: { projectId, id } }) => ({ projectId, id })),
    sessions: changed.flatMap(({ session }) => sessionChanges(session, wasOpen, took.get(session.id) ?? [])),
  };
  let edges: Changes['edges'] = [];
  let devices: Changes['devices'] = [];
  await sendInOrder(
    tx,
    [
      moves.length > 0 ? (on) => moveEvents(on, moves) : null,
      merges.length > 0 ? (on) => absorbSessions(on, merges, now) : null,
      // Rule 5's index is checked row by row: a user's open session must close before the next one opens.
      closing.length > 0 ? (on) => moveSessions(on, closing) : null,
      staying.length > 0 ? (on) => moveSessions(on, staying) : null,
      inserted.length > 0 ? (on) => insertSessions(on, inserted) : null,
      described.length > 0 ? (on) => describeSessions(on, described) : null,
      unread.length > 0 ? (on) => copySources(on, unread) : null,
      eventWrites.length > 0 ? (on) => insertEvents(on, eventWrites) : null,
      keyWrites.length > 0 ? (on) => insertEventKeys(on, keyWrites) : null,
      learned.length > 0 ? (on) => updateUsers(on, learned) : null,
      ended.length > 0 ? (on) => updateDevices(on, ended) : null,
      (on) => writeChanges(on, told, now),
      // Last, because it counts the sessions and reads the names as the statements before have left them.
      async (on) => {
        edges = await flipPresence(on, turned, now);
      },
      async (on) => {
        devices = await noteDevices(on, shown, now);
      },
    ],
    pause,
  );

  // flipPresence has looked at those whose presence it changed.
  const flipped = new Set(edges.map(({ projectId, edge, changeId }) => changeId && userKey(projectId, edge.userId)));
  const young = [...state.users.values()].filter(
    (user) => user.isYoung && !flipped.has(userKey(user.projectId, user.userId)),
  );
  const isTold = told.events.length + told.sessions.length > 0;
  if (isTold && young.length > 0) await checkErasures(tx, young, now);

  return {
    outcomes: planned.map((events) =>
      events.map((one) => {
        const known = repeats.knownAs(one);
        if (known) {
          const { eventId, sessionId } = known;
          const isIn = eventId && sessionId ? sessionNow(eventId, sessionId) : sessionId;
          return duplicateOf(one, { ...known, sessionId: isIn }, byId);
        }
        const first = repeats.within.get(one);
        const { refusal } = one.event;
        if (!first) return refusal ? rejected(refusal) : outcomes.get(one)!;
        const outcome = outcomes.get(first)!;
        if (outcome.status === 'REJECTED') return refusal ? rejected(refusal) : outcome;
        return duplicateOf(one, { ...outcome, userId: first.event.user?.id ?? null }, byId);
      }),
    ),
    changes: {
      ...told,
      edges,
      devices,
    },
  };
}
