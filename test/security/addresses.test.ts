import { createHash } from 'node:crypto';
import { expect, test } from 'vitest';
import { createRateLimits } from '../../src/services/access/rate-limits.js';

/** What one address may ask for in a minute is its own: nobody else can use it up, or make the server remember without end. */

const ADDRESSES = 65_536;

function limitsOf(perAddress: number) {
  let now = 0;
  /** Of all servers. */
  const shared = new Map<string, number>();
  const limits = createRateLimits({
    counter: {
      async add(bucket, points) {
        const used = (shared.get(bucket) ?? 0) + points;
        shared.set(bucket, used);
        return { used, endsIn: 60_000 };
      },
      close: async () => {},
    },
    perKey: 0,
    perAddress,
    monotonic: () => now,
  });
  return {
    /** True: let in. */
    enter: async (address: string, points = 1): Promise<boolean> =>
      limits.chargeAddress(address, points).then(
        () => true,
        () => false,
      ),
    pass: (milliseconds: number) => void (now += milliseconds),
    /** Buckets that the servers have in common. */
    shared: () => shared.size,
  };
}

const addressOf = (n: number): string => `10.${n >> 16}.${(n >> 8) & 255}.${n & 255}`;

test('an address that is like another to any hash that can be worked out shuts nobody out', async () => {
  const victim = '203.0.113.7';
  const { enter } = limitsOf(100);
  // What finds it in some ten thousand tries: the same low bits of SHA-256.
  const bits = (address: string) => createHash('sha256').update(address).digest().readUInt32BE(0) % 65_536;
  let n = 0;
  while (bits(addressOf(n)) !== bits(victim)) n += 1;
  expect(await enter(addressOf(n), 101)).toBe(false);
  expect(await enter(victim)).toBe(true);
});

test('as many addresses as are counted at a time are each let in as often as it may be', async () => {
  const { enter, shared } = limitsOf(1);
  let refused = 0;
  for (let n = 0; n < ADDRESSES; n += 1) if (!(await enter(addressOf(n)))) refused += 1;
  expect(refused).toBe(0);
  // Each is known still.
  for (let n = 0; n < ADDRESSES; n += 997) expect(await enter(addressOf(n))).toBe(false);
  // Nothing of it left this process.
  expect(shared()).toBe(0);
});

test('of more addresses the longest silent is forgotten, and no other', async () => {
  const { enter } = limitsOf(1);
  const busy = '203.0.113.7';
  expect(await enter(busy)).toBe(true);
  for (let n = 0; n < 3 * ADDRESSES; n += 1) {
    await enter(addressOf(n));
    if (n % 60_000 === 0) expect(await enter(busy)).toBe(false);
  }
  expect(await enter(addressOf(0))).toBe(true);
  expect(await enter(addressOf(3 * ADDRESSES - 1))).toBe(false);
});

test('a minute after its first request an address begins anew', async () => {
  const { enter, pass } = limitsOf(10);
  expect([await enter('192.0.2.1', 10), await enter('192.0.2.1')]).toEqual([true, false]);
  pass(59_999);
  expect(await enter('192.0.2.1')).toBe(false);
  pass(1);
  expect(await enter('192.0.2.1')).toBe(true);
});
