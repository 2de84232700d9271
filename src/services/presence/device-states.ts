import { setImmediate as nextTurn } from 'node:timers/promises';
import type { Clock } from '../../domain/clock.js';
import type { PresenceAgain } from '../../domain/presence.js';
import type { Observer } from '../../observation.js';
import type { Database } from '../../store/database.js';
import { presenceOfSessions } from '../../store/presence/current-presence.js';
import type { Bus, BusListener, BusSubscription } from '../bus.js';
import {
  devicesChannel,
  hear,
  presenceChannel,
  readDevicesMessage,
  readEdges,
  type DevicesMessage,
  type DeviceState,
} from '../messages.js';
import { publish } from '../publish-changes.js';
import { createTimedDuty } from '../timed-duty.js';
import { PacedChanges } from './paced-changes.js';
import { StateTable, type KnownState } from './state-table.js';

/**
 * What devices say about themselves (setPresence): their states. A state is in the memory of the servers and on the bus, not
 * in the database. The server that received a state keeps it while the session counts as online. It sends the state again to
 * a server that begins to listen to the project. If the server ends, the states that it received are lost.
 */
export interface DeviceStates {
  /** Sets what a session's device says. It replaces what the device said before. */
  set(projectId: string, sessionId: string, told: Pick<DeviceState, 'state' | 'away'>): void;
  /** The latest state of a session that this server knows; null: none. After `ready` this server knows what the others know. */
  of(projectId: string, sessionId: string): DeviceState | null;
  /**
   * Resolves when the other servers had time to send the states of the project; at once if this server has listened long
   * enough already. Never rejects.
   */
  ready(projectId: string): Promise<void>;
  /**
   * Calls `onChange` when sessions of the project say something new: at most once a second, with all that have done so by then
   * (PART sessions in one call). `users` is the current presence of the users of these sessions, each user once. Returns a
   * function that ends the watch.
   */
  watch(projectId: string, onChange: (users: readonly PresenceAgain[]) => void): () => void;
  /**
   * The current presence of the users (of `watched`; null: of everybody) whose devices have said something new since that time
   * (milliseconds since the epoch): each user once. Somebody who has seen everything up to that time may have missed it. `pay`
   * pays for the sessions before they are read. Null, and nothing is read, if more than `most` sessions have said something.
   */
  since(
    projectId: string,
    time: number,
    options: {
      watched: { has(userId: string): boolean } | null;
      most: number;
      pay: (sessions: number) => Promise<void>;
    },
  ): Promise<PresenceAgain[] | null>;
  /** Forgets the states of sessions that no longer count as online. Stops listening to projects that nobody asks for. */
  sweep(): Promise<void>;
  start(): void;
  close(): Promise<void>;
}

/**
 * The shortest time between two messages to the other servers about a session, and between two updates of a project's watchers:
 * each update costs an execution for each different subscription. Milliseconds.
 */
const PACE = 1_000;
/**
 * How long after a device has said something a watcher may get it: the pace of both servers, the bus and the read of the users.
 * Milliseconds.
 */
const LATE = 10_000;
/**
 * The most states that are kept, own ones and those of other servers. Above a limit of a project, its oldest state is dropped.
 * Above the limit of all projects, the oldest state of the project with the most bytes is dropped.
 */
const MOST_KEPT = { ofProject: 50_000, bytesOfProject: 33_554_432, bytes: 67_108_864 };
/** The most states of one message (at most 1.3 MB), and the most sessions of one statement (some 20 ms). */
const PART = 1_000;
/**
 * `answers`: how long this server waits for the states of the other servers. `all`: the longest time until `ready` resolves,
 * also if the bus is away. Milliseconds.
 */
const PATIENCE = { answers: 300, all: 1_000 };
/**
 * The shortest time between two answers of this server. One answer serves all servers that have asked by then. It is shorter
 * than the time that others wait (PATIENCE.answers). Milliseconds.
 */
const ANSWERS = 200;
/** The time until the next try if this server could not subscribe. Milliseconds. */
const AGAIN = 1_000;
/** The time between two sweeps. A sweep checks all sessions, because an edge may be lost. Milliseconds. */
const SWEEP_INTERVAL = 30_000;
/** How long a server listens to a project after the last request for it. Milliseconds. */
const LISTENED = 60_000;

/** Whether a device says what is known of it already. Then nobody is told. */
const saysSame = (known: KnownState | null, { state, away }: Pick<DeviceState, 'state' | 'away'>): boolean =>
  known !== null && known.state === state && known.away === away;

const after = (milliseconds: number): Promise<void> =>
  new Promise((resolve) => {
    setTimeout(resolve, milliseconds).unref();
  });

