import { setImmediate as nextTurn } from 'node:timers/promises';
import type { FeedPlace } from '../../domain/change.js';
import { withoutAsked } from '../../domain/event-predicate.js';
import { writeFeedCursor } from '../../domain/feed-cursor.js';
import type { Allowance, Queryable } from '../../store/database.js';
import { askedEvents, changedEvents } from '../../store/feed/changed-events.js';
import { presenceChangesByIds, type PresenceChangeRow } from '../../store/presence/presence-history.js';
import { mergedSessions } from '../../store/sessions/merged-sessions.js';
import type { EventRow, SessionRow } from '../../store/rows.js';
import type { EventField } from '../../store/sessions/events.js';
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
    readonly kind: FeedChange['kind'],
    readonly place: FeedPlace,
    readonly at: Date,
    readonly isOwn: boolean,
  ) {}

  private text: string | null = null;
  /** Made when it is first asked for: webhooks and many queries need the last one only. */
  get cursor(): string {
    return (this.text ??= writeFeedCursor(this.place));
  }
}

/** Nearly all changes are events: their fields are not copied one by one. */
class EventChange extends Change {
  constructor(
    place: FeedPlace,
    at: Date,
    isOwn: boolean,
    readonly event: EventRow,
  ) {
    super('EVENT', place, at, isOwn);
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

type Wanted = readonly { readonly view: FeedView; readonly entries: readonly Entry[] }[];

/** Reads events of these ids. Returns a function that gives a view the event of an id, if the view gets it. */
async function readEvents(
  database: Queryable,
  projectId: string,
  wanted: Wanted,
  ids: readonly string[],
  asked: readonly EventField[] | null,
): Promise<(view: FeedView, id: string) => EventRow | undefined> {
  if (asked) {
    const { reach, events: filter } = wanted[0]!.view;
    const rows = await askedEvents(database, projectId, { reach, filter }, ids, asked);
    return (_view, id) => rows.get(id);
  }
  const any = wanted
    .filter(({ entries }) => entries.some(({ kind }) => kind === 'EVENT'))
    .map(({ view }) => ({ reach: view.reach, filter: withoutAsked(view.events) }));
  const rows = await changedEvents(database, { projectId, userIds: null }, any.length <= FEW_VIEWS ? any : null, ids);
  return (view, id) => {
    const event = rows.get(id);
    return event && view.matchesEvent(event) ? event : undefined;
  };
}

/**
 * Reads what entries of a project's feed stand for, as it is now, once for all views. Returns for each view the changes that it
 * gets, in the order of the entries. Leaves out what does not exist any more. `asked`, for one view alone: only these fields of
 * events are read, and the database decides the whole filter of events; null: all fields, and `search` and `dataContains` are left
 * open. `pause` is told how much work was done.
 */
export async function tellChanges(
  database: Queryable,
  { projectId, name }: { projectId: string; name: string },
  wanted: Wanted,
  { allowance, asked, pause }: { allowance: Allowance; asked: readonly EventField[] | null; pause: Pause },
): Promise<FeedChange[][]> {
  const all = new Set(wanted.flatMap(({ entries }) => entries));
  const events = [...all].filter(({ kind }) => kind === 'EVENT').map(({ id }) => id);
  const on = allowed(database, allowance);
  const presence = [...all].filter(({ kind }) => kind === 'PRESENCE').map(({ id }) => id);
  const [eventOf, sessionOf, presenceOf] = await Promise.all([
    readEvents(on, projectId, wanted, events, asked),
    readSessions(on, projectId, [...all]),
    readPresence(on, projectId, presence),
  ]);
  const isOwn = asked !== null;
  /** What an entry stands for, if the view gets it: an event, or the other fields of the change. */
  function whatFor(view: FeedView, entry: Entry): object | null {
    const { kind, id, change } = entry;
    if (kind === 'EVENT') return eventOf(view, id) ?? null;
    if (kind === 'SESSION') {
      const session = sessionOf(entry);
      if (!session || !view.hasUser(session.userId)) return null;
      return { change, session, mergedId: change === 'MERGED' ? id : null };
    }
    if (kind === 'PRESENCE') {
      const row = presenceOf.get(id);
      return row && view.hasUser(row.userId) ? row : null;
    }
    return view.hasUser(id) ? { userId: id } : null;
  }
  function make(entry: Entry, what: object): FeedChange {
    const { kind, row } = entry;
    const place = placeAfter(name, entry);
    const change =
      kind === 'EVENT'
        ? new EventChange(place, row.at, isOwn, what as EventRow)
        : Object.assign(new Change(kind, place, row.at, isOwn), what);
    return change as unknown as FeedChange;
  }
  /** Each change is made once, for all views that get it. */
  const made = new Map<Entry, FeedChange>();
  function tell(view: FeedView, entry: Entry): FeedChange | null {
    const what = whatFor(view, entry);
    if (!what) return null;
    let change = made.get(entry);
    if (!change) made.set(entry, (change = make(entry, what)));
    return change;
  }
  const told: FeedChange[][] = [];
  for (const { view, entries } of wanted) {
    told.push(entries.map((entry) => tell(view, entry)).filter((change) => change !== null));
    await pause(entries.length);
  }
  return told;
}
