import { createChanges, type Changes } from './changes.js';
import { createLive } from './live.js';
import { createPresence, type Presence } from './presence.js';
import { createQueries, type Queries } from './query.js';
import { openTracker, type Tracker, type TrackerOptions } from './tracker.js';
import type { SocketClass } from './wires.js';

export { FootstepsError } from './errors.js';
export type { Change } from './changes.js';
export type { LiveStatus, LiveValue, PresenceStore, PresentUser } from './presence.js';
export type { TypedDocument } from './query.js';
export type { EventFields, Tracker, TrackerOptions, UserFields } from './tracker.js';

export interface ClientOptions extends TrackerOptions {
  /** A class of WebSockets, for programs without one: `WebSocket` of `ws` in Node 20. Without any, event streams are used. */
  WebSocket?: SocketClass;
}

export interface Client extends Tracker, Presence, Queries, Changes {}

/** The client that only tracks: the smaller half, for pages that show nothing of others. */
export const createTracker = (options: TrackerOptions): Tracker => openTracker(options).tracker;

/** The whole client: it tracks, asks, and shows who is there. */
export function createClient(options: ClientOptions): Client {
  const closing = new AbortController();
  const { tracker, door, report } = openTracker(options, () => {
    closing.abort();
    live.close();
  });
  const live = createLive(door, options.WebSocket ?? (globalThis as { WebSocket?: SocketClass }).WebSocket, report);
  const queries = createQueries(door);
  return Object.assign(tracker, queries, createPresence(live, report), createChanges(live, queries, closing.signal));
}
