import { expect, inject, test } from 'vitest';
import { createMemoryBus } from '../../src/adapters/memory-bus.js';
import { createRedisBus } from '../../src/adapters/redis-bus.js';
import { busContract, createEar } from '../contracts/bus.js';
import { eventually } from '../support/app.js';
import { startOwnRedis } from '../support/redis.js';

busContract('the in-process bus', async () => {
  const bus = createMemoryBus();
  return { here: bus, there: bus, close: () => bus.close() };
});

busContract('the Redis bus', async () => {
  const [here, there] = await Promise.all(
    [0, 1].map(() => createRedisBus({ url: inject('redisUrl'), observe: () => {} })),
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
  const bus = await createRedisBus({ url: first.url, observe: () => {} });
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
