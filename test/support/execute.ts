import { graphql, type ExecutionResult } from 'graphql';
import type { ProjectCaller } from '../../src/domain/access.js';
import { createMemoryBus } from '../../src/adapters/memory-bus.js';
import type { Context, Services } from '../../src/schema/context.js';
import { schema } from '../../src/schema/schema.js';
import { createChangedTimeouts } from '../../src/services/ingest/changed-timeouts.js';
import { createClientSettings } from '../../src/services/projects/client-settings.js';
import { createEraseUser } from '../../src/services/projects/erase-user.js';
import { createFindHeartbeatSubject } from '../../src/services/ingest/heartbeat-subject.js';
import { createReaders } from '../../src/services/access/reading-turns.js';
import { createKeys } from '../../src/services/access/keys.js';
import { createFeed } from '../../src/services/feed/watch-feed.js';
import { createNaming } from '../../src/store/database-name.js';
import { createLive } from '../../src/services/live/watch-live.js';
import { createDeviceStates } from '../../src/services/presence/device-states.js';
import { createReadDevices } from '../../src/services/presence/joined-devices.js';
import { createSetPresence } from '../../src/services/presence/set-presence.js';
import { createPresence } from '../../src/services/presence/watch-presence.js';
import { createProjects } from '../../src/services/projects/projects.js';
import type { Bus } from '../../src/services/bus.js';
import { createUserDescriptions } from '../../src/services/ingest/user-descriptions.js';
import { SENDER, type Stage } from './stage.js';
import { createTestWebhooks } from './webhooks.js';

export type Run = (
  source: string,
  variables?: Record<string, unknown>,
  caller?: Partial<ProjectCaller>,
) => Promise<ExecutionResult>;

export interface Executor {
  services: Services;
  run: Run;
  data: (...args: Parameters<Run>) => Promise<any>;
  code: (...args: Parameters<Run>) => Promise<unknown>;
}

/** Runs operations on a stage's project with the real schema and services, but without a door. They publish on `bus`. */
export async function createExecutor(stage: Stage, bus: Bus = createMemoryBus()): Promise<Executor> {
  const clock = { now: () => stage.now() };
  const observe = () => {};
  const { database } = stage;
  const keys = await createKeys({
    doorDatabase: database,
    database,
    bus,
    clock,
    observe,
    operatorKeyHash: new Uint8Array(32),
    tokenSecret: new Uint8Array(32),
  });
  const deviceStates = createDeviceStates({ database, bus, clock, observe });
  const services: Services = {
    database,
    clock,
    ingest: stage.ingest,
    presence: createPresence({ database, bus, clock, observe, deviceStates }),
    deviceStates,
    readDevices: createReadDevices(),
    setPresence: createSetPresence(deviceStates),
    live: createLive({ database, bus, observe }),
    feed: createFeed({ database, naming: createNaming(database), bus, clock, observe }),
    keys,
    projects: createProjects({
      database,
      clock,
      timeouts: createChangedTimeouts({ database, bus, clock, observe, interval: 60_000 }),
    }),
    eraseUser: createEraseUser({ database, bus, clock, observe }),
    clientSettings: createClientSettings({ database, clock }),
    userDescriptions: createUserDescriptions({ database, clock, observe }),
    findHeartbeatSubject: createFindHeartbeatSubject({ database }),
    webhooks: createTestWebhooks({ database, clock, services: () => services }).webhooks,
  };
  const readers = createReaders(database);
  const run: Run = (source, variableValues, caller) => {
    const whole = { ...stage.caller, ...caller };
    const contextValue: Context = {
      caller: whole,
      sender: SENDER,
      services: { ...services, database: readers(whole) },
      requestId: 'test',
      charge: async () => {},
    };
    return graphql({ schema, source, contextValue, ...(variableValues ? { variableValues } : {}) });
  };
  return {
    services,
    run,
    async data(...args) {
      const { data, errors } = await run(...args);
      if (errors) throw errors[0];
      return data;
    },
    async code(...args) {
      const { errors } = await run(...args);
      const original = errors?.[0]?.originalError as { code?: string } | undefined;
      return original?.code ?? errors?.[0]?.message;
    },
  };
}
