import { isIPv6 } from 'node:net';
import { LRUCache } from 'lru-cache';
import type { Caller } from '../../domain/access.js';
import { detached } from '../../domain/well-formed.js';
import { AppError } from '../../errors.js';

/** Counts points by bucket, in windows of a minute; src/adapters/redis/rate-counter.ts implements it. */
export interface RateCounter {
  /** Adds points. Returns how many points the bucket has in its window, and the milliseconds until the window ends. */
  add(bucket: string, points: number): Promise<{ used: number; endsIn: number }>;
  close(): Promise<void>;
}

/** What remains of a limit, for the RateLimit headers. */
export interface Budget {
  readonly name: 'address' | 'key';
  /** Points a minute. */
  readonly limit: number;
  readonly remaining: number;
  /** Seconds until the full limit is available again. */
  readonly reset: number;
}

/**
 * How much one address, and one key, may ask for in a minute. All servers count a key together. Each server counts
 * addresses on its own, because the limit protects this server. So a client without a key cannot make the server ask
 * Redis, or leave data there.
 */
export interface RateLimits {
  /** Counts points for an address. Throws RATE_LIMITED. Returns null if there is no limit. */
  chargeAddress(address: string | null, points: number): Promise<Budget | null>;
  /**
   * Counts points for a key, against its project's own limit or else the server's. Throws RATE_LIMITED. Returns null if
   * there is no limit, and for the operator.
   */
  chargeKey(caller: Caller, points: number): Promise<Budget | null>;
}

/** RATE_LIMITED: a limit is used up. `budget` is what remains of it: nothing. */
export class RateLimitedError extends AppError {
  constructor(
    message: string,
    readonly budget: Budget,
  ) {
    super('RATE_LIMITED', message, { retryAfter: budget.reset });
  }
}

/** The window of a limit, in seconds, as in the header `RateLimit-Policy`. */
export const RATE_WINDOW = 60;
/** The points that a wrong key costs its address in addition to the request, to make guessing slow. */
export const WRONG_KEY = 9;
/**
 * At most this many addresses are counted at a time (about 15 MB). If there are more, the count of the address that has
 * been silent longest starts again at 0. A client with enough addresses to cause that has that many times the limit
 * anyway.
 */
const MOST_ADDRESSES = 65_536;

/** One point for each hundred of an operation's cost, at least one. */
export const pointsOf = (cost: number): number => Math.max(1, Math.ceil(cost / 100));

/** The name under which an address is counted. An IPv6 customer has at least a /64, so a /64 counts as one address. */
export function network(address: string): string {
  if (!isIPv6(address)) return address;
  const [head = '', tail] = address.split('%')[0]!.split('::');
  const groups = head === '' ? [] : head.split(':');
  const missing = tail === undefined ? 0 : 8 - groups.length - (tail === '' ? 0 : tail.split(':').length);
  return [...groups, ...Array<string>(Math.max(0, missing)).fill('0')]
    .slice(0, 4)
    .map((group) => group.replace(/^0+(?=.)/, '').toLowerCase())
    .join(':');
}

export function createRateLimits(deps: {
  counter: RateCounter;
  /** Points a minute; 0: no limit. */
  perKey: number;
  perAddress: number;
  /** A clock in milliseconds that never goes back. */
  monotonic?: () => number;
}): RateLimits {
  const { counter, perKey, perAddress, monotonic = () => performance.now() } = deps;
  const addresses = new LRUCache<string, { used: number; endsAt: number }>({ max: MOST_ADDRESSES });

  function countAddress(address: string, points: number): { used: number; endsIn: number } {
    const name = network(address);
    const now = monotonic();
    let count = addresses.get(name);
    if (!count || count.endsAt <= now) {
      count = { used: 0, endsAt: now + RATE_WINDOW * 1_000 };
      // A copy: `name` may be a part of a header text, and would keep the whole header in memory.
      addresses.set(detached(name), count);
    }
    count.used += points;
    return { used: count.used, endsIn: count.endsAt - now };
  }

  function judge(
    name: Budget['name'],
    limit: number,
    points: number,
    { used, endsIn }: { used: number; endsIn: number },
  ): Budget {
    const reset = Math.max(1, Math.ceil(endsIn / 1_000));
    if (used <= limit) return { name, limit, remaining: limit - used, reset };
    const all = limit.toLocaleString('en');
    throw new RateLimitedError(
      points > limit
        ? `This costs ${points.toLocaleString('en')} points, and this ${name} has ${all} a minute in all. Ask for less at a time.`
        : `This ${name} has used up its limit of ${all} points a minute. Try again in ${reset} s.`,
      { name, limit, remaining: 0, reset },
    );
  }

  return {
    async chargeAddress(address, points) {
      if (address === null || perAddress === 0) return null;
      return judge('address', perAddress, points, countAddress(address, points));
    },
    async chargeKey(caller, points) {
      if (caller.kind === 'operator') return null;
      const limit = caller.settings.rateLimit ?? perKey;
      return limit === 0 ? null : judge('key', limit, points, await counter.add(`k${caller.keyId}`, points));
    },
  };
}
