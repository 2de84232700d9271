import { rejected, type IngestOutcome } from '../domain/event.js';
import { NAME_CONFIRMED } from '../domain/identity.js';
import { MOST_SPLIT, type EventSplit } from '../domain/identity-sessions.js';
import { livenessOf } from '../domain/online.js';
import { policyOf, type PlannedEvent, type ReadyEvent, type Verdict } from '../domain/planned-event.js';
import { isOpen, survivor, type WorkingSession } from '../domain/session.js';
import type { Queryable } from '../store/database.js';
import type { EventWrite } from '../store/event-columns.js';
import { flipPresence, type PresenceSuspect } from '../store/flip-presence.js';
import {
  addUsers,
  countNamesakes,
  inOrderOfLocks,
  lockNamedSessions,
  lockUsers,
  readIdentitySessions,
  readKnownEvents,
  readSessionOwners,
  readSettings,
  readStoredParts,
  type KnownEvent,
  type LockedUser,
  type SessionKey,
  type UserKey,
} from '../store/ingest-reads.js';
import {
  absorbSessions,
  describeSessions,
  insertEventKeys,
  insertEvents,
  insertSessions,
  moveEvents,
  moveSessions,
  updateUsers,
  type EventKeyWrite,
  type EventMove,
  type SessionWrite,
  type UserWrite,
} from '../store/ingest-writes.js';
import type { Changes } from './publish-changes.js';
import { keySubject, sessionize, userKey, type BatchPlan, type BatchState } from './sessionize.js';

/** Thrown inside the transaction where what was read is no longer what was locked: the batch is planned anew. */
export class PlanAnew extends Error {}

export interface Committed {
  /** One list a request, one outcome an event, in order. */
  readonly outcomes: IngestOutcome[][];
  readonly changes: Changes;
}

const DAY = 86_400_000;
/** Servers may disagree about the day for this long around midnight; then an id is remembered on both days. */
const MIDNIGHT = 5 * 60_000;

const day = (time: number): string => new Date(time).toISOString().slice(0, 10);
const daysAround = (now: number): string[] => [...new Set([day(now - MIDNIGHT), day(now), day(now + MIDNIGHT)])];

/** The answer to a repeat. A caller who is narrowed to certain users is not told where somebody else's event is. */
function duplicateOf(
  { event: { allowedUsers } }: PlannedEvent,
  first: Pick<KnownEvent, 'eventId' | 'sessionId' | 'userId'>,
  sessions: readonly WorkingSession[],
): IngestOutcome {
  const owner = (): string | null | undefined =>
    first.userId ?? sessions.find(({ id }) => id === first.sessionId)?.userId;
  const { eventId, sessionId } =
    allowedUsers === null || allowedUsers.includes(owner() ?? '') ? first : { eventId: null, sessionId: null };
  return { status: 'DUPLICATE', eventId, sessionId, code: null, message: null };
}

function uniqueUsers(users: readonly (UserKey & { identity: string })[]): (UserKey & { identity: string })[] {
  const unique = new Map(users.map((user) => [userKey(user.projectId, user.userId), user]));
  return [...unique.values()].toSorted(inOrderOfLocks);
}

/** The identities, in the order of their locks, and from when on their sessions matter: their earliest event. */
function earliestByUser(events: readonly PlannedEvent[]): (UserKey & { from: number })[] {
  const earliest = new Map<string, UserKey & { from: number }>();
  for (const { event } of events) {
    if (event.sessionKey !== null || !event.user) continue;
    const from = event.time;
    const key = userKey(event.projectId, event.user.id);
    const known = earliest.get(key);
    if (!known || known.from > from) earliest.set(key, { projectId: event.projectId, userId: event.user.id, from });
  }
  return [...earliest.values()].toSorted(inOrderOfLocks);
}

/** The sessions that the events name, in the order of their locks: with no user first. */
function namedKeys(events: readonly PlannedEvent[]): SessionKey[] {
  const keys = new Map<string, SessionKey>();
  for (const { event } of events) {
    if (event.sessionKey === null) continue;
    const { projectId, sessionKey: key, allowedUsers } = event;
    // Without a user it is whoever's; of a token that is narrowed to users, theirs.
    for (const userId of event.user ? [event.user.id] : (allowedUsers ?? [null])) {
      keys.set(`${projectId} ${key} ${userId ?? ''}`, { projectId, key, userId });
    }
  }
  return [...keys].toSorted(([a], [b]) => (a < b ? -1 : 1)).map(([, key]) => key);
}

/**
 * Where late starts may split sessions (rule 12): reads what is stored of those in parts, into `sessions`. Mostly there is
 * no such start, and nothing is read.
 */
