import type { Api } from './api.js';
import { createChance, eventOf, visit, type Person, type SentEvent, type Step } from './visits.js';

/** How many are there at once, about. */
const CROWD = 24;
/** Applications say every half a minute that their user is there. Milliseconds. */
const HEARTBEAT = 25_000;
/** Time runs faster than in the past, so that there is something to see: steps take a fraction of it. */
const HASTE = 4;

interface Visitor {
  readonly person: Person;
  readonly steps: Step[];
  next: number;
  heartbeat: number;
}

export interface Present {
  /** Lets everything that is due at `now` (milliseconds) happen. */
  step(now: number): Promise<void>;
}

/** People who come and go: each call of `step` sends what they did since the last. */
export function createPresent(api: Api, people: readonly Person[], seed = 5): Present {
  const chance = createChance(seed);
  const { below, pick } = chance;
  const here = new Map<string, Visitor>();
  let nextArrival = 0;

  function arrive(now: number): void {
    const person = pick(people);
    if (here.has(person.identity)) return;
    here.set(person.identity, { person, steps: visit(chance), next: now, heartbeat: now + HEARTBEAT });
  }

  function act(visitor: Visitor, now: number): SentEvent[] {
    const { person, steps } = visitor;
    const step = steps.shift();
    if (step) {
      visitor.next = now + (step.wait * 1_000) / HASTE;
      return [eventOf(step, person)];
    }
    here.delete(person.identity);
    // Two of three say goodbye; the others are found to be silent.
    return below(3) > 0 ? [{ type: 'sessionend', user: { identity: person.identity, name: person.name } }] : [];
  }

  return {
    async step(now) {
      // The first few are there at once.
      while (nextArrival === 0 && here.size < CROWD / 2) arrive(now);
      if (now >= nextArrival) {
        if (here.size < CROWD) arrive(now);
        nextArrival = now + 1_500 + below(3_500);
      }
      const visitors = [...here.values()];
      const events = visitors.filter(({ next }) => next <= now).flatMap((visitor) => act(visitor, now));
      if (events.length > 0) await api.send(events);
      for (const visitor of visitors) {
        if (visitor.heartbeat > now || !here.has(visitor.person.identity)) continue;
        visitor.heartbeat = now + HEARTBEAT;
        await api.heartbeat(visitor.person.identity);
      }
    },
  };
}
