import { RateLimiterMemory, RateLimiterRedis, RateLimiterRes } from 'rate-limiter-flexible';
import type { Observer } from '../observation.js';
import { RATE_WINDOW, type RateCounter } from '../services/rate-limits.js';
import { connectForKeys } from './redis-bus.js';

/** The limiter counts; who has had enough is the service's to say. */
const COUNT = { points: Number.MAX_SAFE_INTEGER, duration: RATE_WINDOW };

/** How long Redis may take to count, and how long it is left alone where it took longer. Milliseconds. */
const PATIENCE = 250;
const LEFT_ALONE = 2_000;

const isCount = (refused: unknown): refused is RateLimiterRes => refused instanceof RateLimiterRes;

/**
 * Counts in this process, or, with a Redis, over all servers; while the Redis is away or silent each server counts
 * for itself, and no request waits for it. Never rejects.
 */
export function createRateCounter({ redisUrl, observe }: { redisUrl: string | null; observe: Observer }): RateCounter {
  const own = new RateLimiterMemory(COUNT);
  const redis = redisUrl === null ? null : connectForKeys(redisUrl);
  redis?.on('error', (error: Error) => observe({ kind: 'bus.lost', message: error.message }));
  // Connected in its own time: until then this process counts alone.
  redis?.connect().catch(() => {});
  const shared = redis && new RateLimiterRedis({ ...COUNT, storeClient: redis, keyPrefix: 'footsteps:rate' });
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
