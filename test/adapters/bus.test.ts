import { randomUUID } from 'node:crypto';
import { expect, test } from 'vitest';
import { createMemoryBus } from '../../src/adapters/memory-bus.js';
import { createRedisBus } from '../../src/adapters/redis/redis-bus.js';
import { busContract, createEar } from '../contracts/bus.js';
import { eventually } from '../support/app.js';
import { freePort } from '../support/postgres.js';
import { startOwnRedis, redisUrl } from '../support/redis.js';

busContract('the in-process bus', async () => {
  const bus = createMemoryBus();
  return { here: bus, there: bus, close: () => bus.close() };
});

busContract('the Redis bus', async () => {
  const installation = randomUUID();
  const [here, there] = await Promise.all(
    [0, 1].map(() => createRedisBus({ url: redisUrl(), installation, observe: () => {} })),
  );
  return {
    here: here!,
    there: there!,
    async close() {
      await here!.close();
      await there!.close();
    },
  };
});

test('where Redis is lost every listener is told at once, and once the bus is whole again', async () => {
  const first = await startOwnRedis();
  const bus = await createRedisBus({ url: first.url, installation: randomUUID(), observe: () => {} });
  const ears = [createEar(), createEar()];
  await bus.subscribe('a', ears[0]!);
  await bus.subscribe('b', ears[1]!);
  await bus.publish('a', 'before');
  await eventually(() => ears[0]!.heard.length === 1);
  await first.kill();
  await eventually(() => !bus.connected);
  await eventually(() => ears.every(({ losses, gaps }) => losses === 1 && gaps === 0));
  await expect(bus.publish('a', 'lost')).rejects.toThrow();

  const second = await startOwnRedis(first.port);
  await eventually(() => ears.every(({ gaps }) => gaps === 1));
  // Its other connection, for publishing, may take a moment longer.
  await eventually(() => bus.connected);
  // What is said after the gap is heard by those who were told of it.
  await eventually(async () => {
    await bus.publish('a', 'after').catch(() => {});
    return ears[0]!.heard.includes('after');
  });
  expect(ears[0]!.heard).not.toContain('lost');
  // Of what could not be published only those are told whom it concerned.
  expect(ears[1]!.losses).toBe(1);
  await bus.close();
  await second.kill();
});

test('of several nodes one is enough, whichever is tried first, at the start and when one dies', async () => {
  const [first, second, nobody] = [await startOwnRedis(), await startOwnRedis(), await freePort()];
  const installation = randomUUID();
  const open = (url: string) => createRedisBus({ url, installation, observe: () => {} });
  try {
    // Which node a connection tries first is left to chance: so many that each comes first for some.
    for (let at = 0; at < 8; at += 1) {
      const bus = await open(`redis://127.0.0.1:${nobody},${first.url}`);
      expect(bus.connected).toBe(true);
      await bus.close();
    }
    const buses = await Promise.all(Array.from({ length: 8 }, () => open(`${first.url},${second.url}`)));
    await first.kill();
    // A publisher may notice a moment later, and fail with what it had under way.
    await eventually(async () => {
      const published = await Promise.allSettled(buses.map((bus) => bus.publish('a', 'heard')));
      return published.every(({ status }) => status === 'fulfilled') && buses.every(({ connected }) => connected);
    });
    await Promise.all(buses.map((bus) => bus.close()));
  } finally {
    await first.kill();
    await second.kill();
  }
});