interface Room {
  readonly projectId: string;
  readonly table: StateTable;
  /** Sessions whose change the watchers on this server are to get, all together. */
  readonly news: PacedChanges;
  /** Sessions whose state this server received, and the other servers are to get. */
  readonly own: PacedChanges;
  /** Sessions of users with a new edge: they may not count as online any more. */
  readonly doubts: PacedChanges;
  /** Sends all own states, because another server has asked. */
  readonly answers: PacedChanges;
  readonly watchers: Set<(users: readonly PresenceAgain[]) => void>;
  ready: Promise<void>;
  /** Stops listening, and forgets all states of the room. */
  leave(): void;
  /** When somebody asked last. Monotonic (performance.now). */
  usedAt: number;
}

export function createDeviceStates(deps: {
  database: Database;
  bus: Bus;
  clock: Clock;
  observe: Observer;
}): DeviceStates {
  const { database, bus, clock, observe } = deps;
  const rooms = new Map<string, Room>();
  const kept = { bytes: 0 };
  let closed = false;

  const failed = (error: unknown): void => observe({ kind: 'task.failed', task: 'presence.devices', error });
  const say = (projectId: string, message: DevicesMessage): Promise<void> =>
    publish(bus, observe, devicesChannel(projectId), JSON.stringify(message));

  /** Keeps a state if it is newer than the known one. Returns whether it says something else than the known one. */
  function take({ table }: Room, state: DeviceState, isOwn: boolean): boolean {
    const known = table.get(state.sessionId);
    if (known && known.at >= state.at) return false;
    const isNews = !saysSame(known, state);
    table.put({ ...state, isOwn, heard: performance.now() });
    while (table.size > MOST_KEPT.ofProject || table.bytes > MOST_KEPT.bytesOfProject) table.deleteOldest();
    while (kept.bytes > MOST_KEPT.bytes) {
      let largest = table;
      for (const room of rooms.values()) if (room.table.bytes > largest.bytes) largest = room.table;
      largest.deleteOldest();
    }
    return isNews;
  }

  async function tell({ projectId, table }: Room, sessionIds: Iterable<string>): Promise<void> {
    const states: DeviceState[] = [];
    for (const id of sessionIds) {
      const known = table.get(id);
      if (!known?.isOwn) continue;
      const { sessionId, state, away, at } = known;
      states.push({ sessionId, state, away, at });
    }
    for (let from = 0; from < states.length; from += PART) {
      await say(projectId, { states: states.slice(from, from + PART) });
      await nextTurn();
    }
  }

  /**
   * Reads which of the sessions still count as online, and forgets the states of the others. Hands on the users after each
   * statement. A watcher keeps up with these pieces, but not with all states of a project in one piece.
   */
  async function look(
    { projectId, table }: Room,
    sessionIds: readonly string[],
    handOn: (users: readonly PresenceAgain[]) => void = () => {},
  ): Promise<void> {
    for (let from = 0; from < sessionIds.length; from += PART) {
      const part = sessionIds.slice(from, from + PART);
      const asked = performance.now();
      const rows = await presenceOfSessions(database, { projectId, userIds: null }, part);
      const counting = new Set<string>();
      const users = new Map<string, PresenceAgain>();
      for (const { sessionId, user } of rows) {
        counting.add(sessionId);
        table.belongsTo(sessionId, user.userId);
        users.set(user.userId, user);
      }
      // A state that came after the read began may belong to a session that began to count as online after it.
      for (const id of part) if (!counting.has(id) && (table.get(id)?.heard ?? asked) < asked) table.delete(id);
      if (users.size > 0) handOn([...users.values()]);
    }
  }

  function listen(projectId: string): Room {
    const known = rooms.get(projectId);
    if (known) return known;
    const table = new StateTable(kept);
    const ask = (): Promise<void> => say(projectId, { states: null });
    const devices = devicesChannel(projectId);
    const onDevices: BusListener = {
      onMessage: hear(devices, readDevicesMessage, observe, ({ states }) => {
        if (states === null) {
          if (table.hasOwn) room.answers.add('all');
          return;
        }
        // Otherwise a state from a server whose clock is far ahead could never be replaced.
        const now = clock.now().getTime();
        for (const state of states)
          if (take(room, { ...state, at: Math.min(state.at, now) }, false)) room.news.add(state.sessionId);
      }),
      onLoss: () => void ask(),
      onGap: () => {
        void ask();
        look(room, table.sessionIds()).catch(failed);
      },
    };
    // If the bus loses an edge, the next sweep finds the sessions that no longer count.
    const onEdges: BusListener = {
      onMessage(text) {
        if (table.size === 0) return;
        for (const { userId } of readEdges(text) ?? [])
          for (const sessionId of table.ofUser(userId)) room.doubts.add(sessionId);
      },
      onLoss: () => {},
      onGap: () => {},
    };
    const isLeft = (): boolean => rooms.get(projectId) !== room;
    const subscriptions: BusSubscription[] = [];
    const leaveBus = (): Promise<unknown> => Promise.all(subscriptions.splice(0).map((one) => one.close()));
    async function learn(): Promise<void> {
      while (!isLeft()) {
        try {
          subscriptions.push(await bus.subscribe(devices, onDevices));
          subscriptions.push(await bus.subscribe(presenceChannel(projectId), onEdges));
          break;
        } catch (error) {
          failed(error);
          await leaveBus();
          await after(AGAIN);
        }
      }
      if (isLeft()) {
        await leaveBus();
        return;
      }
      await ask();
      await after(PATIENCE.answers);
    }
    const room: Room = {
      projectId,
      table,
      news: new PacedChanges(PACE, (ids) => void showNews(room, ids), true),
      own: new PacedChanges(PACE, (ids) => void tell(room, ids)),
      doubts: new PacedChanges(0, (ids) => void look(room, ids).catch(failed)),
      answers: new PacedChanges(ANSWERS, () => void tell(room, table.sessionIds())),
      watchers: new Set(),
      ready: Promise.resolve(),
      leave() {
        rooms.delete(projectId);
        table.clear();
        for (const changes of [room.news, room.own, room.doubts, room.answers]) changes.close();
        leaveBus().catch(failed);
      },
      usedAt: performance.now(),
    };
    rooms.set(projectId, room);
    room.ready = Promise.race([learn().catch(failed), after(PATIENCE.all)]);
    return room;
  }

  /** Tells the watchers about sessions with a new state. Reads the user of each session that is not known yet. */
  async function showNews(room: Room, sessionIds: readonly string[]): Promise<void> {
    const unread = room.watchers.size > 0 ? sessionIds : sessionIds.filter((id) => room.table.userOf(id) === null);
    if (unread.length === 0) return;
    try {
      await look(room, unread, (users) => {
        for (const onChange of room.watchers) onChange(users);
      });
    } catch (error) {
      failed(error);
      // The next round reads them again.
      for (const id of unread) if (!closed && room.table.get(id)) room.news.add(id);
    }
  }

  async function sweep(): Promise<void> {
    for (const room of rooms.values()) {
      const { table } = room;
      await look(room, table.sessionIds());
      const isUsed = room.watchers.size > 0 || table.hasOwn || performance.now() - room.usedAt < LISTENED;
      if (!isUsed) room.leave();
    }
  }
  const duty = createTimedDuty(SWEEP_INTERVAL, sweep, failed);

  return {
    set(projectId, sessionId, told) {
      if (closed) return;
      const room = listen(projectId);
      const { table } = room;
      const known = table.get(sessionId);
      if (known && saysSame(known, told)) {
        // Nothing new: `at` stays. But it is now the newest, and this server answers for it.
        table.put({ ...known, isOwn: true, heard: performance.now() });
        return;
      }
      const at = Math.max(clock.now().getTime(), (known?.at ?? 0) + 1);
      take(room, { ...told, sessionId, at }, true);
      room.own.add(sessionId);
      room.news.add(sessionId);
    },
    of: (projectId, sessionId) => rooms.get(projectId)?.table.get(sessionId) ?? null,
    async ready(projectId) {
      if (closed) return;
      const room = listen(projectId);
      room.usedAt = performance.now();
      await room.ready;
    },
    watch(projectId, onChange) {
      if (closed) return () => {};
      const room = listen(projectId);
      // Two watchers may pass the same function.
      const own = (users: readonly PresenceAgain[]): void => onChange(users);
      room.watchers.add(own);
      return () => {
        room.watchers.delete(own);
        room.usedAt = performance.now();
      };
    },
    async since(projectId, time, { watched, most, pay }) {
      const room = rooms.get(projectId);
      if (!room) return [];
      const { table } = room;
      const said = table.sessionIds().filter((id) => {
        const userId = table.userOf(id);
        return table.get(id)!.at >= time - LATE && (!watched || userId === null || watched.has(userId));
      });
      if (said.length > most) return null;
      if (said.length > 0) await pay(said.length);
      const found = new Map<string, PresenceAgain>();
      await look(room, said, (users) => {
        for (const user of users) if (!watched || watched.has(user.userId)) found.set(user.userId, user);
      });
      return [...found.values()];
    },
    sweep,
    start: () => duty.start(),
    async close() {
      closed = true;
      for (const room of rooms.values()) room.leave();
      await duty.close();
    },
  };
}
