import { LRUCache } from 'lru-cache';
import type { IngestOutcome } from '../../domain/event.js';
import { discarded, type ReadyEvent } from '../../domain/planned-event.js';
import { detached } from '../../domain/well-formed.js';
import type { Database } from '../../store/database.js';
import {
  extendSessions,
  SAYS,
  type Extension,
  type ExtensionEvent,
  type ExtensionId,
} from '../../store/ingest/extend-sessions.js';
import type { Changes } from '../publish-changes.js';
import { idDays } from './repeats.js';

/**
 * The shortcut for nearly all events: one more event of a user or device whose session is open and goes on. It takes one statement,
 * and no lock on the user. All other events are left to the plan (commit-batch), which knows every rule. The shortcut
 * treats an event as the plan would; test/services/extend-sessions.test.ts checks that the two agree.
 */

/** What the shortcut has done. */
interface Taken {
  /** The outcome of each event, in order; null: the event is left to the plan. */
  readonly outcomes: readonly (IngestOutcome | null)[];
  readonly changes: Changes;
}

/** The shortcut of one server. It remembers which session the events of each user, and of each device, went to. */
export interface Shortcut {
  /**
   * Stores those of a batch's events that only extend an open session. It is one statement, which commits by itself: if it
   * fails, nothing was stored, and the plan may try.
   */
  take(database: Database, events: readonly ReadyEvent[], now: Date): Promise<Taken>;
  /** Remembers the session that the plan has chosen for an event. */
  learn(event: ReadyEvent, outcome: IngestOutcome): void;
}

/**
 * Whether the shortcut may take the event. The plan takes events that start or end a session, name their session, bring
 * data of the user, or are too old (they may still be repeats).
 */
export const isPlain = (event: ReadyEvent): boolean =>
  (event.user === null ? event.deviceId !== null : event.user.data === null) &&
  event.sessionKey === null &&
  event.refusal === null &&
  event.type !== 'session' &&
  event.type !== 'sessionend' &&
  event.call !== 'CLOSE';

function saysOf({ attributes }: ReadyEvent): number {
  let says = attributes.isBot ? SAYS.isBot : 0;
  for (const name of ['version', 'browserName', 'osName', 'device', 'ipAddress', 'country'] as const) {
    if (attributes[name] !== null) says |= SAYS[name];
  }
  return says;
}

/**
 * The session that the events of a subject went to last, and what that session is known to hold. It is only a hint, because any
 * server may have changed the session since: the statement leaves a session alone that has ended or belongs to another
 * user. A session never loses what it has once held.
 */
interface Hint {
  readonly sessionId: string;
  readonly types: readonly string[];
  readonly says: number;
  readonly dataKeys: readonly string[];
}

/**
 * The most subjects that are remembered, the most types and data keys of each, and the most bytes in all. What a hint lacks,
 * the statement looks up in the session's row.
 */
const MOST_KNOWN = { hints: 100_000, types: 50, bytes: 30_000_000 };

/** Roughly. */
const bytesOf = ({ types, dataKeys }: Hint): number =>
  [...types, ...dataKeys].reduce((sum, text) => sum + 20 + text.length, 250);

type Writable<Type> = { -readonly [Key in keyof Type]: Type[Key] };

const NONE: readonly string[] = [];

/**
 * What a plain event's session is found by: a user, a user on a device, or a device alone (rules 2 and 3). A user's id is a
 * hash that includes the project. Null: nothing.
 */
function subjectOf({ projectId, user, deviceId }: ReadyEvent): string | null {
  if (user) return deviceId === null ? user.id : `${user.id} ${deviceId}`;
  return deviceId === null ? null : `device ${projectId} ${deviceId}`;
}

/** The events of one subject in a batch, by their places in it. */
interface Group extends Writable<Extension> {
  readonly members: number[];
  readonly hint: Hint;
}

