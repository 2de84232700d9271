import { randomUUID } from 'node:crypto';
import { expect, test } from 'vitest';
import { createDatabase } from '../../src/adapters/postgres/postgres.js';
import { createRedisBus } from '../../src/adapters/redis/redis-bus.js';
import { busContract, createEar } from '../contracts/bus.js';
import { CreateProjectDocument } from '../generated/graphql.js';
import { eventually, OPERATOR_KEY, request } from '../support/app.js';
import { attempt, newToll, pause } from '../support/chaos-load.js';
import { record } from '../support/ledger.js';
import { startOwnPostgres } from '../support/postgres.js';
import { falseOfflines, viewPresence, type Beat } from '../support/presence-view.js';
import { chooseSeed, diceOf } from '../support/random.js';
import { startOwnRedisCluster } from '../support/redis.js';
import { onlineIdentities, projectIdOf } from '../support/rules.js';
import { startServer } from '../support/server.js';

const BEAT = 'mutation ($input: HeartbeatInput!) { recordHeartbeat(input: $input) { acknowledged } }';
/** Seconds. */
const PRESENCE_TIMEOUT = 2;

busContract('the bus on a Redis Cluster', async () => {
  const cluster = await startOwnRedisCluster();
  // Different nodes: a message that is published on one node is received on the others.
  const [first, ...rest] = cluster.nodes.map(({ url }) => url);
  const installation = randomUUID();
  const here = await createRedisBus({ url: first!, installation, observe: () => {} });
  const there = await createRedisBus({ url: rest.join(','), installation, observe: () => {} });
  return {
    here,
    there,
    async close() {
      await here.close();
      await there.close();
      await cluster.stop();
    },
  };
});

test('two of three nodes die: every bus goes on with the third, and whoever missed something is told of the gap', async () => {
  const cluster = await startOwnRedisCluster();
  // Enough buses that each node has connections of every kind.
  const installation = randomUUID();
  const buses = await Promise.all(
    Array.from({ length: 12 }, () => createRedisBus({ url: cluster.url, installation, observe: () => {} })),
  );
  const ears = buses.map(() => createEar());
  try {
    await Promise.all(buses.map((bus, at) => bus.subscribe('a', ears[at]!)));
    for (const node of cluster.nodes.slice(0, 2)) await node.kill();
    await eventually(async () => {
      for (const bus of buses) await bus.publish('a', 'after').catch(() => {});
      return buses.every(({ connected }) => connected) && ears.every(({ heard }) => heard.includes('after'));
    }, 15_000);
    expect(ears.some(({ gaps }) => gaps > 0)).toBe(true);
  } finally {
    await Promise.all(buses.map((bus) => bus.close()));
    await cluster.stop();
  }
});

test('three servers on a Cluster, one node of which dies: every front end is right in time, and nobody is called away', async () => {
  const name = 'cluster';
  const dice = diceOf(chooseSeed(name));
  const [postgres, cluster] = await Promise.all([startOwnPostgres(), startOwnRedisCluster()]);
  const env = {
    DATABASE_URL: postgres.url,
    REDIS_URL: cluster.url,
    OPERATOR_KEY,
    CLOSER_INTERVAL: '100ms',
    LOG_LEVEL: 'warn',
  };
  const servers = await Promise.all([startServer(env), startServer(env), startServer(env)]);
  const database = createDatabase({ url: postgres.url, poolSize: 2, observe: () => {} });
  const { createProject } = await request(servers[0].url, OPERATOR_KEY, CreateProjectDocument, {
    name,
    settings: { presenceTimeout: PRESENCE_TIMEOUT, inactivityTimeout: 60 },
  });
  const { key } = createProject;
  const projectId = projectIdOf(createProject.project.id);
  const views = servers.map(({ url }) => viewPresence(() => url, key));
  let stopping = false;
  const toll = newToll();
  const beatsOf = new Map<string, Beat[]>();
  const beaters: Promise<void>[] = [];
  try {
    await eventually(() => views.every(({ figures }) => figures.snapshots > 0));
    /** A user who stays (`steady`), or who comes and goes. */
    const person = async (identity: string, steady: boolean): Promise<void> => {
      while (!stopping) {
        const sent = Date.now();
        const answer = await attempt(toll, dice.pick(servers).url, key, BEAT, { input: { identity } });
        if (answer) beatsOf.set(identity, [...(beatsOf.get(identity) ?? []), { sent, answered: Date.now() }]);
        await pause(steady ? 300 : dice.below(PRESENCE_TIMEOUT * 2_000));
      }
    };
    for (let at = 0; at < 20; at += 1) beaters.push(person(`${at < 10 ? 'steady' : 'fickle'} ${at}`, at < 10));
    const heard = (): number => views.reduce((sum, { edges }) => sum + edges.length, 0);
    await eventually(() => heard() > 60, 30_000);
    await dice.pick(cluster.nodes).kill();
    const before = heard();
    await eventually(() => heard() > before + 60, 30_000);
    stopping = true;
    await Promise.all(beaters);
    await eventually(
      async () => {
        const truth = JSON.stringify(await onlineIdentities(database, projectId));
        return views.every(({ online }) => JSON.stringify([...online].sort()) === truth);
      },
      (PRESENCE_TIMEOUT + 2) * 1000,
    );
    for (const { url } of servers) expect((await fetch(`${url}/health/ready`)).status).toBe(200);
    await eventually(() => views.every(({ online }) => online.size === 0));
    record(`${name}: heartbeats acknowledged`, toll.answered);
    record(`${name}: edges checked`, heard());
    const falseEdges = falseOfflines(
      views.flatMap(({ edges }) => edges),
      (identity) => beatsOf.get(identity)!,
      PRESENCE_TIMEOUT,
    );
    record(`${name}: false edges`, falseEdges.length);
    expect(falseEdges).toEqual([]);
    expect(toll).toMatchObject({ cut: 0, hung: 0, unavailable: 0, unexpected: new Set() });
    expect(views.flatMap(({ fatal }) => fatal)).toEqual([]);
  } finally {
    stopping = true;
    await Promise.all(beaters);
    await Promise.all(views.map((view) => view.stop()));
    await Promise.all(servers.map((server) => server.stop()));
    await database.close();
    await cluster.stop();
    await postgres.stop();
  }
});
