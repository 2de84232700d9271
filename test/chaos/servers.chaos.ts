import { expect, test } from 'vitest';
import { createDatabase } from '../../src/adapters/postgres/postgres.js';
import { CreateProjectDocument } from '../generated/graphql.js';
import { eventually, OPERATOR_KEY, request } from '../support/app.js';
import { startBalancer } from '../support/balancer.js';
import { attempt, compareWithStored, newToll, pause, startLoad } from '../support/chaos-load.js';
import { record } from '../support/ledger.js';
import { freePort, startOwnPostgres } from '../support/postgres.js';
import { viewPresence, type PresenceView } from '../support/presence-view.js';
import { chooseSeed, diceOf } from '../support/random.js';
import { startOwnRedis } from '../support/redis.js';
import { onlineIdentities, projectIdOf, sessionsThatMiscount, sessionsThatOverlap } from '../support/rules.js';
import { startServer } from '../support/server.js';

const BEAT = 'mutation ($input: HeartbeatInput!) { recordHeartbeat(input: $input) { acknowledged } }';
/** Seconds. */
const PRESENCE_TIMEOUT = 2;

test('three servers: starts, closers and ingests race, and every server tells the same; a rolling restart cuts nothing', async () => {
  const name = 'servers';
  const dice = diceOf(chooseSeed(name));
  const [postgres, redis] = await Promise.all([startOwnPostgres(), startOwnRedis()]);
  const ports = [await freePort(), await freePort(), await freePort()];
  const envs = ports.map((port) => ({
    PORT: String(port),
    DATABASE_URL: postgres.url,
    REDIS_URL: redis.url,
    OPERATOR_KEY,
    CLOSER_INTERVAL: '20ms',
    LOG_LEVEL: 'warn',
  }));
  // All start at once on an empty database: one makes the tables, the others wait for it.
  const servers = await Promise.all(envs.map((env) => startServer(env)));
  const database = createDatabase({ url: postgres.url, poolSize: 2, observe: () => {} });
  const balancer = await startBalancer(ports);
  const views: PresenceView[] = [];
  try {
    const migrations = await database.query<{ count: number }>({
      name: 'test.migrations',
      text: `SELECT count(*)::integer AS count FROM _prisma_migrations
             GROUP BY migration_name HAVING count(*) > 1 OR bool_or(finished_at IS NULL)`,
    });
    expect(migrations).toEqual([]);
    const { createProject } = await request(balancer.url, OPERATOR_KEY, CreateProjectDocument, {
      name,
      settings: { presenceTimeout: PRESENCE_TIMEOUT, inactivityTimeout: 10 },
    });
    const { key } = createProject;
    const projectId = projectIdOf(createProject.project.id);

    // Several servers get heartbeats of the same users at once, and three closers let them lapse.
    for (const { url } of servers) for (let at = 0; at < 2; at += 1) views.push(viewPresence(() => url, key));
    await eventually(() => views.every(({ figures }) => figures.snapshots === 1));
    const toll = newToll();
    await Promise.all(
      Array.from({ length: 60 }, async (_, at) => {
        for (let visit = 0; visit < 3; visit += 1) {
          const input = { identity: `person ${at}` };
          await Promise.all(servers.map(({ url }) => attempt(toll, url, key, BEAT, { input })));
          await pause(PRESENCE_TIMEOUT * 1000 + dice.below(600) - 200);
        }
      }),
    );
    await eventually(async () => (await onlineIdentities(database, projectId)).length === 0);
    await eventually(() => views.every(({ online }) => online.size === 0));
    const told = views.map(({ edges }) => {
      const byPerson = new Map<string, string[]>();
      for (const { identity, status, since } of edges)
        byPerson.set(identity, [...(byPerson.get(identity) ?? []), `${status} ${since}`]);
      return byPerson;
    });
    let falseEdges = 0;
    for (const statuses of told[0]!.values())
      statuses.forEach((status, at) => {
        if (!status.startsWith(at % 2 ? 'OFFLINE' : 'ONLINE')) falseEdges += 1;
      });
    record(
      `${name}: edges checked`,
      views.reduce((sum, { edges }) => sum + edges.length, 0),
    );
    record(`${name}: false edges`, falseEdges);
    expect(falseEdges).toBe(0);
    expect(told[0]!.size).toBe(60);
    for (const one of told) expect(one).toEqual(told[0]);
    expect(toll).toMatchObject({ cut: 0, hung: 0, causes: new Set(), unavailable: 0, unexpected: new Set() });
    await Promise.all(views.splice(0).map((view) => view.stop()));

    // The servers are stopped and started again one after the other, twice, under load.
    for (let at = 0; at < 4; at += 1) views.push(viewPresence(() => balancer.url, key));
    const load = startLoad({ url: () => balancer.url, key, dice, clients: 5 });
    let restarts = 0;
    let slowestStop = 0;
    for (let round = 0; round < 2; round += 1)
      for (const [at, env] of envs.entries()) {
        const before = load.toll.answered;
        await eventually(() => load.toll.answered > before + 30, 30_000);
        const asked = performance.now();
        expect(await servers[at]!.stop()).toBe(0);
        slowestStop = Math.max(slowestStop, Math.round(performance.now() - asked));
        servers[at] = await startServer(env);
        restarts += 1;
      }
    await load.stop();
    const { events, lost, twice, unknown } = await compareWithStored(database, projectId, load);
    record(`${name}: restarts`, restarts);
    record(`${name}: slowest stop, ms`, slowestStop);
    expect(slowestStop).toBeLessThan(10_000);
    record(`${name}: requests sent`, load.toll.sent);
    record(`${name}: connections that were refused, and went to another server`, balancer.refusals());
    record(`${name}: requests cut`, load.toll.cut);
    record(`${name}: requests answered UNAVAILABLE`, load.toll.unavailable);
    record(`${name}: acknowledged events`, load.stored.size);
    record(`${name}: stored events`, events);
    record(`${name}: lost events`, lost.length);
    record(`${name}: events stored twice`, twice.length);
    expect({ lost, twice, unknown }).toEqual({ lost: [], twice: [], unknown: [] });
    expect(load.contradictions).toEqual([]);
    expect(load.toll).toMatchObject({ cut: 0, hung: 0, causes: new Set(), unavailable: 0, unexpected: new Set() });
    await eventually(
      async () => {
        const truth = JSON.stringify(await onlineIdentities(database, projectId));
        return views.every(({ online }) => JSON.stringify([...online].sort()) === truth);
      },
      (PRESENCE_TIMEOUT + 2) * 1000,
    );
    expect(views.flatMap(({ fatal }) => fatal)).toEqual([]);
    expect(await sessionsThatMiscount(database, projectId)).toEqual([]);
    expect(await sessionsThatOverlap(database, projectId)).toEqual([]);
  } finally {
    await Promise.all(views.map((view) => view.stop()));
    await Promise.all(servers.map((server) => server.stop()));
    await balancer.close();
    await database.close();
    await redis.kill();
    await postgres.stop();
  }
});
