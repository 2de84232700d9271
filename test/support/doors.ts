import { createRateCounter } from '../../src/adapters/rate-counter.js';
import { createRateLimits } from '../../src/services/rate-limits.js';
import { createMemoryBus } from '../../src/adapters/memory-bus.js';
import type { Observation } from '../../src/observation.js';
import type { Services } from '../../src/schema/context.js';
import { schema } from '../../src/schema/schema.js';
import { createClientSettings } from '../../src/services/client-settings.js';
import { createEraseUser } from '../../src/services/erase-user.js';
import type { GroupCommitLimits } from '../../src/services/group-commit.js';
import { createFindHeartbeatSubject } from '../../src/services/heartbeat-subject.js';
import { createIngest } from '../../src/services/ingest.js';
import { createKeys } from '../../src/services/keys.js';
import { createLive } from '../../src/services/live.js';
import { createPresence } from '../../src/services/presence.js';
import { createProjects } from '../../src/services/projects.js';
import { createUserDescriptions } from '../../src/services/user-descriptions.js';
import { hashSecret } from '../../src/domain/secret.js';
import { createServer } from '../../src/transport/server.js';
import { OPERATOR_KEY } from './app.js';
import type { TestDatabase } from './database.js';

export interface Doors {
  readonly url: string;
  readonly services: Services;
  readonly observations: Observation[];
  close(): Promise<void>;
}

/** The doors and what is behind them, as src/app.ts wires them, with limits of the test's own. */
export async function openDoors(
  db: TestDatabase,
  {
    limits,
    ...times
  }: { limits?: GroupCommitLimits } & Pick<
    Parameters<typeof createServer>[0],
    'stuckAfter' | 'pingEvery' | 'commentEvery'
  > = {},
): Promise<Doors> {
  const observations: Observation[] = [];
  const observe = (observation: Observation) => void observations.push(observation);
  const [database, ingestDatabase] = [db.open(observe), db.open(observe)];
  const clock = { now: () => new Date() };
  const bus = createMemoryBus();
  const keys = await createKeys({
    database,
    bus,
    clock,
    observe,
    operatorKeyHash: new Uint8Array(hashSecret(OPERATOR_KEY)),
    tokenSecret: new Uint8Array(32).fill(7),
  });
  const ingest = createIngest({ database: ingestDatabase, bus, clock, observe, ...(limits && { limits }) });
  const presence = createPresence({ database, bus, clock, observe });
  const live = createLive({ database, bus, observe });
  const services: Services = {
    database,
    clock,
    ingest,
    presence,
    live,
    keys,
    projects: createProjects({ database, clock, timeouts: { reach: async () => {} } }),
    eraseUser: createEraseUser({ database, bus, clock, observe }),
    clientSettings: createClientSettings({ database, clock }),
    userDescriptions: createUserDescriptions({ database, clock, observe }),
    findHeartbeatSubject: createFindHeartbeatSubject({ database }),
  };
  const server = createServer({
    schema,
    services,
    observe,
    host: '127.0.0.1',
    port: 0,
    trustedProxies: [],
    rateLimits: createRateLimits({
      counter: createRateCounter({ redisUrl: null, observe: () => {} }),
      perKey: 0,
      perAddress: 0,
    }),
    expose: async () => ({ contentType: 'text/plain', text: '' }),
    missing: async () => [],
    ...times,
  });
  const { url } = await server.listen();
  return {
    url,
    services,
    observations,
    async close() {
      await server.close(async () => {
        await presence.close();
        await live.close();
      });
      await ingest.close();
      await keys.close();
    },
  };
}
