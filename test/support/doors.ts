import { createRateCounter } from '../../src/adapters/redis/rate-counter.js';
import { createRateLimits } from '../../src/services/access/rate-limits.js';
import { createMemoryBus } from '../../src/adapters/memory-bus.js';
import type { Observation } from '../../src/observation.js';
import type { Services } from '../../src/schema/context.js';
import { schema } from '../../src/schema/schema.js';
import { createClientSettings } from '../../src/services/projects/client-settings.js';
import { createEraseUser } from '../../src/services/projects/erase-user.js';
import type { GroupCommitLimits } from '../../src/services/ingest/group-commit.js';
import { createFindHeartbeatSubject } from '../../src/services/ingest/heartbeat-subject.js';
import { createIngest } from '../../src/services/ingest/ingest.js';
import { createKeys } from '../../src/services/access/keys.js';
import { createFeed } from '../../src/services/feed/watch-feed.js';
import { createNaming } from '../../src/store/database-name.js';
import { createLive } from '../../src/services/live/watch-live.js';
import { createDeviceStates } from '../../src/services/presence/device-states.js';
import { createReadDevices } from '../../src/services/presence/joined-devices.js';
import { createSetPresence } from '../../src/services/presence/set-presence.js';
import { createPresence } from '../../src/services/presence/watch-presence.js';
import { createProjects } from '../../src/services/projects/projects.js';
import { createUserDescriptions } from '../../src/services/ingest/user-descriptions.js';
import { hashSecret } from '../../src/domain/secret.js';
import { createPlaces } from '../../src/transport/http/places.js';
import { createServer } from '../../src/transport/server.js';
import { OPERATOR_KEY } from './app.js';
import type { TestDatabase } from './database.js';
import { createTestWebhooks } from './webhooks.js';

export interface Doors {
  readonly url: string;
  readonly services: Services;
  readonly observations: Observation[];
  close(): Promise<void>;
}

/** The doors and the services behind them, connected as in src/app.ts, with limits that the test sets. */
export async function openDoors(
  db: TestDatabase,
  {
    limits,
    ...times
  }: { limits?: GroupCommitLimits } & Pick<
    Parameters<typeof createServer>[0],
    'stuckAfter' | 'pingEvery' | 'commentEvery' | 'reservedFor'
  > = {},
): Promise<Doors> {
  const observations: Observation[] = [];
  const observe = (observation: Observation) => void observations.push(observation);
  const [database, ingestDatabase] = [db.open(observe), db.open(observe)];
  const clock = { now: () => new Date() };
  const bus = createMemoryBus();
  const keys = await createKeys({
    doorDatabase: database,
    database,
    bus,
    clock,
    observe,
    operatorKeyHash: new Uint8Array(hashSecret(OPERATOR_KEY)),
    tokenSecret: new Uint8Array(32).fill(7),
  });
  const ingest = createIngest({ database: ingestDatabase, bus, clock, observe, ...(limits && { limits }) });
  const deviceStates = createDeviceStates({ database, bus, clock, observe });
  const presence = createPresence({ database, bus, clock, observe, deviceStates });
  const live = createLive({ database, bus, observe });
  const feed = createFeed({ database, naming: createNaming(database), bus, clock, observe });
  feed.start();
  const services: Services = {
    database,
    clock,
    ingest,
    presence,
    deviceStates,
    readDevices: createReadDevices(),
    setPresence: createSetPresence(deviceStates),
    live,
    feed,
    keys,
    projects: createProjects({ database, clock, timeouts: { reach: async () => {} } }),
    eraseUser: createEraseUser({ database, bus, clock, observe }),
    clientSettings: createClientSettings({ database, clock }),
    userDescriptions: createUserDescriptions({ database, clock, observe }),
    findHeartbeatSubject: createFindHeartbeatSubject({ database }),
    webhooks: createTestWebhooks({ database, clock, services: () => services }).webhooks,
  };
  const server = createServer({
    schema,
    services,
    observe,
    host: '127.0.0.1',
    port: 0,
    trustedProxies: [],
    graphiql: true,
    places: createPlaces({ perKey: 0, perAddress: 0 }),
    rateLimits: createRateLimits({
      counter: createRateCounter({ redis: null, observe: () => {} }),
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
        await feed.close();
      });
      await deviceStates.close();
      await ingest.close();
      await keys.close();
    },
  };
}