function begin(event: ReadyEvent, hint: Hint): Group {
  return {
    projectId: event.projectId,
    userId: event.user?.id ?? null,
    sessionId: hint.sessionId,
    hint,
    members: [],
    firstAt: event.time,
    lastAt: event.time,
    events: 0,
    errors: 0,
    beatAt: null,
    beatBefore: null,
    types: NONE,
    says: 0,
    dataKeys: NONE,
    name: null,
    nameAt: 0,
    entryId: null,
    exitId: null,
    exitSource: null,
  };
}

/** The two latest heartbeats of the group after one more at `time`: the earlier, then the later. */
function twoLatest({ beatAt, beatBefore }: Group, time: number): [number | null, number] {
  if (beatAt === null || time >= beatAt) return [beatAt, time];
  return [Math.max(beatBefore ?? time, time), beatAt];
}

function add(group: Group, event: ReadyEvent, place: number): void {
  group.members.push(place);
  group.firstAt = Math.min(group.firstAt, event.time);
  group.lastAt = Math.max(group.lastAt, event.time);
  group.says |= saysOf(event);
  for (const key in event.attributes.data) if (!group.dataKeys.includes(key)) group.dataKeys = [...group.dataKeys, key];
  const name = event.user?.name ?? null;
  if (name !== null && event.time >= group.nameAt) {
    group.name = name;
    group.nameAt = event.time;
  }
  if (event.type === 'heartbeat') {
    [group.beatBefore, group.beatAt] = twoLatest(group, event.time);
    return;
  }
  group.events += 1;
  if (event.type === 'error') group.errors += 1;
  if (event.source !== null) {
    if (group.entryId === null || event.id < group.entryId) group.entryId = event.id;
    if (group.exitId === null || event.id > group.exitId) {
      group.exitId = event.id;
      group.exitSource = event.source;
    }
  }
  if (!group.types.includes(event.type)) group.types = [...group.types, event.type];
}

/**
 * The devices that some events of the batch name alone, and others with a user: those may change what these belong to, so
 * the plan takes them together, in their order.
 */
function sharedDevices(events: readonly ReadyEvent[]): ReadonlySet<string> {
  const alone = new Set<string>();
  const withUser = new Set<string>();
  for (const { projectId, deviceId, user } of events)
    if (deviceId !== null) (user ? withUser : alone).add(`${projectId} ${deviceId}`);
  return alone.size === 0 ? alone : new Set([...alone].filter((device) => withUser.has(device)));
}

/**
 * The subjects that have a hint, and of which all events in this batch are plain, no event repeats another, and no two names
 * differ. In the order of the sessions' locks.
 */
function groupsOf(events: readonly ReadyEvent[], hintOf: (subject: string) => Hint | undefined): Group[] {
  /** Null: the subject's events are left to the plan. */
  const groups = new Map<string, Group | null>();
  const eventKeys = new Set<string>();
  const shared = sharedDevices(events);
  for (const [place, event] of events.entries()) {
    const subject = subjectOf(event);
    // The id of a user's event may come again from another device, or with a key (rule 25).
    const isRepeat = event.eventKey !== null && eventKeys.has(event.eventKey);
    if (event.eventKey !== null) eventKeys.add(event.eventKey);
    if (subject === null) continue;
    let group = groups.get(subject);
    if (group === null) continue;
    const name = event.user?.name ?? null;
    const isShared = shared.size > 0 && event.deviceId !== null && shared.has(`${event.projectId} ${event.deviceId}`);
    if (isRepeat || isShared || !isPlain(event) || (group?.name && name && group.name !== name)) {
      groups.set(subject, null);
      continue;
    }
    if (!group) {
      const hint = hintOf(subject);
      groups.set(subject, (group = hint ? begin(event, hint) : null));
      if (!group) continue;
    }
    add(group, event, place);
  }
  const found = [...groups.values()].filter((group) => group !== null);
  for (const group of found) leaveOutKnown(group);
  return found.toSorted(inOrderOfSessions);
}

