import type { Reach } from '../domain/access.js';
import type { EventFilter } from '../domain/filters.js';
import { AppError } from '../errors.js';
import type { Observer } from '../observation.js';
import type { Database } from '../store/database.js';
import { eventsByIds } from '../store/events.js';
import type { EventRow, SessionRow } from '../store/rows.js';
import { sessionsByIds } from '../store/sessions.js';
import type { Bus } from './bus.js';
import { LiveRoom } from './live-room.js';
import {
  eventsChannel,
  sessionsChannel,
  type EventsMessage,
  type SessionChangeKind,
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

export function createLive(deps: { database: Database; bus: Bus; observe: Observer }): Live {
  const { database, bus, observe } = deps;
  const sessionRooms = new Map<string, LiveRoom<SessionsMessage, SessionChange>>();
  const eventRooms = new Map<string, LiveRoom<EventsMessage, EventRow>>();
  let closed = false;

  async function readSessions(
    reach: Reach,
    only: SessionWatch,
    messages: readonly SessionsMessage[],
  ): Promise<SessionChange[]> {
    const wanted = messages.flatMap(({ at, changes }) =>
      changes
        .filter(
          ({ id, kind }) =>
            (!only.sessionIds || only.sessionIds.includes(id)) && (!only.kinds || only.kinds.includes(kind)),
        )
        .map(({ id, kind }) => ({ id, kind, at: new Date(at) })),
    );
    if (wanted.length === 0) return [];
    const ids = [...new Set(wanted.map(({ id }) => id))];
    const rows = await sessionsByIds(database, reach, ids, { identities: only.identities ?? null });
    const byId = new Map(rows.map((row) => [row.id, row]));
    return wanted.flatMap(({ id, kind, at }) => {
      const session = byId.get(id);
      return session ? [{ kind, session, at }] : [];
    });
  }

  function readEvents(
    reach: Reach,
    filter: EventFilter | null,
    messages: readonly EventsMessage[],
  ): Promise<EventRow[]> {
    return eventsByIds(database, reach, [...new Set(messages.flatMap(({ ids }) => ids))], filter);
  }

  /** Opens a watch of `what` in its room, which it makes where it is the first, and waits for the bus. */
  async function watch<Message, Item>(
    what: 'sessions' | 'events',
    rooms: Map<string, LiveRoom<Message, Item>>,
    channel: string,
    view: string,
    read: (messages: readonly Message[]) => Promise<Item[]>,
  ): Promise<AsyncIterableIterator<Item>> {
    if (closed) throw new AppError('UNAVAILABLE', 'This server is shutting down; try again.', { retryAfter: 1 });
    const room = rooms.get(channel) ?? new LiveRoom<Message, Item>(bus, channel);
    rooms.set(channel, room);
    const watcher = room.add(view, read, () => {
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
      watch('sessions', sessionRooms, sessionsChannel(reach.projectId), JSON.stringify([reach, only]), (messages) =>
        readSessions(reach, only, messages),
      ),
    watchEvents: (reach, filter) =>
      watch('events', eventRooms, eventsChannel(reach.projectId), JSON.stringify([reach, filter]), (messages) =>
        readEvents(reach, filter, messages),
      ),
    async close() {
      closed = true;
      for (const room of sessionRooms.values()) room.end();
      for (const room of eventRooms.values()) room.end();
    },
  };
}
