import { setImmediate as nextTurn } from 'node:timers/promises';
import type { FeedPlace } from '../../domain/change.js';
import { withoutAsked } from '../../domain/event-predicate.js';
import { writeFeedCursor } from '../../domain/feed-cursor.js';
import type { Allowance, Queryable } from '../../store/database.js';
import { changedEvents, type ChangedEventRow } from '../../store/feed/changed-events.js';
import { presenceChangesByIds, type PresenceChangeRow } from '../../store/presence/presence-history.js';
import { mergedSessions } from '../../store/sessions/merged-sessions.js';
import type { SessionRow } from '../../store/rows.js';
import { sessionsByIds } from '../../store/sessions/sessions.js';
import { entriesOf, type ChangeRow } from '../../store/feed/read-changes.js';
import type { Entry, FeedChange, FeedView } from './feed-view.js';

/** Up to this number of views, their conditions are part of the statement. Then it reads only events that a view wants. */
const FEW_VIEWS = 16;

/** The database, with an allowance for what these statements read. */
const allowed = (database: Queryable, allowance: Allowance): Queryable => ({
  query: (statement) => database.query({ ...statement, allowance }),
});

/** The number of checks (of one entry for one view) between two turns of the event loop: some 5 ms. */
const CHECKS = 20_000;

/** Waits for a turn of the event loop if much was checked since the last one. */
export type Pause = (checks: number) => Promise<unknown> | undefined;

/** Makes a function that counts checks, and waits for a turn of the event loop after every CHECKS of them. */
export function createPauses(): Pause {
  let checked = 0;
  return (checks) => {
    checked += checks;
    if (checked < CHECKS) return undefined;
    checked = 0;
    return nextTurn();
  };
}

/** A change. What it tells is in fields of its own, as FeedChange has them. */
class Change {
  constructor(
    readonly place: FeedPlace,
    readonly at: Date,
    what: object,
  ) {
    Object.assign(this, what);
  }

  private text: string | null = null;
  /** Made when it is first asked for: webhooks and many queries need the last one only. */
  get cursor(): string {
    return (this.text ??= writeFeedCursor(this.place));
  }
}

/** The place after the entry with this number of a row with so many. */
export function placeInRow(
  database: string,
  { transaction, part, at }: Pick<ChangeRow, 'transaction' | 'part' | 'at'>,
  number: number,
  entries: number,
): FeedPlace {
  const isLast = number + 1 === entries;
  const [next, entry] = isLast ? [part + 1, 0] : [part, number + 1];
  return { database, transaction, part: next, entry, at: at.getTime(), seen: null };
}

/** The place after an entry. */
export const placeAfter = (database: string, { row, number }: Entry): FeedPlace =>
  placeInRow(database, row, number, entriesOf(row));

/** The sessions of these ids as they are now, and for merged ones what they became, by the id asked for. */
async function readSessions(database: Queryable, projectId: string, entries: readonly Entry[]) {
  const reach = { projectId, userIds: null };
  const gone = entries.filter(({ change }) => change === 'MERGED').map(({ id }) => id);
  const became =
    gone.length > 0 ? await mergedSessions(database, reach, [...new Set(gone)]) : new Map<string, string>();
  const ids = new Set(entries.filter(({ kind }) => kind === 'SESSION').map(({ id }) => became.get(id) ?? id));
  const rows = ids.size > 0 ? await sessionsByIds(database, reach, [...ids]) : [];
  const byId = new Map<string, SessionRow>(rows.map((row) => [row.id, row]));
  return ({ id }: Entry): SessionRow | undefined => byId.get(became.get(id) ?? id);
}

async function readPresence(
  database: Queryable,
  projectId: string,
  ids: readonly string[],
): Promise<Map<string, PresenceChangeRow>> {
  if (ids.length === 0) return new Map();
  const rows = await presenceChangesByIds(database, { projectId, userIds: null }, ids);
  return new Map(rows.map((row) => [row.id, row]));
}

/**
 * Reads what entries of a project's feed stand for, as it is now, once for all views. Returns for each view the changes that it
 * gets, in the order of the entries. Leaves out what does not exist any more. `isDecided`: the database decides the whole filter
 * of events (for one view); otherwise `search` and `dataContains` are left open. `pause` is told how much work was done.
 */
export async function tellChanges(
  database: Queryable,
  { projectId, name }: { projectId: string; name: string },
  wanted: readonly { readonly view: FeedView; readonly entries: readonly Entry[] }[],
  { allowance, isDecided, pause }: { allowance: Allowance; isDecided: boolean; pause: Pause },
): Promise<FeedChange[][]> {
  const all = new Set(wanted.flatMap(({ entries }) => entries));
  const events = [...all].filter(({ kind }) => kind === 'EVENT').map(({ id }) => id);
  const any = wanted
    .filter(({ entries }) => entries.some(({ kind }) => kind === 'EVENT'))
    .map(({ view }) => ({ reach: view.reach, filter: isDecided ? view.events : withoutAsked(view.events) }));
  const on = allowed(database, allowance);
  const presence = [...all].filter(({ kind }) => kind === 'PRESENCE').map(({ id }) => id);
  const [eventOf, sessionOf, presenceOf] = await Promise.all([
    changedEvents(on, { projectId, userIds: null }, any.length <= FEW_VIEWS ? any : null, events),
    readSessions(on, projectId, [...all]),
    readPresence(on, projectId, presence),
  ]);
  /** Each change is made once, for all views that get it. */
  const made = new Map<Entry, FeedChange>();
  const make = (entry: Entry, what: object): FeedChange => {
    const known = made.get(entry);
    if (known) return known;
    const change = new Change(placeAfter(name, entry), entry.row.at, {
      kind: entry.kind,
      ...what,
    }) as unknown as FeedChange;
    made.set(entry, change);
    return change;
  };
  function tell(view: FeedView, entry: Entry): FeedChange | null {
    const { kind, id, change } = entry;
    if (kind === 'EVENT') {
      const event: ChangedEventRow | undefined = eventOf.get(id);
      return event && view.matchesEvent(event) ? make(entry, { event }) : null;
    }
    if (kind === 'SESSION') {
      const session = sessionOf(entry);
      if (!session || !view.hasUser(session.userId)) return null;
      return make(entry, { change, session, mergedId: change === 'MERGED' ? id : null });
    }
    if (kind === 'PRESENCE') {
      const row = presenceOf.get(id);
      return row && view.hasUser(row.userId) ? make(entry, row) : null;
    }
    return view.hasUser(id) ? make(entry, { userId: id }) : null;
  }
  const told: FeedChange[][] = [];
  for (const { view, entries } of wanted) {
    told.push(entries.map((entry) => tell(view, entry)).filter((change) => change !== null));
    await pause(entries.length);
  }
  return told;
}
