import { expect, test } from 'vitest';
import { createDatabase } from '../../src/adapters/postgres/postgres.js';
import { CreateProjectDocument } from '../generated/graphql.js';
import { eventually, OPERATOR_KEY, request } from '../support/app.js';
import { attempt, newToll, pause } from '../support/chaos-load.js';
import { record } from '../support/ledger.js';
import { freePort, startOwnPostgres } from '../support/postgres.js';
import { viewPresence, type PresenceView } from '../support/presence-view.js';
import { startOwnRedis } from '../support/redis.js';
import { projectIdOf } from '../support/rules.js';
import { startServer } from '../support/server.js';

/** Seconds. */
const PRESENCE_TIMEOUT = 4;
const USERS = 1_000;
/** How many users fall silent at each outage. */
const GHOSTS = 20;
/** Events in a request. */
const EACH = 100;
const BEATS = 'mutation ($events: [EventInput!]!) { ingestEvents(events: $events) { discarded } }';

const beatsOf = (identities: readonly string[]): object[] =>
  identities.map((identity) => ({ type: 'heartbeat', user: { identity } }));

test('Postgres, all servers, and both again while it waits, are away for longer than presenceTimeout: of 1,000 who go on speaking nobody is told offline; ghosts go in time', async () => {
  const name = 'outage';
  const [postgres, redis] = await Promise.all([startOwnPostgres({ survivesKill: true }), startOwnRedis()]);
  const envs = [await freePort(), await freePort()].map((port) => ({
    PORT: String(port),
    DATABASE_URL: postgres.url,
    REDIS_URL: redis.url,
    OPERATOR_KEY,
    LOG_LEVEL: 'warn',
  }));
  const startAll = () => Promise.all(envs.map((env) => startServer(env)));
  let servers = await startAll();
  const database = createDatabase({ url: postgres.url, poolSize: 2, observe: () => {} });
  const views: PresenceView[] = [];
  const users = Array.from({ length: USERS }, (_, at) => `user ${at}`);
  const groups = Array.from({ length: USERS / EACH }, (_, at) => users.slice(at * EACH, (at + 1) * EACH));
  const toll = newToll();
  const speaking: Promise<void>[] = [];
  let stopped = false;
  try {
    const { createProject } = await request(servers[0]!.url, OPERATOR_KEY, CreateProjectDocument, {
      name,
      settings: { presenceTimeout: PRESENCE_TIMEOUT, inactivityTimeout: 10 },
    });
    const { key } = createProject;
    const projectId = projectIdOf(createProject.project.id);
    const online = () =>
      database.query<{ identity: string; since: Date }>({
        name: 'test.online',
        text: `SELECT identity, status_since AS since FROM users WHERE project_id = $1 AND online_sessions > 0 AND identity LIKE 'user %' ORDER BY 1`,
        values: [projectId],
      });
    const ghostsOnline = async (): Promise<number> =>
      (
        await database.query<{ count: number }>({
          name: 'test.ghosts',
          text: `SELECT count(*)::integer AS count FROM users WHERE project_id = $1 AND online_sessions > 0 AND identity LIKE 'ghost %'`,
          values: [projectId],
        })
      )[0]!.count;
    for (const at of [0, 1]) views.push(viewPresence(() => servers[at]!.url, key));

    // Each gateway sends heartbeats of a hundred users to one of the two servers, every 1.3 seconds, even without answers.
    speaking.push(
      ...groups.map(async (group, at) => {
        while (!stopped) {
          await attempt(toll, servers[at % 2]!.url, key, BEATS, { events: beatsOf(group) });
          await pause(1_300);
        }
      }),
    );
    await eventually(async () => (await online()).length === USERS, 30_000);
    const first = await online();

    const away = (PRESENCE_TIMEOUT + 3) * 1000;
    const postgresGone = async () => {
      await postgres.kill();
      await pause(away);
      await postgres.restart();
    };
    const serversGone = async () => {
      await Promise.all(servers.map((server) => server.kill()));
      await pause(away);
      servers = await startAll();
    };
    const story: Record<string, () => Promise<void>> = {
      'Postgres killed': postgresGone,
      'all servers killed': serversGone,
      'one after the other': async () => {
        await postgresGone();
        await pause(1_500);
        await serversGone();
      },
      // A shorter outage: users miss heartbeats, and without the waiting would lapse after the return.
      'Postgres killed for a moment': async () => {
        await postgres.kill();
        await pause(2_500);
        await postgres.restart();
      },
    };
    let slowest = 0;
    for (const [kind, happen] of Object.entries(story)) {
      const ghosts = Array.from({ length: GHOSTS }, (_, at) => `ghost ${kind} ${at}`);
      await eventually(
        async () => (await attempt(toll, servers[0]!.url, key, BEATS, { events: beatsOf(ghosts) })) !== null,
      );
      expect(await ghostsOnline()).toBe(GHOSTS);
      await happen();
      const back = performance.now();
      await eventually(async () => (await ghostsOnline()) === 0, (PRESENCE_TIMEOUT + 10) * 1000);
      slowest = Math.max(slowest, performance.now() - back - PRESENCE_TIMEOUT * 1000);
      expect({ kind, online: await online() }).toEqual({ kind, online: first });
    }
    record(`${name}: users falsely told offline, of ${USERS}, in ${Object.keys(story).length} outages`, 0);
    record(`${name}: slowest ghost to go, beyond presenceTimeout after the return, ms`, Math.round(slowest));
    expect(slowest).toBeLessThan(2_500);
    const told = views.flatMap(({ edges }) => edges).filter(({ status }) => status === 'OFFLINE');
    expect(told.filter(({ identity }) => identity.startsWith('user'))).toEqual([]);
    expect(views.flatMap(({ fatal }) => fatal)).toEqual([]);
    expect([...toll.unexpected]).toEqual([]);
  } finally {
    stopped = true;
    await Promise.all(speaking);
    await Promise.all(views.map((view) => view.stop()));
    await Promise.all(servers.map((server) => server.stop()));
    await database.close();
    await redis.kill();
    await postgres.stop();
  }
});