async function readSplitSessions(
  tx: Queryable,
  events: readonly PlannedEvent[],
  settings: BatchState['settings'],
  sessions: readonly WorkingSession[],
): Promise<void> {
  const starts = new Map<string, number[]>();
  for (const { event } of events) {
    if (event.type !== 'session' || event.sessionKey !== null || !event.user) continue;
    if (policyOf(event, settings.get(event.projectId)!) !== 'RESTART') continue;
    const key = userKey(event.projectId, event.user.id);
    starts.set(key, [...(starts.get(key) ?? []), event.time]);
  }
  if (starts.size === 0) return;
  const cuts = sessions.flatMap((session) => {
    const { projectId, id: sessionId, key, userId, startedAt, lastActivityAt, endReason, eventCount } = session;
    // What a client or a start has ended is not split, unless it may go on; nor is what holds too much.
    const isOver = endReason === 'SUPERSEDED' || (endReason === 'CLIENT' && !session.closedByHeartbeat);
    if (key !== null || userId === null || isOver || eventCount > MOST_SPLIT) return [];
    return (starts.get(userKey(projectId, userId)) ?? [])
      .filter((at) => startedAt < at && at <= lastActivityAt)
      .map((at) => ({ projectId, sessionId, startedAt, lastActivityAt, at }));
  });
  if (cuts.length === 0) return;
  const parts = await readStoredParts(tx, cuts);
  for (const session of sessions) {
    const { id, startedAt, stored } = session;
    session.stored = parts.get(id)?.map((part) => ({ ...part, at: part.at ?? startedAt })) ?? stored;
  }
}

/**
 * Reads and locks, and reads `more` under those locks. What need not wait for an answer is sent at once: all of it, where no
 * event names its session.
 */
async function readState(
  tx: Queryable,
  events: readonly PlannedEvent[],
  now: Date,
  more: () => Promise<void>,
): Promise<BatchState> {
  const settings = readSettings(tx, [...new Set(events.map(({ event }) => event.projectId))], now);
  const keys = namedKeys(events);
  const [owners] = keys.length > 0 ? await Promise.all([readSessionOwners(tx, keys), settings]) : [[]];
  const mentioned = events.flatMap(({ event }) =>
    event.user ? [{ projectId: event.projectId, userId: event.user.id, identity: event.user.identity }] : [],
  );
  const wanted = uniqueUsers([...owners, ...mentioned]);
  const near = earliestByUser(events);
  // The count comes first: where it is too low by then, the unique key says so.
  const [known, , locked, counted, named, identified] = await Promise.all([
    settings,
    wanted.length > 0 && addUsers(tx, wanted),
    wanted.length > 0 ? lockUsers(tx, wanted) : [],
    keys.length > 0 ? countNamesakes(tx, keys) : [],
    keys.length > 0 ? lockNamedSessions(tx, keys) : [],
    near.length > 0 ? readIdentitySessions(tx, near) : [],
    more(),
  ]);
  const users = new Map(locked.map((user) => [userKey(user.projectId, user.userId), user]));
  // Erased between the two statements.
  if (users.size < wanted.length) throw new PlanAnew('a user is gone');
  for (const { projectId, userId } of named) {
    if (userId && !users.has(userKey(projectId, userId))) throw new PlanAnew('a named session has found its user');
  }
  await readSplitSessions(tx, events, known, identified);
  const namesakes = new Map(counted.map((row) => [keySubject(row.projectId, row.key), row.namesakes]));
  return { settings: known, users, sessions: [...named, ...identified], namesakes };
}

/** Answers repeats (rule 25): of what is stored, and of what stands earlier in the batch. */
class Repeats {
  private readonly stored = new Map<string, KnownEvent>();
  private readonly first = new Map<string, PlannedEvent>();
  /** Repeats within the batch are answered when the first one is. */
  readonly within = new Map<PlannedEvent, PlannedEvent>();

  private key({ event }: PlannedEvent): string | null {
    return event.eventKey && `${event.projectId} ${event.eventKey}`;
  }

  async read(tx: Queryable, events: readonly PlannedEvent[], now: number): Promise<void> {
    const keys = events.flatMap(({ event }) =>
      event.eventKey ? [{ projectId: event.projectId, eventKey: event.eventKey }] : [],
    );
    if (keys.length === 0) return;
    for (const known of await readKnownEvents(tx, keys, day(now - 3 * DAY), day(now + DAY))) {
      this.stored.set(`${known.projectId} ${known.eventKey}`, known);
    }
  }

  knownAs(planned: PlannedEvent): KnownEvent | null {
    const key = this.key(planned);
    return (key && this.stored.get(key)) || null;
  }

