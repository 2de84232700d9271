import { createChance, eventOf, people, visit, type Person, type SentEvent } from './visits.js';

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;
/** How far back the story goes: events may be three days old at most. */
const DAYS = 2.9;
/** The past ends here, so that it never meets those who are there now. */
const REST = 12 * MINUTE;
/** How busy each hour of the day is, in the zone of whoever looks. */
const BUSY = [1, 1, 1, 1, 1, 2, 4, 7, 10, 12, 13, 12, 14, 12, 11, 11, 12, 13, 15, 17, 16, 12, 7, 3];

export interface Past {
  readonly people: readonly Person[];
  /** In the order of their times. */
  readonly events: readonly SentEvent[];
}

/** Almost three days of a shop, up to `now` (milliseconds): busy in the evening, quiet at night. */
export function tellPast(now: number, visits: number, seed = 11): Past {
  const chance = createChance(seed);
  const { below, pick } = chance;
  const everybody = people(Math.ceil(visits / 4), chance);
  const events: SentEvent[] = [];
  const free = new Map<string, number>();
  for (let told = 0; told < visits;) {
    const start = now - REST - below(DAYS * 24 * HOUR);
    if (below(17) >= BUSY[new Date(start).getHours()]!) continue;
    const person = pick(everybody);
    // Nobody is on two visits at once: this one would run into another.
    const hour = `${person.identity} ${Math.floor(start / (2 * HOUR))}`;
    if (free.has(hour)) continue;
    free.set(hour, start);
    told += 1;
    let at = start;
    const say = (event: SentEvent): void => {
      if (at < now - REST) events.push({ ...event, occurredAt: new Date(at).toISOString() });
    };
    for (const step of visit(chance)) {
      say(eventOf(step, person));
      at += step.wait * 1_000;
    }
    if (below(5) < 3) say({ type: 'sessionend', user: { identity: person.identity, name: person.name } });
  }
  return { people: everybody, events: events.toSorted((a, b) => a.occurredAt!.localeCompare(b.occurredAt!)) };
}
