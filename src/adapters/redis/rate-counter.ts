import { RateLimiterMemory, RateLimiterRedis, RateLimiterRes } from 'rate-limiter-flexible';
import type { Observer } from '../../observation.js';
import { RATE_WINDOW, type RateCounter } from '../../services/access/rate-limits.js';
import { connectForKeys, prefixOf } from './connections.js';

/** The library only counts. The service decides who is over the limit. */
const COUNT = { points: Number.MAX_SAFE_INTEGER, duration: RATE_WINDOW };

/** How long Redis may take to count. If it takes longer, Redis is not asked again for LEFT_ALONE. Milliseconds. */
const PATIENCE = 250;
const LEFT_ALONE = 2_000;

const isCount = (refused: unknown): refused is RateLimiterRes => refused instanceof RateLimiterRes;

/**
 * Counts in this process, or, with a Redis, across all servers. While Redis is down or silent, each server counts by
 * itself; a request waits at most 250 ms for Redis. Never rejects.
 */
export function createRateCounter(deps: {
  /** Null: this process counts by itself. `installation`: its UUID, which is part of the key prefix in Redis. */
  redis: { url: string; installation: string } | null;
  observe: Observer;
}): RateCounter {
  const { observe } = deps;
  const own = new RateLimiterMemory(COUNT);
  const redis = deps.redis && connectForKeys(deps.redis.url);
  redis?.on('error', (error: Error) => observe({ kind: 'bus.lost', message: error.message }));
  // Until the connection is open, this process counts by itself.
  redis?.connect().catch(() => {});
  const shared =
    redis &&
    new RateLimiterRedis({ ...COUNT, storeClient: redis, keyPrefix: `${prefixOf(deps.redis!.installation)}rate` });
  let aloneUntil = 0;

  const countAlone = (bucket: string, points: number): Promise<RateLimiterRes> =>
    own.consume(bucket, points).catch((refused: RateLimiterRes) => refused);

  async function count(bucket: string, points: number): Promise<RateLimiterRes> {
    if (!shared || redis.status !== 'ready' || performance.now() < aloneUntil) return countAlone(bucket, points);
    const counted = shared.consume(bucket, points).catch((refused: unknown) => (isCount(refused) ? refused : null));
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise<null>((resolve) => {
      timer = setTimeout(() => resolve(null), PATIENCE);
    });
    const result = await Promise.race([counted, late]);
    clearTimeout(timer);
    if (result) return result;
    aloneUntil = performance.now() + LEFT_ALONE;
    return countAlone(bucket, points);
  }

  return {
    async add(bucket, points) {
      const { consumedPoints, msBeforeNext } = await count(bucket, points);
      return { used: consumedPoints, endsIn: msBeforeNext };
    },
    async close() {
      redis?.disconnect();
    },
  };
}
