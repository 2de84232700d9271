import { setImmediate as nextTurn } from 'node:timers/promises';
import { LRUCache } from 'lru-cache';
import { reachName, type Reach } from '../../domain/access.js';
import {
  askedOfDatabase,
  eventPredicate,
  needsDatabase,
  withoutAsked,
  type FilteredEvent,
} from '../../domain/event-predicate.js';
import type { EventFilter } from '../../domain/filters.js';
import { AppError } from '../../errors.js';
import type { Observer } from '../../observation.js';
import type { Database } from '../../store/database.js';
import type { EventConditions } from '../../store/sessions/event-filter.js';
import { metFilters, watchedEvents, type WatchedEventRow } from '../../store/sessions/events.js';
import type { EventRow } from '../../store/rows.js';
import type { Bus } from '../bus.js';
import { joinReads } from '../joined-reads.js';
import { LiveRoom, type Told } from './live-room.js';
import { eventsChannel, hear, readEventsMessage, type EventsMessage, type SessionMerged } from '../messages.js';

/**
 * Watches events as they are stored. A watch begins when its promise resolves, and repeats nothing from before. It rejects with
 * UNAVAILABLE if the bus cannot be reached or the server is shutting down, and with RATE_LIMITED if there are too many different
 * watches with the same rights. A watch that may have missed an event ends with UNAVAILABLE (reason GAP) or OVERLOADED.
 */
export interface Live {
  /** Reports each stored event that is within reach and matches the filter. */
  watchEvents(reach: Reach, filter: EventFilter | null): Promise<AsyncIterableIterator<EventRow>>;
  /** Ends every watch. */
  close(): Promise<void>;
}

/** A watch of events. */
interface EventView extends EventConditions {
  filter: EventFilter | null;
  matches: (event: FilteredEvent) => boolean;
  /** The sessions that its filter names. If one was merged into another, the other one is here. Null: all sessions. */
  readonly sessions: Set<string> | null;
  /**
   * Set if the filter has conditions that only the database can decide: takes events that match the other conditions, and
   * returns those that match the whole filter.
   */
  readonly ask: ((rows: readonly WatchedEventRow[]) => Promise<readonly WatchedEventRow[]>) | null;
}

/**
 * Up to this number of views, their conditions are part of the statement. Then it reads only events that a view wants.
 */
const FEW_VIEWS = 16;
/** The maximum number of filters in one statement that decides filters. */
const ASKED_AT_ONCE = 16;
/** The maximum number of different rights for which the server remembers how to join their questions. */
const MOST_ASKS = 10_000;
/** The number of checks (of one change for one view) between two turns of the event loop: some 5 ms. */
const LOOKS = 20_000;

/** Makes a function that counts checks, and waits for a turn of the event loop after every LOOKS of them. */
function createPauses(): (looks: number) => Promise<unknown> | undefined {
  let looked = 0;
  return (looks) => {
    looked += looks;
    if (looked < LOOKS) return undefined;
    looked = 0;
    return nextTurn();
  };
}

/** The question which events of `rows` match `filter`. */
interface Question {
  readonly rows: readonly WatchedEventRow[];
  readonly filter: EventFilter;
}
type Ask = (question: Question) => Promise<readonly WatchedEventRow[]>;

/** What a message of the bus reports about events: the id of a stored event, or sessions that were merged. */
type ToldEvent = string | SessionMerged;

const eventsIn = ({ ids, merges = [] }: EventsMessage): ToldEvent[] => [...merges, ...ids];

/**
 * If a session that the view names was merged into another, the view watches the other one from now on, which has the
 * events.
 */
function followMerges(view: EventView, merges: readonly SessionMerged[]): void {
  const { reach, filter, sessions } = view;
  if (!filter || !sessions) return;
  let isOther = false;
  for (const { id, took } of merges) {
    const gone = took.filter((one) => sessions.delete(one));
    if (gone.length === 0) continue;
    sessions.add(id);
    isOther = true;
  }
  if (!isOther) return;
  view.filter = { ...filter, sessionIds: [...sessions] };
  view.matches = eventPredicate(reach, view.filter);
}

