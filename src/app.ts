import { startEmbeddedPostgres, type EmbeddedPostgres } from './adapters/embedded-postgres.js';
import { createMemoryBus } from './adapters/memory-bus.js';
import { openGeography } from './adapters/maxmind.js';
import { createDatabase, isPooled } from './adapters/postgres.js';
import { createMetrics } from './adapters/metrics.js';
import { createRateCounter } from './adapters/rate-counter.js';
import { createPostgresClock } from './adapters/postgres-clock.js';
import { createRedisBus } from './adapters/redis-bus.js';
import type { Config } from './config.js';
import { expectFreePort } from './free-port.js';
import type { Observer } from './observation.js';
import { schema } from './schema/schema.js';
import type { Services } from './schema/context.js';
import { createChangedTimeouts } from './services/changed-timeouts.js';
import { createClientSettings } from './services/client-settings.js';
import { createCloser } from './services/closer.js';
import { createEraseUser } from './services/erase-user.js';
import { createFindHeartbeatSubject } from './services/heartbeat-subject.js';
import { createIngest } from './services/ingest.js';
import { openInstallation, welcome, type Welcome } from './services/installation.js';
import { createKeys } from './services/keys.js';
import { createLive } from './services/live.js';
import { createMaintenance } from './services/maintenance.js';
import { createPresence } from './services/presence.js';
import { createProjects } from './services/projects.js';
import { createPulse } from './services/pulse.js';
import { createRateLimits } from './services/rate-limits.js';
import { createReadiness } from './services/readiness.js';
import { createUserDescriptions } from './services/user-descriptions.js';
import { migrate } from './store/migrate.js';
import { ensurePartitions } from './store/partitions.js';
import { createServer } from './transport/server.js';

/** Connections to Postgres for everything but ingest and the closer. */
const POOL_SIZE = 12;
/**
 * For ingest and the closer, whose statements are planned once: their transactions, two of each, and those that wait
 * for their turn. A plan of the closer's that the planner was free to choose read all of a million sessions for each thousand.
 */
const INGEST_POOL_SIZE = 6;

export interface App {
  /** Where it listens. */
  readonly url: string;
  /** What the first start on an embedded database made, to be shown once. */
  readonly made: Welcome;
  /** Takes nothing new, finishes and answers what is under way, ends subscriptions, stops everything in order. */
  close(reason: string): Promise<void>;
}

/** Everything with a lifetime, in the order it was started; closed the other way round. */
class Lifetimes {
  private readonly closers: (() => Promise<unknown>)[] = [];

  add<Started extends { close(): Promise<unknown> }>(started: Started): Started {
    this.closers.push(() => started.close());
    return started;
  }

  onClose(close: () => Promise<unknown>): void {
    this.closers.push(close);
  }

  async close(observe: Observer): Promise<void> {
    for (const close of this.closers.splice(0).toReversed()) {
      // One that fails must not keep the others from being stopped.
      await close().catch((error: unknown) => observe({ kind: 'task.failed', task: 'close', error }));
    }
  }
}

