import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { DurationSketch } from '../../src/domain/duration-sketch.js';
import { userIdOf } from '../../src/domain/identity.js';
import { BLOCK, coverOf, DAY, QUARTER, startOfSpan } from '../../src/domain/spans.js';
import { MOST_LISTED, sketchedPart, UserSketch } from '../../src/domain/user-sketch.js';

/** What stored figures are made of: how many users, how long, and which spans of time. */

const idOf = (n: number): string => sketchedPart(userIdOf('00000000-0000-4000-8000-000000000000', `user ${n}`));

describe('the number of users', () => {
  test('is exact for those of a list, and within a few standard errors of 2 % for more, however sets are put together', () => {
    // The ids are hashes, so these numbers are the same in each run.
    for (const users of [0, 1, MOST_LISTED, MOST_LISTED + 1, 700, 3_000, 20_000, 120_000]) {
      const parts = Array.from({ length: 7 }, () => new UserSketch());
      // Some users are in several parts. The last part is small.
      for (let n = 0; n < users; n += 1)
        for (const part of new Set([n % 7, n % 5])) parts[n < 50 ? 6 : part]!.add(idOf(n));
      const whole = new UserSketch();
      for (const part of parts) {
        const { list, bits } = part;
        expect(list === null).not.toBe(bits === null);
        if (list) whole.addList(list);
        if (bits) whole.addTable(bits);
      }
      const count = whole.count();
      if (users <= MOST_LISTED) expect(count).toBe(users);
      else expect(Math.abs(count - users) / users).toBeLessThan(0.06);
      const backwards = new UserSketch();
      for (const part of parts.toReversed()) {
        if (part.bits) backwards.addTable(part.bits);
        else backwards.addList(part.list!);
      }
      expect(backwards.count()).toBe(count);
    }
  });
});

test('percentiles of durations are within 1 %, however sketches are put together', () => {
  const durations = fc.array(fc.oneof(fc.nat(5), fc.nat(5_000), fc.nat(100_000_000)), { minLength: 1, maxLength: 60 });
  fc.assert(
    fc.property(durations, fc.nat(60), (all, cut) => {
      const whole = new DurationSketch();
      for (const part of [all.slice(0, cut), all.slice(cut)]) {
        const sketch = new DurationSketch();
        for (const one of part) sketch.add(one);
        whole.addEncoded(sketch.encode());
      }
      const sorted = all.toSorted((one, other) => one - other);
      for (const part of [0, 0.5, 0.95, 1]) {
        const rank = part * (sorted.length - 1);
        const low = sorted[Math.floor(rank)]!;
        const exact = (low + (sorted[Math.ceil(rank)]! - low) * (rank % 1)) / 1_000;
        expect(Math.abs(whole.percentiles([part])[0]! - exact)).toBeLessThanOrEqual(exact * 0.010_001);
      }
    }),
  );
  expect(new DurationSketch().percentiles([0.5])).toEqual([null]);
});

test('a cover has each instant of the range once, in the interval that it is in, and nothing that is missing', () => {
  const minutes = fc.integer({ min: 0, max: 5 * 24 * 60 });
  const asked = fc.record({
    bounds: fc.uniqueArray(minutes, { minLength: 1, maxLength: 8 }),
    ends: fc.uniqueArray(minutes, { minLength: 2, maxLength: 2 }),
    marked: fc.uniqueArray(fc.nat(40), { maxLength: 6 }),
    changed: fc.uniqueArray(fc.nat(5), { maxLength: 2 }),
    shortest: fc.constantFrom(QUARTER, BLOCK),
  });
  fc.assert(
    fc.property(asked, ({ bounds, ends, marked, changed, shortest }) => {
      const starts = bounds.toSorted((one, other) => one - other).map((minute) => minute * 60_000);
      const [from, to] = ends.toSorted((one, other) => one - other).map((minute) => minute * 60_000);
      const blocks = new Set(marked.map((block) => block * BLOCK * 1_000));
      const days = new Set([
        ...changed.map((day) => day * DAY * 1_000),
        ...[...blocks].map((at) => startOfSpan(at, DAY)),
      ]);
      const { pieces, rest } = coverOf(starts, { from: from!, to: to! }, { blocks, days }, shortest);
      const all = [
        ...pieces.map(({ start, seconds }) => ({ from: start, to: start + seconds * 1_000 })),
        ...rest,
      ].toSorted((one, other) => one.from - other.from);
      let at = Math.max(from!, starts[0]!);
      for (const one of all) {
        expect(one.from).toBe(at);
        at = one.to;
      }
      expect(at).toBe(Math.max(to!, Math.max(from!, starts[0]!)));
      for (const { start, seconds, place } of pieces) {
        expect(seconds).toBeGreaterThanOrEqual(shortest);
        expect(start).toBeGreaterThanOrEqual(starts[place - 1]!);
        expect(start + seconds * 1_000).toBeLessThanOrEqual(starts[place] ?? Infinity);
        expect(seconds === DAY && days.has(start)).toBe(false);
        for (const block of blocks)
          expect(start + seconds * 1_000 <= block || start >= block + BLOCK * 1_000).toBe(true);
      }
    }),
  );
});
