import { expect, test } from 'vitest';
import { DEFAULT_SETTINGS } from '../../src/domain/project.js';
import { createAdmitEvents } from '../../src/services/ingest/admit-events.js';

test('while the events of a request are described, other work gets its turns', async () => {
  const door = createAdmitEvents({ clock: { now: () => new Date() }, geography: null });
  const caller = {
    kind: 'project' as const,
    reach: { projectId: '00000000-0000-4000-8000-000000000001', userIds: null },
    identities: null,
    scopes: new Set<never>(),
    keyId: '00000000-0000-4000-8000-000000000002',
    expiresAt: null,
    settings: DEFAULT_SETTINGS,
    clientSettingsVersion: 1,
  };
  // Each has a user agent that nobody has sent before, as long as one may be.
  const events = Array.from({ length: 1_000 }, (_, at) => ({
    type: 'log',
    data: { '@request': { user_agent: `Mozilla/5.0 (${'; / '.repeat(240)}${at}` } },
  }));
  let turns = 0;
  let isOver = false;
  const other = (): void => {
    turns += 1;
    if (!isOver) setImmediate(other);
  };
  setImmediate(other);
  const admitted = await door.admit(caller, events, { ipAddress: null, userAgent: null }, null);
  isOver = true;
  expect(admitted).toHaveLength(1_000);
  expect(turns).toBeGreaterThan(2);
});
