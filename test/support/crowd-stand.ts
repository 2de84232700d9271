import { createDatabase } from '../../src/adapters/postgres/postgres.js';
import { CreateProjectDocument, type ProjectSettingsInput } from '../generated/graphql.js';
import { OPERATOR_KEY, request } from './app.js';
import { pause } from './chaos-load.js';
import { freePort, startOwnPostgres } from './postgres.js';
import { startOwnRedis } from './redis.js';
import { projectIdOf } from './rules.js';
import { startServer } from './server.js';

/** Servers on a Postgres that survives and a Redis, each of which can go away. */
export async function openCrowdStand(count: number) {
  const postgres = await startOwnPostgres({ survivesKill: true });
  let redis = await startOwnRedis();
  const ports = await Promise.all(Array.from({ length: count }, freePort));
  const startAll = () =>
    Promise.all(
      ports.map((port) =>
        startServer({
          PORT: String(port),
          DATABASE_URL: postgres.url,
          REDIS_URL: redis.url,
          OPERATOR_KEY,
          LOG_LEVEL: 'warn',
        }),
      ),
    );
  let servers = await startAll();
  const database = createDatabase({ url: postgres.url, poolSize: 2, observe: () => {} });
  return {
    database,
    urls: servers.map(({ url }) => url),
    async makeProject(name: string, settings: ProjectSettingsInput = {}) {
      const { createProject } = await request(servers[0]!.url, OPERATOR_KEY, CreateProjectDocument, { name, settings });
      return { key: createProject.key, projectId: projectIdOf(createProject.project.id) };
    },
    async restartRedis() {
      await redis.kill();
      await pause(1_000);
      redis = await startOwnRedis(redis.port);
    },
    async postgresAway(milliseconds: number) {
      await postgres.kill();
      await pause(milliseconds);
      await postgres.restart();
    },
    async serversAway(milliseconds: number) {
      await Promise.all(servers.map((server) => server.kill()));
      await pause(milliseconds);
      servers = await startAll();
    },
    async close() {
      await Promise.all(servers.map((server) => server.stop()));
      await database.close();
      await redis.kill();
      await postgres.stop();
    },
  };
}

/** Does `work` again and again, `every` milliseconds after it was done, until it is stopped. */
export function keepOn(every: number, work: () => Promise<unknown>): () => Promise<void> {
  let stopped = false;
  const working = (async () => {
    while (!stopped) {
      await work();
      await pause(every);
    }
  })();
  return () => {
    stopped = true;
    return working;
  };
}
