import { expect, test } from 'vitest';
import { createEventIds } from '../../src/client/event-ids.js';
import type { Kept } from '../../src/client/kept.js';
import { createOutbox, type Outbox } from '../../src/client/outbox.js';

/** What an outbox keeps, and what it drops. `test/browser` has the same with real storage. */

interface Tab {
  readonly outbox: Outbox;
  dropped: number;
  add(count: number, json?: string): string[];
}

/** Tabs that share a storage, whose changes the others hear. */
function createBrowser(): { readonly storage: Map<string, string>; open(): Tab } {
  const storage = new Map<string, string>();
  const tabs: Tab[] = [];
  let now = Date.now() - 1_000_000;
  return {
    storage,
    open() {
      const newId = createEventIds();
      const tell = (name: string, value: string | null): void => {
        for (const tab of tabs) if (tab !== own) tab.outbox.hear(name, value);
      };
      const kept: Kept = {
        get: (name) => storage.get(name) ?? null,
        set(name, value) {
          storage.set(name, value);
          tell(name, value);
        },
        remove(name) {
          if (storage.delete(name)) tell(name, null);
        },
        names: (start) => [...storage.keys()].filter((name) => name.startsWith(start)),
        nameOf: (key) => key ?? '',
      };
      const own: Tab = {
        outbox: createOutbox(kept, (count) => (own.dropped += count)),
        dropped: 0,
        add(count, json = '{}') {
          return Array.from({ length: count }, () => {
            const id = newId((now += 1));
            own.outbox.add(id, json);
            return id;
          });
        },
      };
      tabs.push(own);
      return own;
    },
  };
}

const charactersOf = (storage: ReadonlyMap<string, string>): number =>
  [...storage.values()].reduce((sum, json) => sum + json.length, 0);

test('events that are left to a later page count against the limits, and the oldest go first', () => {
  const { storage, open } = createBrowser();
  const tab = open();
  const json = 'x'.repeat(10_000);
  const early = tab.add(300, json);
  for (const id of early) tab.outbox.park(id);
  expect([tab.outbox.size(), tab.dropped]).toEqual([0, 0]);
  const late = tab.add(200, json);
  expect([storage.size, charactersOf(storage), tab.dropped, tab.outbox.size()]).toEqual([400, 4_000_000, 100, 200]);
  expect([...storage.keys()]).toEqual([...early.slice(100), ...late].map((id) => `event.${id}`));
});

test('events of another tab count too, at once, until it has sent them', () => {
  const { storage, open } = createBrowser();
  const [one, other] = [open(), open()];
  const first = one.add(15_000);
  const second = other.add(10_000);
  expect([storage.size, other.dropped, one.dropped]).toEqual([20_000, 5_000, 0]);
  expect([one.outbox.size(), other.outbox.size()]).toEqual([10_000, 10_000]);
  // What was dropped is not sent either.
  expect(one.outbox.first(1, 1)[0]![0]).toBe(first[5_000]);
  for (const id of second) other.outbox.remove(id);
  one.add(10_000);
  expect([storage.size, one.dropped, one.outbox.size()]).toEqual([20_000, 0, 20_000]);
});

test('what another tab has left is taken over in the order of its age; what is too old goes', () => {
  const { storage, open } = createBrowser();
  const [one, other] = [open(), open()];
  const now = Date.now();
  const first = other.add(3);
  const own = one.add(3);
  const last = other.add(3);
  storage.set('event.00000000-0000-7000-8000-000000000000', '{}');
  storage.set('event.nonsense', '{}');
  // The other tab may be about to send them.
  one.outbox.adopt(now - 1_000_000, false);
  expect(one.outbox.size()).toBe(3);
  one.outbox.adopt(now, false);
  expect(one.outbox.first(100, 1_000).map(([id]) => id)).toEqual([...first, ...own, ...last]);
  one.outbox.park(first[0]!);
  one.outbox.adopt(now, true);
  expect(one.outbox.size()).toBe(8);
  one.outbox.adopt(now + 71 * 3_600_000, false);
  expect([one.outbox.size(), storage.size]).toEqual([0, 0]);
});
