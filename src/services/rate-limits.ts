import { createHash } from 'node:crypto';
import { isIPv6 } from 'node:net';
import type { Caller } from '../domain/access.js';
import { AppError } from '../errors.js';

/** Counts points by bucket, in windows of a minute; src/adapters/rate-counter.ts fulfils it. */
export interface RateCounter {
  /** Adds points; answers how many the bucket holds in its window, and the milliseconds until that ends. */
  add(bucket: string, points: number): Promise<{ used: number; endsIn: number }>;
  close(): Promise<void>;
}

/** What is left of a limit, for the RateLimit headers. */
export interface Budget {
  readonly name: 'address' | 'key';
  /** Points a minute. */
  readonly limit: number;
  readonly remaining: number;
  /** Seconds until it is whole again. */
  readonly reset: number;
}

/** How much one address, and one key, may ask for in a minute. */
export interface RateLimits {
  /** Throws RATE_LIMITED. Null: no limit. */
  chargeAddress(address: string | null, points: number): Promise<Budget | null>;
  /** The project's own limit, or the server's. Throws RATE_LIMITED. Null: no limit, or the operator. */
  chargeKey(caller: Caller, points: number): Promise<Budget | null>;
}

/** Seconds: the window that `RateLimit-Policy` tells. */
export const RATE_WINDOW = 60;
/** What a wrong key costs its address beside the request: guessing is to be slow. */
export const WRONG_KEY = 9;
/** Addresses share this many buckets, so that whoever has many of them cannot fill the memory. */
const ADDRESS_BUCKETS = 65_536;
const MOST_REMEMBERED = 10_000;

/** A point for each hundred of what an operation costs. */
export const pointsOf = (cost: number): number => Math.max(1, Math.ceil(cost / 100));

/** An IPv6 customer has at least a /64: that is one address here. */
function network(address: string): string {
  if (!isIPv6(address)) return address;
  const [head = '', tail] = address.split('%')[0]!.split('::');
  const groups = head === '' ? [] : head.split(':');
  const missing = tail === undefined ? 0 : 8 - groups.length - (tail === '' ? 0 : tail.split(':').length);
  return [...groups, ...Array<string>(Math.max(0, missing)).fill('0')]
    .slice(0, 4)
    .map((group) => group.replace(/^0+(?=.)/, '').toLowerCase())
    .join(':');
}

function bucketOf(address: string): string {
  const hash = createHash('sha256').update(network(address)).digest();
  return `a${hash.readUInt32BE(0) % ADDRESS_BUCKETS}`;
}

export function createRateLimits(deps: {
  counter: RateCounter;
  /** Points a minute; 0: no limit. */
  perKey: number;
  perAddress: number;
}): RateLimits {
  const { counter, perKey, perAddress } = deps;
  /** Of the addresses seen lately. */
  const buckets = new Map<string, string>();

  function bucketFor(address: string): string {
    let bucket = buckets.get(address);
    if (bucket === undefined) {
      if (buckets.size >= MOST_REMEMBERED) buckets.clear();
      buckets.set(address, (bucket = bucketOf(address)));
    }
    return bucket;
  }

  async function charge(name: Budget['name'], bucket: string, limit: number, points: number): Promise<Budget | null> {
    if (limit === 0) return null;
    const { used, endsIn } = await counter.add(bucket, points);
    const reset = Math.max(1, Math.ceil(endsIn / 1_000));
    if (used > limit) {
      throw new AppError(
        'RATE_LIMITED',
        `This ${name} has used its ${limit.toLocaleString('en')} points a minute. Try again in ${reset} s.`,
        { retryAfter: reset },
      );
    }
    return { name, limit, remaining: limit - used, reset };
  }

  return {
    chargeAddress: async (address, points) =>
      address === null ? null : charge('address', bucketFor(address), perAddress, points),
    chargeKey: async (caller, points) =>
      caller.kind === 'operator'
        ? null
        : charge('key', `k${caller.keyId}`, caller.settings.rateLimit ?? perKey, points),
  };
}
