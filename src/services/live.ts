import type { Reach } from '../domain/access.js';
import { eventPredicate, needsDatabase, type FilteredEvent } from '../domain/event-predicate.js';
import type { EventFilter } from '../domain/filters.js';
import { userIdOf } from '../domain/identity.js';
import { AppError } from '../errors.js';
import type { Observer } from '../observation.js';
import type { Database } from '../store/database.js';
import type { EventConditions } from '../store/event-filter.js';
import { watchedEvents } from '../store/events.js';
import type { EventRow, SessionRow } from '../store/rows.js';
import { sessionsByIds } from '../store/sessions.js';
import type { Bus } from './bus.js';
import { LiveRoom } from './live-room.js';
import {
  eventsChannel,
  sessionsChannel,
  type EventsMessage,
  type SessionChangeKind,
  type SessionChanged,
  type SessionsMessage,
} from './messages.js';

export interface SessionChange {
  readonly kind: SessionChangeKind;
  readonly session: SessionRow;
  readonly at: Date;
}

/** Which changes of sessions to watch; null or undefined: any. */
interface SessionWatch {
  readonly identities?: readonly string[] | null;
  /** UUIDs. */
  readonly sessionIds?: readonly string[] | null;
  readonly kinds?: readonly SessionChangeKind[] | null;
}

/** Watches sessions and events as they are stored, from the moment the watch is confirmed; no snapshot. */
export interface Live {
  /** Each session as it is when the change is told; changes of a session that is gone by then are left out. */
  watchSessions(reach: Reach, only: SessionWatch): Promise<AsyncIterableIterator<SessionChange>>;
  watchEvents(reach: Reach, filter: EventFilter | null): Promise<AsyncIterableIterator<EventRow>>;
  /** Ends every watch. */
  close(): Promise<void>;
}

/** A watch of events. */
interface EventView extends EventConditions {
  readonly matches: (event: FilteredEvent) => boolean;
}

/** A watch of sessions. */
interface SessionView {
  readonly reach: Reach;
  readonly wants: (change: ToldChange) => boolean;
  readonly matches: (session: SessionRow) => boolean;
}

/** A change of a session, as the bus tells it. */
interface ToldChange extends SessionChanged {
  readonly at: Date;
}

/** So few views are told apart by the database: it then reads no event that nobody wants. */
const FEW_VIEWS = 16;

const changesIn = (message: string): ToldChange[] => {
  const { at, changes } = JSON.parse(message) as SessionsMessage;
  return changes.map((change) => ({ ...change, at: new Date(at) }));
};
const eventIdsIn = (message: string): readonly string[] => (JSON.parse(message) as EventsMessage).ids;

function sessionView(reach: Reach, { identities, sessionIds, kinds }: SessionWatch): SessionView {
  const named = identities?.map((identity) => userIdOf(reach.projectId, identity.trim()));
  const watched = sessionIds && new Set(sessionIds);
  const [users, within] = [named && new Set(named), reach.userIds && new Set(reach.userIds)];
  return {
    reach,
    wants({ id, kind, took }) {
      // Whoever watches a session goes on with what it became.
      if (watched && took?.some((one) => watched.has(one))) watched.add(id);
      return (!watched || watched.has(id)) && (!kinds || kinds.includes(kind));
    },
    matches: ({ userId }) =>
      (!users || (userId !== null && users.has(userId))) && (!within || (userId !== null && within.has(userId))),
  };
}

export function createLive(deps: { database: Database; bus: Bus; observe: Observer }): Live {
  const { database, bus, observe } = deps;
  const sessionRooms = new Map<string, LiveRoom<ToldChange, SessionView, SessionChange>>();
  const eventRooms = new Map<string, LiveRoom<string, EventView, EventRow>>();
  let closed = false;

  /** One statement for all views. */
  async function readSessions(
    { projectId }: Reach,
    changes: readonly ToldChange[],
    views: readonly SessionView[],
  ): Promise<SessionChange[][]> {
    // Each view hears of every change once, in order: it remembers what the session that it watches has become.
    const wants = views.map((view) => new Set(changes.filter((change) => view.wants(change))));
    const wanted = changes.filter((change) => wants.some((own) => own.has(change)));
    if (wanted.length === 0) return views.map(() => []);
    const ids = [...new Set(wanted.map(({ id }) => id))];
    const rows = await sessionsByIds(database, { projectId, userIds: null }, ids);
    const byId = new Map(rows.map((row) => [row.id, row]));
    const found = wanted.flatMap((change) => {
      const session = byId.get(change.id);
      return session ? [{ change, told: { kind: change.kind, session, at: change.at } }] : [];
    });
    return views.map((view, at) =>
      found.filter(({ change, told }) => wants[at]!.has(change) && view.matches(told.session)).map(({ told }) => told),
    );
  }

  /** One statement for all views, and the question to the database that some of them need is part of it. */
  async function readEvents(
    { projectId }: Reach,
    ids: readonly string[],
    views: readonly EventView[],
  ): Promise<EventRow[][]> {
    const asked = views.filter(({ filter }) => needsDatabase(filter));
    const rows = await watchedEvents(database, projectId, [...new Set(ids)], {
      any: views.length > FEW_VIEWS ? null : views,
      each: asked,
    });
    return views.map((view) => {
      const at = asked.indexOf(view);
      return rows.filter((row) => view.matches(row) && (at < 0 || row.matches[at] === true));
    });
  }

  /** Opens a watch of `what` in its room, which it makes where it is the first, and waits for the bus. */
  async function watch<Change, View, Item>(
    what: 'sessions' | 'events',
    rooms: Map<string, LiveRoom<Change, View, Item>>,
    channel: string,
    options: ConstructorParameters<typeof LiveRoom<Change, View, Item>>[2],
    name: string,
    view: View,
  ): Promise<AsyncIterableIterator<Item>> {
    if (closed) throw new AppError('UNAVAILABLE', 'This server is shutting down; try again.', { retryAfter: 1 });
    const room = rooms.get(channel) ?? new LiveRoom(bus, channel, options);
    rooms.set(channel, room);
    const watcher = room.add(name, view, () => {
      observe({ kind: 'watcher.closed', what });
      if (!room.isEmpty || rooms.get(channel) !== room) return;
      rooms.delete(channel);
      room.subscription
        .then((subscription) => subscription.close())
        .catch((error: unknown) => observe({ kind: 'task.failed', task: `live.${what}.unsubscribe`, error }));
    });
    observe({ kind: 'watcher.opened', what });
    try {
      await room.subscription;
    } catch (error) {
      watcher.end(null);
      throw new AppError(
        'UNAVAILABLE',
        'Nothing can be watched just now; try again shortly.',
        { retryAfter: 1 },
        { cause: error },
      );
    }
    return watcher;
  }

  return {
    watchSessions: (reach, only) =>
      watch(
        'sessions',
        sessionRooms,
        sessionsChannel(reach.projectId),
        { changesIn, read: (changes, views) => readSessions(reach, changes, views) },
        JSON.stringify([reach, only]),
        sessionView(reach, only),
      ),
    watchEvents: (reach, filter) =>
      watch(
        'events',
        eventRooms,
        eventsChannel(reach.projectId),
        { changesIn: eventIdsIn, read: (ids, views) => readEvents(reach, ids, views) },
        JSON.stringify([reach, filter]),
        { reach, filter, matches: eventPredicate(reach, filter) },
      ),
    async close() {
      closed = true;
      for (const room of sessionRooms.values()) room.end(null);
      for (const room of eventRooms.values()) room.end(null);
    },
  };
}