export function createLive(deps: { database: Database; bus: Bus; observe: Observer }): Live {
  const { database, bus, observe } = deps;
  const eventRooms = new Map<string, LiveRoom<ToldEvent, EventView, EventRow>>();
  /** By the name of a reach. New ones push out those that were not used for the longest time. */
  const asks = new LRUCache<string, Ask>({ max: MOST_ASKS });
  let closed = false;

  /**
   * Reads the events with one statement for all views. A view with conditions that only the database can decide asks the
   * database about its events apart, and gets its items later.
   */
  async function readEvents(
    { projectId }: Reach,
    changes: readonly ToldEvent[],
    views: readonly EventView[],
  ): Promise<Told<EventRow>[]> {
    const pause = createPauses();
    const merges = changes.filter((change) => typeof change !== 'string');
    const ids = new Set(changes.filter((change) => typeof change === 'string'));
    if (merges.length > 0) {
      for (const view of views) {
        followMerges(view, merges);
        await pause(merges.length);
      }
    }
    if (ids.size === 0) return views.map(() => []);
    const few = views.length <= FEW_VIEWS;
    const any = views.map(({ reach, filter }) => ({ reach, filter: withoutAsked(filter) }));
    const rows = await watchedEvents(database, projectId, [...ids], few ? any : null);
    const told: Told<EventRow>[] = [];
    for (const { matches, ask } of views) {
      const own = rows.filter(matches);
      const answer = ask && own.length > 0 ? ask(own) : own;
      // The answer may fail before the room waits for it. This avoids an unhandled rejection; the room still gets the error.
      if (answer instanceof Promise) answer.catch(() => {});
      told.push(answer);
      await pause(rows.length);
    }
    return told;
  }

  /** Asks the database which events match which filters. For views with the same rights one statement runs at a time. */
  const createAsk = (projectId: string): Ask =>
    joinReads(
      async (questions) => {
        const asked = [...new Set(questions.flatMap(({ rows }) => rows.map(({ id }) => id)))];
        const met = await metFilters(
          database,
          projectId,
          asked,
          questions.map(({ filter }) => filter),
        );
        return questions.map(({ rows }, at) => rows.filter(({ id }) => met.get(id)?.[at] === true));
      },
      { most: ASKED_AT_ONCE },
    );

  function eventView(reach: Reach, filter: EventFilter | null): EventView {
    const matches = eventPredicate(reach, filter);
    const sessions = filter?.sessionIds ? new Set(filter.sessionIds) : null;
    if (!filter || !needsDatabase(filter)) return { reach, filter, matches, sessions, ask: null };
    const rights = reachName(reach);
    const known = asks.get(rights) ?? createAsk(reach.projectId);
    asks.set(rights, known);
    const question = askedOfDatabase(filter);
    return { reach, filter, matches, sessions, ask: (rows) => known({ rows, filter: question }) };
  }

  /**
   * Opens a watch of `what` in the room of its channel, and waits until the bus has confirmed. The first watch makes the
   * room.
   */
  async function watch<Change, View extends { readonly reach: Reach }, Item>(
    what: 'events',
    rooms: Map<string, LiveRoom<Change, View, Item>>,
    channel: string,
    options: ConstructorParameters<typeof LiveRoom<Change, View, Item>>[2],
    name: string,
    view: View,
  ): Promise<AsyncIterableIterator<Item>> {
    if (closed) throw new AppError('UNAVAILABLE', 'This server is shutting down; try again.', { retryAfter: 1 });
    const room = rooms.get(channel) ?? new LiveRoom(bus, channel, options);
    // room.add may throw. Only a room that has watchers throws, and that room is in `rooms` already.
    const watcher = room.add(name, view, () => {
      observe({ kind: 'watcher.closed', what });
      if (!room.isEmpty || rooms.get(channel) !== room) return;
      rooms.delete(channel);
      room.subscription
        .then((subscription) => subscription.close())
        .catch((error: unknown) => observe({ kind: 'task.failed', task: `live.${what}.unsubscribe`, error }));
    });
    rooms.set(channel, room);
    observe({ kind: 'watcher.opened', what });
    try {
      await room.subscription;
    } catch (error) {
      watcher.end(null);
      throw new AppError(
        'UNAVAILABLE',
        'The server cannot open subscriptions at present. Try again in a second.',
        { retryAfter: 1 },
        { cause: error },
      );
    }
    return watcher;
  }

  return {
    watchEvents: (reach, filter) =>
      watch(
        'events',
        eventRooms,
        eventsChannel(reach.projectId),
        {
          onMessage: (channel, gather) =>
            hear(channel, readEventsMessage, observe, (message) => gather(eventsIn(message))),
          read: (changes, views) => readEvents(reach, changes, views),
        },
        JSON.stringify([reach, filter]),
        eventView(reach, filter),
      ),
    async close() {
      closed = true;
      for (const room of eventRooms.values()) room.end(null);
    },
  };
}