/** For toSorted(): the order in which identity sessions are locked. */
function inOrderOfSessions(a: Group, b: Group): number {
  if (a.projectId !== b.projectId) return a.projectId < b.projectId ? -1 : 1;
  return a.sessionId < b.sessionId ? -1 : 1;
}

const isWithin = (part: readonly string[], whole: readonly string[]): boolean =>
  part.every((one) => whole.includes(one));

/** Removes what the session is known to hold from what the statement must check. */
function leaveOutKnown(group: Group): void {
  const { hint } = group;
  if (isWithin(group.types, hint.types)) group.types = NONE;
  if (isWithin(group.dataKeys, hint.dataKeys)) group.dataKeys = NONE;
  group.says &= ~hint.says;
}

const joined = (some: readonly string[], more: readonly string[]): readonly string[] =>
  isWithin(more, some) ? some : [...new Set([...some, ...more.map(detached)])].slice(0, MOST_KNOWN.types);

/** The hint after the session has taken these events. */
function learned({ hint, types, says, dataKeys }: Group): Hint {
  if (types.length === 0 && says === 0 && dataKeys.length === 0) return hint;
  return {
    sessionId: hint.sessionId,
    types: joined(hint.types, types),
    says: hint.says | says,
    dataKeys: joined(hint.dataKeys, dataKeys),
  };
}

const NO_CHANGES: Changes = { edges: [], sessions: [], events: [] };
const HEARD = discarded('HEARTBEAT', null);

export function createShortcut(): Shortcut {
  /** By subject. */
  const hints = new LRUCache<string, Hint>({
    max: MOST_KNOWN.hints,
    maxSize: MOST_KNOWN.bytes,
    sizeCalculation: bytesOf,
  });

  return {
    async take(database, events, now) {
      const outcomes: (IngestOutcome | null)[] = events.map(() => null);
      const groups = groupsOf(events, (subject) => hints.get(subject));
      if (groups.length === 0) return { outcomes, changes: NO_CHANGES };
      const writes: (ExtensionEvent & { readonly place: number })[] = [];
      const ids: ExtensionId[] = [];
      for (const [extension, { members }] of groups.entries()) {
        for (const place of members) {
          const event = events[place]!;
          const { eventKey } = event;
          const isBeat = event.type === 'heartbeat';
          if (!isBeat) writes.push({ event, extension, place });
          if (eventKey !== null) ids.push({ extension, eventKey, eventId: isBeat ? null : event.id });
        }
      }
      const extended = await extendSessions(database, groups, writes, ids, idDays(now.getTime()), now);
      const changes: { [Kind in 'sessions' | 'events']: Changes[Kind][number][] } = { sessions: [], events: [] };
      for (const [extension, group] of groups.entries()) {
        const { projectId, sessionId, hint } = group;
        const subject = subjectOf(events[group.members[0]!]!)!;
        if (!extended.has(extension)) {
          hints.delete(subject);
          continue;
        }
        const known = learned(group);
        if (known !== hint) hints.set(subject, known);
        changes.sessions.push({ projectId, id: sessionId, kind: 'UPDATED' });
        if (group.beatAt === null) continue;
        const { status, code, message } = HEARD;
        for (const place of group.members) outcomes[place] = { status, eventId: null, sessionId, code, message };
      }
      for (const { event, extension, place } of writes) {
        const { projectId, id } = event;
        if (!extended.has(extension)) continue;
        const { sessionId } = groups[extension]!;
        outcomes[place] = { status: 'ACCEPTED', eventId: id, sessionId, code: null, message: null };
        changes.events.push({ projectId, id });
      }
      return { outcomes, changes: { edges: [], ...changes } };
    },
    learn(event, { status, sessionId }) {
      // A repeat names the session of the first event, which may have come from another device (rule 25).
      if (event.sessionKey !== null || sessionId === null || status === 'DUPLICATE') return;
      const subject = subjectOf(event);
      if (subject === null || hints.get(subject)?.sessionId === sessionId) return;
      hints.set(subject, { sessionId, types: NONE, says: 0, dataKeys: NONE });
    },
  };
}