  /** True for the first of its id in the batch, or one without an id. One that is refused is never the first, but may be a repeat. */
  isFirst(planned: PlannedEvent): boolean {
    const key = this.key(planned);
    if (!key) return true;
    const first = this.first.get(key);
    if (first) this.within.set(planned, first);
    else if (!planned.event.refusal) this.first.set(key, planned);
    return !first && !planned.event.refusal;
  }
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

/** What the events say of their users: the latest name (rule 24), the latest data, the ends (rule 18). */
function userWrites(events: readonly PlannedEvent[], state: BatchState, ends: BatchPlan['ends']): UserWrite[] {
  const writes = new Map<string, { -readonly [Key in keyof UserWrite]: UserWrite[Key] }>();
  const writeFor = (key: string) => {
    const known = writes.get(key);
    if (known) return known;
    const { projectId, userId } = state.users.get(key)!;
    const write = { projectId, userId, name: null, nameAt: null, data: null, ends: null };
    writes.set(key, write);
    return write;
  };
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
  for (const [key, all] of ends) writeFor(key).ends = all;
  return [...writes.values()];
}

/** The users whose published status may no longer be what their sessions say. */
function suspects(
  writes: readonly SessionWrite[],
  users: ReadonlyMap<string, LockedUser>,
  now: number,
): PresenceSuspect[] {
  const found = new Map<string, PresenceSuspect>();
  for (const { session, liveness } of writes) {
    if (!session.userId) continue;
    const key = userKey(session.projectId, session.userId);
    const user = users.get(key);
    const online = liveness.live && liveness.onlineUntil > now;
    if (!user || user.online === online) continue;
    const lastSeenAt = Math.max(found.get(key)?.lastSeenAt ?? 0, session.lastActivityAt);
    found.set(key, { projectId: session.projectId, userId: session.userId, sessionId: session.id, lastSeenAt });
  }
  return [...found.values()].toSorted(inOrderOfLocks);
}

/** Which stored events change their session: those of merged sessions, and those behind a late start. */
function eventMoves(sessions: readonly WorkingSession[], splits: readonly EventSplit[]): EventMove[] {
  const cuts = new Map<string, EventSplit[]>();
  for (const cut of splits) cuts.set(cut.storedUnder, [...(cuts.get(cut.storedUnder) ?? []), cut]);
  return sessions.flatMap((session) => {
    const { projectId, id: source } = session;
    const parts = [{ from: session.startedAt, session }, ...(cuts.get(source) ?? [])];
    return parts
      .map((part, at) => ({
        projectId,
        source,
        from: part.from,
        to: parts[at + 1]?.from ?? null,
        target: survivor(part.session).id,
      }))
      .filter(({ target }) => target !== source);
  });
}

/** `took`: the stored sessions that became part of it. */
function sessionChanges(
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

/**
 * Takes the events of several requests, of any projects, in one transaction: locks, reads, plans, writes.
 * The number of statements does not depend on the number of events. Throws PlanAnew, or a driver error
 * whose SQLSTATE says whether another try may succeed; then nothing was stored.
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
  const repeats = new Repeats();
  const state = await readState(
    tx,
    all.filter(({ event }) => !event.refusal),
    now,
    () => repeats.read(tx, all, now.getTime()),
  );
  const wasOpen = new Set(state.sessions.filter(isOpen));

  const fresh = all.filter((one) => !repeats.knownAs(one) && repeats.isFirst(one));
  const plan = sessionize(fresh, state);

  const eventWrites: EventWrite[] = [];
  const keyWrites: EventKeyWrite[] = [];
  const outcomes = new Map<PlannedEvent, IngestOutcome>();
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
    for (const receivedOn of daysAround(now.getTime())) {
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
  const merges = merged.map((session) => ({
    projectId: session.projectId,
    userId: session.userId!,
    from: session.id,
    to: survivor(session).id,
  }));
  const took = new Map<string, string[]>();
  for (const { from, to } of merges) took.set(to, [...(took.get(to) ?? []), from]);
  const moves = eventMoves(state.sessions, plan.splits);
  const learned = userWrites(fresh, state, plan.ends);
  // Sent at once, in this order. Rule 5's index is checked row by row: a user's open session closes before the next opens.
  const written = [
    moves.length > 0 && moveEvents(tx, moves),
    merges.length > 0 && absorbSessions(tx, merges, now),
    closing.length > 0 && moveSessions(tx, closing),
    staying.length > 0 && moveSessions(tx, staying),
    inserted.length > 0 && insertSessions(tx, inserted),
    described.length > 0 && describeSessions(tx, described),
    eventWrites.length > 0 && insertEvents(tx, eventWrites),
    keyWrites.length > 0 && insertEventKeys(tx, keyWrites),
    learned.length > 0 && updateUsers(tx, learned),
  ];
  const flipped = flipPresence(tx, suspects(changed, state.users, now.getTime()), now);
  const [edges] = await Promise.all([flipped, ...written]);

  return {
    outcomes: planned.map((events) =>
      events.map((one) => {
        const known = repeats.knownAs(one);
        if (known) return duplicateOf(one, known, plan.sessions);
        const first = repeats.within.get(one);
        const { refusal } = one.event;
        if (!first) return refusal ? rejected(refusal) : outcomes.get(one)!;
        const outcome = outcomes.get(first)!;
        if (outcome.status === 'REJECTED') return refusal ? rejected(refusal) : outcome;
        return duplicateOf(one, { ...outcome, userId: first.event.user?.id ?? null }, plan.sessions);
      }),
    ),
    changes: {
      edges,
      events: eventWrites.map(({ event: { projectId, id } }) => ({ projectId, id })),
      sessions: changed.flatMap(({ session }) => sessionChanges(session, wasOpen, took.get(session.id) ?? [])),
    },
  };
}
