import { graphql, type ExecutionResult } from 'graphql';
import type { ProjectCaller } from '../../src/domain/access.js';
import { createMemoryBus } from '../../src/adapters/memory-bus.js';
import type { Context } from '../../src/schema/context.js';
import { schema } from '../../src/schema/schema.js';
import { createChangedTimeouts } from '../../src/services/changed-timeouts.js';
import { createClientSettings } from '../../src/services/client-settings.js';
import { createEraseUser } from '../../src/services/erase-user.js';
import { createFindHeartbeatSubject } from '../../src/services/heartbeat-subject.js';
import { createKeys } from '../../src/services/keys.js';
import { createLive } from '../../src/services/live.js';
import { createPresence } from '../../src/services/presence.js';
import { createProjects } from '../../src/services/projects.js';
import { createUserDescriptions } from '../../src/services/user-descriptions.js';
import { SENDER, type Stage } from './stage.js';

export type Run = (
  source: string,
  variables?: Record<string, unknown>,
  caller?: Partial<ProjectCaller>,
) => Promise<ExecutionResult>;

/** Runs operations against a stage's project, through the real schema and services, without a door. */
export async function createExecutor(stage: Stage): Promise<{
  run: Run;
  data: (...args: Parameters<Run>) => Promise<any>;
  code: (...args: Parameters<Run>) => Promise<unknown>;
}> {
  const clock = { now: () => stage.now() };
  const observe = () => {};
  const bus = createMemoryBus();
  const { database } = stage;
  const keys = await createKeys({
    database,
    bus,
    clock,
    observe,
    operatorKeyHash: new Uint8Array(32),
    tokenSecret: new Uint8Array(32),
  });
  const services = {
    database,
    clock,
    ingest: stage.ingest,
    presence: createPresence({ database, bus, clock, observe }),
    live: createLive({ database, bus, observe }),
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
  };
  const run: Run = (source, variableValues, caller) => {
    const contextValue: Context = {
      caller: { ...stage.caller, ...caller },
      sender: SENDER,
      services,
      requestId: 'test',
    };
    return graphql({ schema, source, contextValue, ...(variableValues ? { variableValues } : {}) });
  };
  return {
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
