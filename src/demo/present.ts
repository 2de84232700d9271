import type { Api } from './api.js';
import { createChance, goodbyeOf, visitOf, type Person, type SentEvent, type Visit } from './visits.js';

/** About how many visitors are there at the same time. */
const CROWD = 24;
/** The time between two heartbeats of a visitor. Milliseconds. */
const HEARTBEAT = 25_000;
/** Steps follow each other this many times faster than in the past, so that there is something to see. */
const HASTE = 4;

interface Visitor {
  readonly deviceId: string;
  readonly steps: Visit['steps'][number][];
  /** As the latest event names the user. */
  user: SentEvent['user'];
  next: number;
  heartbeat: number;
}

export interface Present {
  /** Sends all events and heartbeats that are due at `now` (milliseconds). */
  step(now: number): Promise<void>;
}

/** Visitors who come and go, some with two devices at once. Each call of `step` sends what they did since the last call. */
export function createPresent(api: Api, people: readonly Person[], seed = 5): Present {
  const chance = createChance(seed);
  const { below, pick } = chance;
  /** By device. */
  const here = new Map<string, Visitor>();
  let nextArrival = 0;

  function arrive(now: number): void {
    const { deviceId, steps } = visitOf(pick(people), chance);
    if (here.has(deviceId)) return;
    here.set(deviceId, { deviceId, steps: [...steps], user: undefined, next: now, heartbeat: now + HEARTBEAT });
  }

  function act(visitor: Visitor, now: number): SentEvent[] {
    const step = visitor.steps.shift();
    if (step) {
      visitor.next = now + (step.wait * 1_000) / HASTE;
      visitor.user = step.event.user;
      return [step.event];
    }
    here.delete(visitor.deviceId);
    // Two of three visitors say goodbye. The sessions of the others end by inactivity.
    return below(3) > 0 ? [goodbyeOf(visitor.deviceId)] : [];
  }

  function beat(visitor: Visitor, now: number): SentEvent[] {
    const { deviceId, user, heartbeat } = visitor;
    if (heartbeat > now || !here.has(deviceId)) return [];
    visitor.heartbeat = now + HEARTBEAT;
    return [{ type: 'heartbeat', deviceId, ...(user && { user }) }];
  }

  return {
    async step(now) {
      // The first half of the crowd arrives at once.
      while (nextArrival === 0 && here.size < CROWD / 2) arrive(now);
      if (now >= nextArrival) {
        if (here.size < CROWD) arrive(now);
        nextArrival = now + 1_500 + below(3_500);
      }
      const visitors = [...here.values()];
      const events = visitors.filter(({ next }) => next <= now).flatMap((visitor) => act(visitor, now));
      events.push(...visitors.flatMap((visitor) => beat(visitor, now)));
      if (events.length > 0) await api.send(events);
    },
  };
}
