import { startEmbeddedPostgres, type EmbeddedPostgres } from './adapters/postgres/embedded-postgres.js';
import { createMemoryBus } from './adapters/memory-bus.js';
import { openGeography } from './adapters/maxmind.js';
import { createDatabase, createPrismaDatabase, isPooled } from './adapters/postgres/postgres.js';
import { createMetrics } from './adapters/metrics.js';
import { createRateCounter } from './adapters/redis/rate-counter.js';
import { createPostgresClock } from './adapters/postgres/postgres-clock.js';
import { createRedisBus } from './adapters/redis/redis-bus.js';
import type { Config } from './config.js';
import { expectFreePort } from './free-port.js';
import type { Observer } from './observation.js';
import { schema } from './schema/schema.js';
import type { Services } from './schema/context.js';
import { createChangedTimeouts } from './services/ingest/changed-timeouts.js';
import { createClientSettings } from './services/projects/client-settings.js';
import { createCloser } from './services/ingest/closer.js';
import { createEraseUser } from './services/projects/erase-user.js';
import { createFindHeartbeatSubject } from './services/ingest/heartbeat-subject.js';
import { createIngest } from './services/ingest/ingest.js';
import { openInstallation, welcome, type Welcome } from './services/projects/installation.js';
import { createKeys } from './services/access/keys.js';
import { createFeed } from './services/feed/watch-feed.js';
import { createLive } from './services/live/watch-live.js';
import { createMaintenance } from './services/upkeep/maintenance.js';
import { createSums } from './services/upkeep/sums.js';
import { createDeviceStates } from './services/presence/device-states.js';
import { createReadDevices } from './services/presence/joined-devices.js';
import { createSetPresence } from './services/presence/set-presence.js';
import { createPresence } from './services/presence/watch-presence.js';
import { createProjects } from './services/projects/projects.js';
import { createMinuteSettler } from './services/presence/minute-settler.js';
import { createPulse } from './services/pulse.js';
import { createRateLimits } from './services/access/rate-limits.js';
import { createReaders } from './services/access/reading-turns.js';
import { createDeliver } from './services/webhooks/deliver.js';
import { createOwnNews } from './services/webhooks/own-news.js';
import { createRunWebhook } from './services/webhooks/run.js';
import { createSecretBox } from './services/webhooks/sign.js';
import { createWebhooks } from './services/webhooks/webhooks.js';
import { createStoredQueries } from './transport/graphql/stored-queries.js';
import { createOutbound } from './adapters/outbound.js';
import { createReadiness } from './services/upkeep/readiness.js';
import { createUserDescriptions } from './services/ingest/user-descriptions.js';
import type { Database } from './store/database.js';
import { migrate } from './store/upkeep/migrate.js';
import { createNaming } from './store/database-name.js';
import { dropForeignChanges } from './store/feed/foreign-changes.js';
import { ensurePartitions } from './store/partitions.js';
import { createPlaces } from './transport/http/places.js';
import { createServer } from './transport/server.js';

/** Connections to Postgres for the reads and changes of callers. */
const POOL_SIZE = 12;
/**
 * Connections for the look-ups of keys, one statement at a time, and for health. So heavy reads do not delay
 * authentication.
 */
const DOOR_POOL_SIZE = 2;
/** Connections for snapshots of presence. Each project has at most two under way. */
const SNAPSHOT_POOL_SIZE = 3;
/**
 * Connections for ingest and the closer: two transactions of each, and those that wait for their turn. These connections keep
 * to index plans. With a free choice, Postgres planned a closer's statement that read all of a million sessions for each
 * thousand.
 */
const INGEST_POOL_SIZE = 6;

/** Connections for the feed of changes: the look, the rooms of the projects, and what subscribers that come back have missed. */
const FEED_POOL_SIZE = 4;
/** Connections for the sums of sessions and events: the lock, and the work. So a day of sums takes none from callers. */
const SUMS_POOL_SIZE = 2;

export interface App {
  /** The URL at which the server listens. */
  readonly url: string;
  /** The keys that the first start on an embedded database made. They are shown only once. */
  readonly made: Welcome;
  /** Accepts nothing new, answers the requests under way, ends subscriptions and stops all parts in order. */
  close(reason: string): Promise<void>;
}

/** The started parts of the server. They are closed in the reverse order of their start. */
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
      // A failure must not prevent the close of the other parts.
      await close().catch((error: unknown) => observe({ kind: 'task.failed', task: 'close', error }));
    }
  }
}

