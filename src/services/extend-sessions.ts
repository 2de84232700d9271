import type { IngestOutcome } from '../domain/event.js';
import { uuidAt } from '../domain/event-id.js';
import { discarded, type ReadyEvent } from '../domain/planned-event.js';
import type { Database } from '../store/database.js';
import { extendSessions, SAYS, type Extension, type ExtensionEvent } from '../store/extend-sessions.js';
import type { Changes } from './publish-changes.js';
import { userKey } from './sessionize.js';

/**
 * The short way for what nearly every event is: one more of a user whose session is open, and goes on. It
 * takes one statement and no lock on the user; whatever it leaves is for the plan (commit-batch), which knows
 * every rule. What it takes, it treats as the plan would: test/services/extend-sessions.test.ts holds the two together.
 */

/** What the short way has done. */
interface Shortcut {
  /** By event; the others are left to the plan. */
  readonly outcomes: ReadonlyMap<ReadyEvent, IngestOutcome>;
  readonly changes: Changes;
}

const NOTHING: Shortcut = { outcomes: new Map(), changes: { edges: [], sessions: [], events: [] } };

/** Events that start or end something, name their session, may be repeats, or tell of the user: for the plan. */
const isPlain = (event: ReadyEvent): boolean =>
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

interface Group extends Extension {
  readonly members: ReadyEvent[];
}

type Writable<Type> = { -readonly [Key in keyof Type]: Type[Key] };

function begin(event: ReadyEvent): Writable<Group> {
  return {
    projectId: event.projectId,
    userId: event.user!.id,
    members: [],
    firstAt: event.time,
    lastAt: event.time,
    events: 0,
    errors: 0,
    beats: false,
    types: [],
    says: 0,
    dataKeys: [],
    name: null,
    nameAt: 0,
  };
}

function add(group: Writable<Group>, event: ReadyEvent): void {
  group.members.push(event);
  group.firstAt = Math.min(group.firstAt, event.time);
  group.lastAt = Math.max(group.lastAt, event.time);
  group.says |= saysOf(event);
  const keys = Object.keys(event.attributes.data);
  if (keys.length > 0) group.dataKeys = [...new Set([...group.dataKeys, ...keys])];
  if (event.user!.name !== null && event.time >= group.nameAt) {
    group.name = event.user!.name;
    group.nameAt = event.time;
  }
  if (event.type === 'heartbeat') {
    group.beats = true;
    return;
  }
  group.events += 1;
  if (event.type === 'error') group.errors += 1;
  if (!group.types.includes(event.type)) group.types = [...group.types, event.type];
}

/** The users all of whose events in this batch are plain, and give no two names; in the order of their locks. */
function groupsOf(events: readonly ReadyEvent[]): Group[] {
  const groups = new Map<string, Writable<Group> | null>();
  for (const event of events) {
    if (!event.user) continue;
    const key = userKey(event.projectId, event.user.id);
    const known = groups.get(key);
    if (known === null) continue;
    const { name } = event.user;
    if (!isPlain(event) || (known?.name && name && known.name !== name)) {
      groups.set(key, null);
      continue;
    }
    const group = known ?? begin(event);
    add(group, event);
    if (!known) groups.set(key, group);
  }
  return [...groups.entries()]
    .filter((entry): entry is [string, Writable<Group>] => entry[1] !== null)
    .toSorted(([a], [b]) => (a < b ? -1 : 1))
    .map(([, group]) => group);
}

/**
 * Takes those of a batch's events that only let an open session go on. One statement, which commits by itself:
 * where it fails, nothing was stored, and the plan may try.
 */
export async function extendOpenSessions(
  database: Database,
  events: readonly ReadyEvent[],
  now: Date,
): Promise<Shortcut> {
  const groups = groupsOf(events);
  if (groups.length === 0) return NOTHING;
  const ids = new Map<ReadyEvent, string>();
  const writes: ExtensionEvent[] = [];
  let place = 0;
  for (const { members } of groups) {
    for (const event of members) {
      if (event.type === 'heartbeat') continue;
      const id = uuidAt(event.time, (place += 1));
      ids.set(event, id);
      writes.push({ id, event });
    }
  }
  const extended = await extendSessions(database, groups, writes, now);
  const sessions = new Map(extended.map((row) => [userKey(row.projectId, row.userId), row.sessionId]));
  const outcomes = new Map<ReadyEvent, IngestOutcome>();
  const changes: { [Kind in 'sessions' | 'events']: Changes[Kind][number][] } = { sessions: [], events: [] };
  for (const { projectId, userId, members } of groups) {
    const sessionId = sessions.get(userKey(projectId, userId));
    if (sessionId === undefined) continue;
    changes.sessions.push({ projectId, id: sessionId, kind: 'UPDATED' });
    for (const event of members) {
      const eventId = ids.get(event) ?? null;
      if (eventId === null) {
        const { status, code, message } = discarded('HEARTBEAT', null);
        outcomes.set(event, { status, eventId, sessionId, code, message });
        continue;
      }
      outcomes.set(event, { status: 'ACCEPTED', eventId, sessionId, code: null, message: null });
      changes.events.push({ projectId, id: eventId });
    }
  }
  return { outcomes, changes: { edges: [], ...changes } };
}
