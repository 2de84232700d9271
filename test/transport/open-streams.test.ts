import { expect, test } from 'vitest';
import type { ProjectCaller } from '../../src/domain/access.js';
import { createOpenStreams } from '../../src/transport/graphql/open-streams.js';

const callerOf = (keyId: string): ProjectCaller => ({
  kind: 'project',
  reach: { projectId: 'p', userIds: null },
  identities: null,
  scopes: new Set(['READ']),
  keyId,
  expiresAt: null,
  settings: { storeIpAddress: true, bots: 'MARK', allowedOrigins: [], rateLimit: null },
  clientSettingsVersion: 0,
});

test('a revocation between the look at a key and the opening of its stream is heeded, however many came before and after', async () => {
  let revoke: (keyId: string) => void = () => {};
  const streams = createOpenStreams(
    (listener) => {
      revoke = listener;
      return () => {};
    },
    () => new Date(0),
  );
  const most = 25_000;
  let heard = 0;
  for (let at = 0; at < most; at += 1) {
    revoke(`key ${at}`);
    // Opened after the next revocation.
    if (at > 0) streams.open(callerOf(`key ${at - 1}`), () => (heard += 1));
  }
  await new Promise((resolve) => setImmediate(resolve));
  expect(heard).toBe(most - 1);
  let others = 0;
  streams.open(callerOf('another'), () => (others += 1));
  await new Promise((resolve) => setImmediate(resolve));
  expect(others).toBe(0);
  streams.close();
});
