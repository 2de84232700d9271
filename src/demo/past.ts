import { createChance, goodbyeOf, people, visitOf, type Person, type SentEvent } from './visits.js';

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;
/** How many days back the demo's events go: the server takes events of at most 3 days (rule 10). */
const DAYS = 2.9;
/** The past ends this long before now. So its sessions do not mix with those of the present. Milliseconds. */
const REST = 12 * MINUTE;
/** How busy each hour of the day is, in the time zone of this machine. */
const BUSY = [1, 1, 1, 1, 1, 2, 4, 7, 10, 12, 13, 12, 14, 12, 11, 11, 12, 13, 15, 17, 16, 12, 7, 3];

export interface Past {
  readonly people: readonly Person[];
  /** Ordered by `occurredAt`. */
  readonly events: readonly SentEvent[];
}

/** Makes up `visits` visits of a shop in the almost three days before `now` (milliseconds): busy evenings, quiet nights. */
export function tellPast(now: number, visits: number, seed = 11): Past {
  const chance = createChance(seed);
  const { below, pick } = chance;
  const everybody = people(Math.ceil(visits / 4), chance);
  const events: SentEvent[] = [];
  const free = new Map<string, number>();
  for (let told = 0; told < visits;) {
    const start = now - REST - below(DAYS * 24 * HOUR);
    if (below(17) >= BUSY[new Date(start).getHours()]!) continue;
    const { deviceId, steps } = visitOf(pick(everybody), chance);
    // A device has at most one visit in each two hours, so that its visits do not overlap.
    const hour = `${deviceId} ${Math.floor(start / (2 * HOUR))}`;
    if (free.has(hour)) continue;
    free.set(hour, start);
    told += 1;
    let at = start;
    const say = (event: SentEvent): void => {
      if (at < now - REST) events.push({ ...event, occurredAt: new Date(at).toISOString() });
    };
    for (const { wait, event } of steps) {
      say(event);
      at += wait * 1_000;
    }
    if (below(5) < 3) say(goodbyeOf(deviceId));
  }
  return { people: everybody, events: events.toSorted((a, b) => a.occurredAt!.localeCompare(b.occurredAt!)) };
}