/** Starts the whole server. If a step fails, it stops the parts that it has started, and rejects with the error. */
export async function startApp(config: Config, log: Observer): Promise<App> {
  const lifetimes = new Lifetimes();
  try {
    // Observations: each goes to the log, the metrics, the traces and the readiness check.
    const metrics = createMetrics();
    const traces = config.traces ? lifetimes.add((await import('./adapters/traces.js')).createTraces()) : null;
    const readiness = createReadiness();
    const observe: Observer = (observation) => {
      log(observation);
      metrics.observe(observation);
      traces?.observe(observation);
      readiness.observe(observation);
    };

    // This check comes first: if the port is taken, the start makes no database.
    await expectFreePort(config.host, config.port);

    // The database of the places of IP addresses, if one is configured.
    const geography = config.geoipDatabase === null ? null : await openGeography(config.geoipDatabase);

    // Postgres, with all migrations.
    const embedded: EmbeddedPostgres | null =
      config.databaseUrl === null ? await startEmbeddedPostgres({ dataDir: config.dataDir, observe }) : null;
    if (embedded) lifetimes.onClose(() => embedded.stop());
    const databaseUrl = config.databaseUrl ?? embedded!.url;
    const pooled = embedded === null && (await isPooled(databaseUrl));
    const connection = { url: databaseUrl, observe, pooled };
    const open = (poolSize: number, indexPlans = false): Database =>
      lifetimes.add(createDatabase({ ...connection, poolSize, indexPlans }));
    const database = lifetimes.add(createPrismaDatabase({ ...connection, poolSize: POOL_SIZE }));
    const doorDatabase = open(DOOR_POOL_SIZE);
    const snapshotDatabase = open(SNAPSHOT_POOL_SIZE);
    const ingestDatabase = open(INGEST_POOL_SIZE, true);
    const feedDatabase = open(FEED_POOL_SIZE, true);
    const sumsDatabase = open(SUMS_POOL_SIZE, true);
    const naming = createNaming(database);
    await migrate(database, observe);
    const clock = lifetimes.add(await createPostgresClock(doorDatabase, observe));
    await ensurePartitions(database, clock.now(), observe);
    const maintenance = lifetimes.add(createMaintenance({ database, clock, observe }));

    // The name and the secrets of the installation. They are the same for all its servers.
    const { name: installation, ...secrets } = await openInstallation({
      database,
      clock,
      operatorKey: config.operatorKey,
      tokenSecret: config.tokenSecret,
    });
    await dropForeignChanges(database, naming);
    const redis = config.redisUrl === null ? null : { url: config.redisUrl, installation };

    // The bus between servers.
    const ownNews = createOwnNews(
      lifetimes.add(redis === null ? createMemoryBus() : await createRedisBus({ ...redis, observe })),
    );
    const { bus } = ownNews;

    // Authentication.
    const keys = lifetimes.add(await createKeys({ database, doorDatabase, bus, clock, observe, ...secrets }));

    // The services.
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
    const deviceStates = lifetimes.add(createDeviceStates({ database: snapshotDatabase, bus, clock, observe }));
    const presence = lifetimes.add(createPresence({ database: snapshotDatabase, bus, clock, observe, deviceStates }));
    const minutes = lifetimes.add(createMinuteSettler({ database, clock, observe }));
    const sums = lifetimes.add(createSums({ database: sumsDatabase, clock, observe, isBusy: () => ingest.busy }));
    const live = lifetimes.add(createLive({ database, bus, observe }));
    const feed = lifetimes.add(createFeed({ database: feedDatabase, naming, bus, clock, observe }));
    const eraseUser = createEraseUser({ database, naming, bus, clock, observe });
    const clientSettings = createClientSettings({ database, clock });
    const userDescriptions = lifetimes.add(createUserDescriptions({ database, clock, observe }));
    const findHeartbeatSubject = createFindHeartbeatSubject({ database });
    const rateLimits = createRateLimits({
      counter: lifetimes.add(createRateCounter({ redis, observe })),
      perKey: config.rateLimitPerKey,
      perAddress: config.rateLimitPerAddress,
    });

    // Webhooks. Their queries are executed as those of callers are, in the same turns and under the same limits.
    const readers = createReaders(database);
    const queries = createStoredQueries({
      schema,
      services: () => services,
      feed: feed.reader,
      readers,
      rateLimits,
      observe,
    });
    const outbound = createOutbound({ reach: config.webhooksTo });
    const delivery = { database, clock, observe, queries, outbound, secrets: createSecretBox(secrets.tokenSecret) };
    const deliver = lifetimes.add(createDeliver({ database, clock, observe, run: createRunWebhook(delivery) }));
    ownNews.listen((projectId) => deliver.changed(projectId));
    const webhooks = createWebhooks({ ...delivery, feed: feed.reader, deliver });

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
      projects,
      eraseUser,
      clientSettings,
      userDescriptions,
      findHeartbeatSubject,
      webhooks,
    };

    // Closes the sessions that became due while no server ran, before the first request.
    await closer.tick();
    maintenance.start();
    closer.start();
    timeouts.start();
    keys.start();
    presence.start();
    minutes.start();
    sums.start();
    feed.start();
    deviceStates.start();
    userDescriptions.start();
    deliver.start();

    metrics.gauge(
      'feed_lag_seconds',
      'The age of the oldest change that subscribers of this server wait for.',
      () => feed.lag,
    );
    metrics.gauge(
      'ingest_queue_events',
      'Events that wait for a batch.',
      () => ingest.room.limit - ingest.room.remaining,
    );

    // The transport.
    const server = createServer({
      schema,
      services,
      rateLimits,
      readers,
      observe,
      expose: () => metrics.expose(),
      host: config.host,
      port: config.port,
      trustedProxies: config.trustedProxies,
      graphiql: config.graphiql,
      places: createPlaces({ perKey: config.socketsPerKey, perAddress: config.socketsPerAddress }),
      missing: () => readiness.missing(doorDatabase, bus),
    });
    const { url } = await server.listen();
    // The pulse runs only while clients can reach the server: from here on until it has closed. (If it ended before, an outage would be
    // noted while the requests under way are answered.)
    const pulse = lifetimes.add(createPulse({ database: ingestDatabase, observe }));
    lifetimes.onClose(() =>
      server.close(async () => {
        await presence.close();
        await live.close();
        await feed.close();
      }),
    );
    pulse.start();
    observe({ kind: 'server.listening', url });

    // On an embedded database the first start makes a project. On any other, the operator makes projects with the operator key.
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
