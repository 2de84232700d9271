import { readFileSync } from 'node:fs';
import path from 'node:path';
import { expect, test } from 'vitest';
import { createDatabase } from '../../src/adapters/postgres/postgres.js';
import type { Database } from '../../src/store/database.js';
import { CreateProjectDocument } from '../generated/graphql.js';
import { eventually, OPERATOR_KEY, post, request } from '../support/app.js';
import { compareWithStored, newToll, attempt, pause, startLoad, type Load } from '../support/chaos-load.js';
import { record } from '../support/ledger.js';
import { freePort, startOwnPostgres } from '../support/postgres.js';
import { viewPresence, type PresenceView } from '../support/presence-view.js';
import { chooseSeed, diceOf } from '../support/random.js';
import { startOwnRedis } from '../support/redis.js';
import {
  onlineIdentities,
  projectIdOf,
  sessionsLeftOpen,
  sessionsThatMiscount,
  sessionsThatOverlap,
  usersMisstated,
} from '../support/rules.js';
import { startServer, temporaryFolder } from '../support/server.js';

const PRESENCE_TIMEOUT = 3;
const SETTINGS = { presenceTimeout: PRESENCE_TIMEOUT, inactivityTimeout: 10 };
const READ = '{ sessions(first: 1) { nodes { id } } }';

/** Waits for a random time. */
const atRandom = (dice: { below(limit: number): number }): Promise<void> => pause(100 + dice.below(700));

/** Checks the rows after the load has stopped and everything is up again. */
async function expectKept(
  name: string,
  database: Database,
  projectId: string,
  load: Load,
  views: readonly PresenceView[],
): Promise<void> {
  const { toll, contradictions, repeats } = load;
  const { events, lost, twice, unknown } = await compareWithStored(database, projectId, load);
  record(`${name}: requests sent`, toll.sent);
  record(`${name}: requests answered`, toll.answered);
  record(`${name}: requests cut by a fault`, toll.cut);
  record(`${name}: answered UNAVAILABLE`, toll.unavailable);
  record(`${name}: slowest UNAVAILABLE, ms`, toll.slowest);
  record(`${name}: requests that hung`, toll.hung);
  record(`${name}: acknowledged events`, load.stored.size);
  record(`${name}: stored events`, events);
  record(`${name}: requests repeated`, repeats.count);
  record(`${name}: lost events`, lost.length);
  record(`${name}: events stored twice`, twice.length);
  expect({ lost, twice, unknown, contradictions }).toEqual({ lost: [], twice: [], unknown: [], contradictions: [] });
  expect([...toll.unexpected]).toEqual([]);
  expect(toll.hung).toBe(0);

  expect(await sessionsThatMiscount(database, projectId)).toEqual([]);
  expect(await sessionsThatOverlap(database, projectId)).toEqual([]);
  // Presence becomes right by itself, and every front end shows what the database says.
  await eventually(
    async () => {
      const online = JSON.stringify(await onlineIdentities(database, projectId));
      return views.every((view) => JSON.stringify([...view.online].sort()) === online);
    },
    (PRESENCE_TIMEOUT + 2) * 1000,
  );
  expect(views.flatMap(({ fatal }) => fatal)).toEqual([]);
  // Waits for a run of the closer.
  await eventually(async () => (await usersMisstated(database, projectId, new Date())).length === 0);
  await eventually(
    async () => (await sessionsLeftOpen(database, projectId, new Date(Date.now() - 2_000))).length === 0,
    15_000,
  );
  expect(await sessionsThatMiscount(database, projectId)).toEqual([]);
}

