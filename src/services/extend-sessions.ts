import { LRUCache } from 'lru-cache';
import type { IngestOutcome } from '../domain/event.js';
import { discarded, type ReadyEvent } from '../domain/planned-event.js';
import { detached } from '../domain/well-formed.js';
import type { Database } from '../store/database.js';
import { extendSessions, SAYS, type Extension, type ExtensionEvent } from '../store/extend-sessions.js';
import { inOrderOfLocks } from '../store/ingest-reads.js';
import type { Changes } from './publish-changes.js';

/**
 * The short way for what nearly every event is: one more of a user whose session is open, and goes on. It
 * takes one statement and no lock on the user; whatever it leaves is for the plan (commit-batch), which knows
 * every rule. What it takes, it treats as the plan would: test/services/extend-sessions.test.ts holds the two together.
 */

/** What the short way has done. */
interface Taken {
  /** What became of each event, in their order; null: it is left to the plan. */
  readonly outcomes: readonly (IngestOutcome | null)[];
  readonly changes: Changes;
}

/** The short way of one server, which remembers where its users' events went. */
export interface Shortcut {
  /**
   * Takes those of a batch's events that only let an open session go on. One statement, which commits by itself:
   * where it fails, nothing was stored, and the plan may try.
   */
  take(database: Database, events: readonly ReadyEvent[], now: Date): Promise<Taken>;
  /** Hears where the plan has put an event. */
  learn(event: ReadyEvent, outcome: IngestOutcome): void;
}

/** So few events of users of whom nothing is remembered are mostly their first: the statement would be in vain. */
const FEW = 8;

/** Events that start or end something, name their session, may be repeats, or tell of the user: for the plan. */
export const isPlain = (event: ReadyEvent): boolean =>
  event.user !== null &&
  event.user.data === null &&
  event.sessionKey === null &&
  event.eventKey === null &&
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
 * Where a user's events went last, and what that session is known to have by then. A hint, which any server may have
 * overtaken: a session that has ended since, or is another's, is not taken by it. What a session has seen, it keeps.
 */
interface Hint {
  readonly sessionId: string;
  readonly types: readonly string[];
  readonly says: number;
  readonly dataKeys: readonly string[];
}

/** Users remembered at most, with types of events of each; 30 MB of them. What is not known is asked. */
const MOST_KNOWN = { hints: 100_000, types: 50, bytes: 30_000_000 };

/** Roughly. */
const bytesOf = ({ types, dataKeys }: Hint): number =>
  [...types, ...dataKeys].reduce((sum, text) => sum + 20 + text.length, 250);

type Writable<Type> = { -readonly [Key in keyof Type]: Type[Key] };

const NONE: readonly string[] = [];

/** A user's events of a batch: their places in it. */
interface Group extends Writable<Extension> {
  readonly members: number[];
  hint: Hint | null;
}

function begin(event: ReadyEvent): Group {
  return {
    projectId: event.projectId,
    userId: event.user!.id,
    sessionId: null,
    hint: null,
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
  };
}

/** The two latest heartbeats, where one more is at `time`. */
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
  if (event.user!.name !== null && event.time >= group.nameAt) {
    group.name = event.user!.name;
    group.nameAt = event.time;
  }
  if (event.type === 'heartbeat') {
    [group.beatBefore, group.beatAt] = twoLatest(group, event.time);
    return;
  }
  group.events += 1;
  if (event.type === 'error') group.errors += 1;
  if (!group.types.includes(event.type)) group.types = [...group.types, event.type];
}

/** The users all of whose events in this batch are plain, and give no two names; in the order of their locks. */
function groupsOf(events: readonly ReadyEvent[]): Group[] {
  /** By user, whose id is a hash over the project too; null: for the plan. */
  const groups = new Map<string, Group | null>();
  for (const [place, event] of events.entries()) {
    if (!event.user) continue;
    const { id, name } = event.user;
    let group = groups.get(id);
    if (group === null) continue;
    if (!isPlain(event) || (group?.name && name && group.name !== name)) {
      groups.set(id, null);
      continue;
    }
    if (!group) groups.set(id, (group = begin(event)));
    add(group, event, place);
  }
  return [...groups.values()].filter((group) => group !== null).toSorted(inOrderOfLocks);
}

