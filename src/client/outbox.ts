import { timeOfId } from './event-ids.js';
import type { Kept } from './kept.js';

/** How many events may be kept, and their characters: the storage of a browser has some 5 million. */
const MOST_EVENTS = 20_000;
const MOST_CHARACTERS = 4_000_000;
/** The server takes no event older than 3 days (rule 10). An hour less, so that what is sent still arrives in time. Milliseconds. */
const MOST_AGE = 71 * 3_600_000;
/** What is younger than this may belong to a tab that is about to send it. Milliseconds. */
const YOUNG = 60_000;
/** The name of a kept event: this and its id. */
const KEPT = 'event.';

/**
 * The events that are kept: in memory, and in the storage so that no reload loses them. Those that wait here are sent from here.
 * The others are aside: another tab is about to send them, or they are left to a later page. Both count against the limits.
 */
export interface Outbox {
  /** How many wait here. */
  readonly size: () => number;
  /** Adds an event, written as JSON. */
  add(id: string, json: string): void;
  /** The oldest waiting events: at most `most`, with at most `characters` together, but at least one. */
  first(most: number, characters: number): readonly (readonly [id: string, json: string])[];
  /** Forgets an event. */
  remove(id: string): void;
  /** Leaves an event to a later page: it is kept, and no longer waits here. */
  park(id: string): void;
  /**
   * Takes over what other tabs, or earlier pages, have left. `all`: also what is so young that a tab may be about to send it.
   * (An event that is sent twice is stored once, by its id.) `now`: milliseconds since the epoch.
   */
  adopt(now: number, all: boolean): void;
  /** Another tab has written to the storage under this name; null: removed it. */
  hear(name: string, json: string | null): void;
  /** Forgets everything, also in the storage. */
  clear(): void;
}

/** `dropped` hears how many events were dropped to make room: the oldest. */
export function createOutbox(kept: Kept, dropped: (count: number) => void): Outbox {
  /** Everything that is kept, the oldest first. */
  let known = new Map<string, string>();
  /** What is aside, and whether it is left to a later page. */
  const aside = new Map<string, boolean>();
  let characters = 0;

  function put(id: string, json: string): void {
    known.set(id, json);
    characters += json.length;
  }
  /** Another tab keeps it. */
  function learn(id: string, json: string): void {
    if (known.has(id)) return;
    put(id, json);
    aside.set(id, false);
  }
  function leave(id: string): void {
    characters -= known.get(id)?.length ?? 0;
    known.delete(id);
    aside.delete(id);
  }
  function remove(id: string): void {
    leave(id);
    kept.remove(KEPT + id);
  }
  function makeRoom(): void {
    let count = 0;
    for (const oldest of known.keys()) {
      if (known.size <= MOST_EVENTS && characters <= MOST_CHARACTERS) break;
      remove(oldest);
      count += 1;
    }
    if (count > 0) dropped(count);
  }

  return {
    size: () => known.size - aside.size,
    add(id, json) {
      kept.set(KEPT + id, json);
      put(id, json);
      makeRoom();
    },
    first(most, limit) {
      const found: [string, string][] = [];
      let sum = 0;
      for (const entry of known) {
        if (aside.has(entry[0])) continue;
        sum += entry[1].length + 1;
        if (found.length === most || (found.length > 0 && sum > limit)) break;
        found.push(entry);
      }
      return found;
    },
    remove,
    park: (id) => known.has(id) && aside.set(id, true),
    adopt(now, all) {
      const ids = new Set(kept.names(KEPT).map((name) => name.slice(KEPT.length)));
      // Another tab has sent it.
      for (const id of aside.keys()) if (!ids.has(id)) leave(id);
      for (const id of ids) {
        const age = now - timeOfId(id);
        const json = known.get(id) ?? kept.get(KEPT + id);
        // A clock that was set back makes ages negative; one that makes no sense is as old as can be.
        if (json === null || !(age < MOST_AGE)) remove(id);
        else learn(id, json);
        if (aside.get(id) === false && (age >= YOUNG || all)) aside.delete(id);
      }
      known = new Map([...known].toSorted(([one], [other]) => (one < other ? -1 : 1)));
      makeRoom();
    },
    hear(name, json) {
      if (!name.startsWith(KEPT)) return;
      const id = name.slice(KEPT.length);
      if (json === null) leave(id);
      else learn(id, json);
    },
    clear() {
      for (const id of known.keys()) remove(id);
    },
  };
}
