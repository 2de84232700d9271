import pg from 'pg';
import type { TestProject } from 'vitest/node';
import { createDatabase } from '../../src/adapters/postgres/postgres.js';
import { migrate } from '../../src/store/upkeep/migrate.js';
import { ensurePartitions } from '../../src/store/partitions.js';
import { startPostgres } from './postgres.js';
import { startRedis } from './redis.js';

declare module 'vitest' {
  interface ProvidedContext {
    /** The URL of an administrator, who makes databases from the template `template`. */
    postgresUrl: string;
    template: string;
    redisUrl: string;
  }
}

/** Starts one Postgres and one Redis for the whole run, and makes a migrated template that each test file clones (45 ms). */
export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  const [postgres, redis] = await Promise.all([startPostgres(), startRedis()]);
  const template = `footsteps_template_${process.pid}`;
  const admin = new pg.Client({ connectionString: postgres.url });
  await admin.connect();
  await admin.query(`CREATE DATABASE ${template}`);
  const url = new URL(postgres.url);
  url.pathname = `/${template}`;
  const database = createDatabase({ url: url.href, poolSize: 2, observe: () => {} });
  await migrate(database, () => {});
  await ensurePartitions(database, new Date(), () => {});
  await database.close();
  await admin.query(`ALTER DATABASE ${template} IS_TEMPLATE true`);
  project.provide('postgresUrl', postgres.url);
  project.provide('template', template);
  project.provide('redisUrl', redis.url);
  return async () => {
    await admin.query(`ALTER DATABASE ${template} IS_TEMPLATE false`);
    await admin.query(`DROP DATABASE IF EXISTS ${template} WITH (FORCE)`);
    await admin.end();
    await Promise.all([postgres.stop(), redis.stop()]);
  };
}