const isWithin = (part: readonly string[], whole: readonly string[]): boolean =>
  part.every((one) => whole.includes(one));

/** Leaves out of what the session must have what it is known to have. */
function leaveOutKnown(group: Group, hint: Hint | null): void {
  if (!hint) return;
  group.hint = hint;
  group.sessionId = hint.sessionId;
  if (isWithin(group.types, hint.types)) group.types = NONE;
  if (isWithin(group.dataKeys, hint.dataKeys)) group.dataKeys = NONE;
  group.says &= ~hint.says;
}

const joined = (some: readonly string[], more: readonly string[]): readonly string[] =>
  isWithin(more, some) ? some : [...new Set([...some, ...more.map(detached)])].slice(0, MOST_KNOWN.types);

/** What is known of the session that has taken these events. */
function learned({ hint, types, says, dataKeys }: Group, sessionId: string): Hint {
  if (hint && types.length === 0 && says === 0 && dataKeys.length === 0) return hint;
  return {
    sessionId,
    types: joined(hint?.types ?? NONE, types),
    says: (hint?.says ?? 0) | says,
    dataKeys: joined(hint?.dataKeys ?? NONE, dataKeys),
  };
}

const NO_CHANGES: Changes = { edges: [], sessions: [], events: [] };
const HEARD = discarded('HEARTBEAT', null);

export function createShortcut(): Shortcut {
  /** By user. */
  const hints = new LRUCache<string, Hint>({
    max: MOST_KNOWN.hints,
    maxSize: MOST_KNOWN.bytes,
    sizeCalculation: bytesOf,
  });

  return {
    async take(database, events, now) {
      const outcomes: (IngestOutcome | null)[] = events.map(() => null);
      const groups = groupsOf(events);
      for (const group of groups) leaveOutKnown(group, hints.get(group.userId) ?? null);
      if (groups.length < FEW && groups.every(({ hint }) => hint === null)) return { outcomes, changes: NO_CHANGES };
      const writes: (ExtensionEvent & { readonly place: number })[] = [];
      for (const [extension, { members }] of groups.entries()) {
        for (const place of members) {
          const event = events[place]!;
          if (event.type !== 'heartbeat') writes.push({ event, extension, place });
        }
      }
      const extended = await extendSessions(database, groups, writes, now);
      const changes: { [Kind in 'sessions' | 'events']: Changes[Kind][number][] } = { sessions: [], events: [] };
      for (const [extension, group] of groups.entries()) {
        const { projectId, userId, hint } = group;
        const sessionId = extended.get(extension);
        if (sessionId === undefined) {
          hints.delete(userId);
          continue;
        }
        const known = learned(group, sessionId);
        if (known !== hint) hints.set(userId, known);
        changes.sessions.push({ projectId, id: sessionId, kind: 'UPDATED' });
        if (group.beatAt === null) continue;
        const { status, code, message } = HEARD;
        for (const place of group.members) outcomes[place] = { status, eventId: null, sessionId, code, message };
      }
      for (const { event, extension, place } of writes) {
        const { projectId, id } = event;
        const sessionId = extended.get(extension);
        if (sessionId === undefined) continue;
        outcomes[place] = { status: 'ACCEPTED', eventId: id, sessionId, code: null, message: null };
        changes.events.push({ projectId, id });
      }
      return { outcomes, changes: { edges: [], ...changes } };
    },
    learn({ user, sessionKey }, { sessionId }) {
      if (user === null || sessionKey !== null || sessionId === null || hints.get(user.id)?.sessionId === sessionId)
        return;
      hints.set(user.id, { sessionId, types: NONE, says: 0, dataKeys: NONE });
    },
  };
}