/** Starts the whole server. Where a step fails, what was started before is stopped again. */
export async function startApp(config: Config, log: Observer): Promise<App> {
  const lifetimes = new Lifetimes();
  try {
    // Everything that is observed, for everybody who wants it.
    const metrics = createMetrics();
    const traces = config.traces ? lifetimes.add((await import('./adapters/traces.js')).createTraces()) : null;
    const readiness = createReadiness();
    const observe: Observer = (observation) => {
      log(observation);
      metrics.observe(observation);
      traces?.observe(observation);
      readiness.observe(observation);
    };

    // Before a database is made for nothing.
    await expectFreePort(config.host, config.port);

    // Where addresses are, if somebody knows.
    const geography = config.geoipDatabase === null ? null : await openGeography(config.geoipDatabase);

    // The database, at this version.
    const embedded: EmbeddedPostgres | null =
      config.databaseUrl === null ? await startEmbeddedPostgres({ dataDir: config.dataDir, observe }) : null;
    if (embedded) lifetimes.onClose(() => embedded.stop());
    const databaseUrl = config.databaseUrl ?? embedded!.url;
    const pooled = embedded === null && (await isPooled(databaseUrl));
    const database = lifetimes.add(createDatabase({ url: databaseUrl, poolSize: POOL_SIZE, observe, pooled }));
    const ingestDatabase = lifetimes.add(
      createDatabase({
        url: databaseUrl,
        poolSize: INGEST_POOL_SIZE,
        observe,
        pooled,
        indexPlans: true,
      }),
    );
    await migrate(database, observe);
    const clock = lifetimes.add(await createPostgresClock(database, observe));
    await ensurePartitions(database, clock.now(), observe);
    const maintenance = lifetimes.add(createMaintenance({ database, clock, observe }));

    // What servers tell each other.
    const bus = lifetimes.add(
      config.redisUrl === null ? createMemoryBus() : await createRedisBus({ url: config.redisUrl, observe }),
    );

    // Who may come in.
    const secrets = await openInstallation({
      database,
      clock,
      operatorKey: config.operatorKey,
      tokenSecret: config.tokenSecret,
    });
    const keys = lifetimes.add(await createKeys({ database, bus, clock, observe, ...secrets }));

    // What they can do.
    const ingest = lifetimes.add(createIngest({ database: ingestDatabase, bus, clock, observe, geography }));
    const closer = lifetimes.add(
      createCloser({
        database: ingestDatabase,
        bus,
        clock,
        observe,
        interval: config.closerInterval,
        isBusy: () => ingest.busy,
      }),
    );
    const timeouts = lifetimes.add(
      createChangedTimeouts({
        database: ingestDatabase,
        bus,
        clock,
        observe,
        interval: config.closerInterval,
        isBusy: () => ingest.busy,
      }),
    );
    const projects = createProjects({ database, clock, timeouts });
    const presence = lifetimes.add(createPresence({ database, bus, clock, observe }));
    const live = lifetimes.add(createLive({ database, bus, observe }));
    const eraseUser = createEraseUser({ database, bus, clock, observe });
    const clientSettings = createClientSettings({ database, clock });
    const userDescriptions = lifetimes.add(createUserDescriptions({ database, clock, observe }));
    const findHeartbeatSubject = createFindHeartbeatSubject({ database });
    const services: Services = {
      database,
      clock,
      ingest,
      presence,
      live,
      keys,
      projects,
      eraseUser,
      clientSettings,
      userDescriptions,
      findHeartbeatSubject,
    };

    // What happened while no server was running, before anybody asks.
    await closer.tick();
    maintenance.start();
    closer.start();
    timeouts.start();
    presence.start();
    userDescriptions.start();

    const rateLimits = createRateLimits({
      counter: lifetimes.add(createRateCounter({ redisUrl: config.redisUrl, observe })),
      perKey: config.rateLimitPerKey,
      perAddress: config.rateLimitPerAddress,
    });
    metrics.gauge(
      'ingest_queue_events',
      'Events that wait for a batch.',
      () => ingest.room.limit - ingest.room.remaining,
    );

    // The doors.
    const server = createServer({
      schema,
      services,
      rateLimits,
      observe,
      expose: () => metrics.expose(),
      host: config.host,
      port: config.port,
      trustedProxies: config.trustedProxies,
      missing: () => readiness.missing(database, bus),
    });
    const { url } = await server.listen();
    lifetimes.onClose(() =>
      server.close(async () => {
        await presence.close();
        await live.close();
      }),
    );
    // From here on somebody can be spoken to, until the doors close.
    const pulse = lifetimes.add(createPulse({ database: ingestDatabase, observe }));
    pulse.start();
    observe({ kind: 'server.listening', url });

    // On a database of somebody's own, the operator key makes the projects.
    const made = embedded ? await welcome({ database, projects }, secrets) : { operatorKey: null, projectKey: null };
    return {
      url,
      made,
      async close(reason) {
        const start = performance.now();
        observe({ kind: 'server.draining', reason });
        await lifetimes.close(log);
        log({ kind: 'server.closed', milliseconds: performance.now() - start });
      },
    };
  } catch (error) {
    await lifetimes.close(log);
    throw error;
  }
}
