import { expect, test } from 'vitest';
import type { CheckedEvent } from '../../src/domain/check-event.js';
import { createDescribeClient } from '../../src/services/ingest/describe-client.js';

test('of the versions that a connection names it remembers a few', () => {
  const describe = createDescribeClient(null);
  const sender = { ipAddress: '10.0.0.1', userAgent: null };
  const say = (version: string) => describe({ type: 'log', data: null, version, sender } as unknown as CheckedEvent);
  const first = say('1');
  expect(say('1')).toBe(first);
  for (let version = 2; version < 100; version += 1) say(String(version));
  expect(say('1')).toEqual(first);
  expect(say('1')).not.toBe(first);
});
