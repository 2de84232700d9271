import { RateLimiterMemory, RateLimiterRedis, type RateLimiterRes } from 'rate-limiter-flexible';
import type { Observer } from '../observation.js';
import { RATE_WINDOW, type RateCounter } from '../services/rate-limits.js';
import { connectTo } from './redis-bus.js';

/** The limiter counts; who has had enough is the service's to say. */
const COUNT = { points: Number.MAX_SAFE_INTEGER, duration: RATE_WINDOW };

/**
 * Counts in this process, or, with a Redis, over all servers; while the Redis is away each server counts for
 * itself. Never rejects.
 */
export function createRateCounter({ redisUrl, observe }: { redisUrl: string | null; observe: Observer }): RateCounter {
  const own = new RateLimiterMemory(COUNT);
  const redis = redisUrl === null ? null : connectTo(redisUrl);
  redis?.on('error', (error: Error) => observe({ kind: 'bus.lost', message: error.message }));
  // Connected in its own time: until then this process counts alone.
  redis?.connect().catch(() => {});
  const limiter = redis
    ? new RateLimiterRedis({ ...COUNT, storeClient: redis, keyPrefix: 'footsteps:rate', insuranceLimiter: own })
    : own;
  return {
    async add(bucket, points) {
      const { consumedPoints, msBeforeNext } = await limiter
        .consume(bucket, points)
        .catch((refused: RateLimiterRes) => refused);
      return { used: consumedPoints, endsIn: msBeforeNext };
    },
    async close() {
      redis?.disconnect();
    },
  };
}