test('kill -9 of the server, Postgres and Redis, one at a time and together, under mixed load', async () => {
  const name = 'crash';
  const dice = diceOf(chooseSeed(name));
  const postgres = await startOwnPostgres({ survivesKill: true });
  let redis = await startOwnRedis();
  const env = {
    PORT: String(await freePort()),
    DATABASE_URL: postgres.url,
    REDIS_URL: redis.url,
    OPERATOR_KEY,
    CLOSER_INTERVAL: '200ms',
    LOG_LEVEL: 'warn',
  };
  let server = await startServer(env);
  const { url } = server;
  const database = createDatabase({ url: postgres.url, poolSize: 2, observe: () => {} });
  const views: PresenceView[] = [];
  try {
    const { createProject } = await request(url, OPERATOR_KEY, CreateProjectDocument, { name, settings: SETTINGS });
    const { key } = createProject;
    const projectId = projectIdOf(createProject.project.id);
    for (let at = 0; at < 3; at += 1) views.push(viewPresence(() => url, key));
    const load = startLoad({ url: () => url, key, dice, clients: 6 });
    const faults = { server: 0, postgres: 0, backend: 0, redis: 0, all: 0 };
    const outage = newToll();

    /** The server recovers by itself: the same process answers, and reports that it is ready. */
    const recovered = async (): Promise<void> => {
      await eventually(async () => (await attempt(newToll(), url, key, READ)) !== null, 20_000);
      await eventually(async () => (await fetch(`${url}/health/ready`)).status === 200, 20_000);
    };
    const restartServer = async (): Promise<void> => {
      server = await startServer(env);
    };

    const story = {
      async server() {
        await server.kill();
        await restartServer();
      },
      async postgres() {
        await postgres.kill();
        // No request hangs meanwhile: each is answered at once with "try again later".
        for (let ask = 0; ask < 5; ask += 1) {
          const answer = await attempt(outage, url, key, READ);
          const made = await attempt(outage, url, OPERATOR_KEY, 'mutation { createProject(name: "Lost") { key } }');
          expect([answer, made]).toEqual([null, null]);
        }
        expect((await fetch(`${url}/health/live`)).status).toBe(200);
        // /health/ready may repeat an answer for a second.
        const missing = async (): Promise<unknown> =>
          ((await (await fetch(`${url}/health/ready`)).json()) as { missing?: unknown }).missing;
        await eventually(async () => JSON.stringify(await missing()) === '["database"]');
        await postgres.restart();
      },
      async backend() {
        // When one backend dies, Postgres restarts all of them.
        const pids = await postgres.backends();
        if (pids.length > 0) process.kill(dice.pick(pids), 'SIGKILL');
      },
      async redis() {
        await redis.kill();
        await eventually(async () => {
          const ready = await fetch(`${url}/health/ready`);
          return ready.status === 503 && ((await ready.json()) as { missing: string[] }).missing.includes('redis');
        });
        // Requests that need no Redis still work.
        await eventually(async () => (await attempt(newToll(), url, key, READ)) !== null);
        redis = await startOwnRedis(redis.port);
      },
      async all() {
        await Promise.all([server.kill(), postgres.kill(), redis.kill()]);
        const [, again] = await Promise.all([postgres.restart(), startOwnRedis(redis.port)]);
        redis = again;
        await restartServer();
      },
    };
    const kinds = Object.keys(story) as (keyof typeof story)[];
    // Each kind at least twice, then random kinds.
    const rounds = [...kinds, ...kinds, ...Array.from({ length: 15 }, () => dice.pick(kinds))];
    for (const kind of rounds) {
      await atRandom(dice);
      faults[kind] += 1;
      await story[kind]();
      await recovered();
    }
    await load.stop();
    for (const kind of kinds) record(`${name}: faults, ${kind}`, faults[kind]);
    record(`${name}: slowest answer without Postgres, ms`, outage.slowest);
    expect(outage).toMatchObject({ hung: 0, cut: 0, unexpected: new Set() });
    expect(outage.slowest).toBeLessThan(3_000);
    await expectKept(name, database, projectId, load, views);
  } finally {
    await Promise.all(views.map((view) => view.stop()));
    await server.stop();
    await database.close();
    await redis.kill();
    await postgres.stop();
  }
});

test('kill -9 of a server with an embedded Postgres, of that Postgres, and of both', async () => {
  const name = 'crash, embedded';
  const dice = diceOf(chooseSeed(name));
  const { folder, remove } = temporaryFolder();
  const dataDir = path.join(folder, 'data');
  const env = { PORT: String(await freePort()), DATA_DIR: dataDir, CLOSER_INTERVAL: '200ms', LOG_LEVEL: 'warn' };
  let server = await startServer(env);
  const { url, operatorKey } = server;
  /** Kills the running Postgres, or the next one if none is running. */
  const killPostgres = (): Promise<void> =>
    eventually(() => {
      try {
        process.kill(
          Number(readFileSync(path.join(dataDir, 'postgres/postmaster.pid'), 'utf8').split('\n')[0]),
          'SIGKILL',
        );
        return true;
      } catch {
        // The file belongs to a Postgres that has died, or is still being written.
        return false;
      }
    });
  const views: PresenceView[] = [];
  try {
    const { createProject } = await request(url, operatorKey!, CreateProjectDocument, { name, settings: SETTINGS });
    const { key } = createProject;
    const projectId = projectIdOf(createProject.project.id);
    views.push(viewPresence(() => url, key));
    const load = startLoad({ url: () => url, key, dice, clients: 4 });
    const story = {
      async server() {
        await server.kill();
        server = await startServer(env);
      },
      postgres: killPostgres,
      async both() {
        await killPostgres();
        await server.kill();
        server = await startServer(env);
      },
    };
    const kinds = Object.keys(story) as (keyof typeof story)[];
    const rounds = [...kinds, ...Array.from({ length: 3 }, () => dice.pick(kinds))];
    for (const kind of rounds) {
      await atRandom(dice);
      await story[kind]();
      await eventually(async () => (await post(url, key, READ).catch(() => null))?.status === 200, 30_000).catch(() => {
        throw new Error(`Not back after "${kind}": ${server.output().slice(-3_000)}`);
      });
    }
    await load.stop();
    record(`${name}: faults`, rounds.length);
    const { port } = new URL(url);
    expect(port).toBe(env.PORT);
    const password = readFileSync(path.join(dataDir, 'postgres.password'), 'utf8').trim();
    const postgresPort = readFileSync(path.join(dataDir, 'postgres/postmaster.pid'), 'utf8').split('\n')[3];
    const database = createDatabase({
      url: `postgresql://footsteps:${encodeURIComponent(password)}@127.0.0.1:${postgresPort}/postgres`,
      poolSize: 2,
      observe: () => {},
    });
    try {
      await expectKept(name, database, projectId, load, views);
    } finally {
      await database.close();
    }
  } finally {
    await Promise.all(views.map((view) => view.stop()));
    await server.stop();
    remove();
  }
});
