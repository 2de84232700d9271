import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { PacedChanges } from '../../src/services/presence/paced-changes.js';

/** How often changes are handed on: each at most once per interval, or all together. */

beforeEach(() => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'performance'] });
});
afterEach(() => {
  vi.useRealTimers();
});

/** Says a, b, c and a again, 200 ms apart. Returns what was handed on by then, and after a second more. */
function say(together: boolean): { soon: string[]; later: string[] } {
  const handed: string[] = [];
  const changes = new PacedChanges(1_000, (keys) => void handed.push(keys.join()), together);
  for (const key of ['a', 'b', 'c', 'a']) {
    changes.add(key);
    vi.advanceTimersByTime(200);
  }
  const soon = [...handed];
  vi.advanceTimersByTime(1_000);
  changes.close();
  return { soon, later: handed.slice(soon.length) };
}

test('each on its own: the first at once, the same again when its interval is over', () => {
  expect(say(false)).toEqual({ soon: ['a', 'b', 'c'], later: ['a'] });
});

test('all together: one at once, and what comes meanwhile in one piece when the interval is over', () => {
  expect(say(true)).toEqual({ soon: ['a'], later: ['b,c,a'] });
});
