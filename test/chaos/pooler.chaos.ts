import { randomUUID } from 'node:crypto';
import { cp, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { expect, test } from 'vitest';
import { createDatabase, createPrismaDatabase } from '../../src/adapters/postgres/postgres.js';
import { DEFAULT_SETTINGS } from '../../src/domain/project.js';
import type { PrismaDatabase } from '../../src/store/database.js';
import { addProject, getProject } from '../../src/store/projects/projects.js';
import { migrate } from '../../src/store/upkeep/migrate.js';
import { CreateProjectDocument } from '../generated/graphql.js';
import { eventually, OPERATOR_KEY, request } from '../support/app.js';
import { startBalancer } from '../support/balancer.js';
import { compareWithStored, startLoad } from '../support/chaos-load.js';
import { record } from '../support/ledger.js';
import { startPgBouncer } from '../support/pgbouncer.js';
import { startOwnPostgres } from '../support/postgres.js';
import { viewPresence } from '../support/presence-view.js';
import { chooseSeed, diceOf } from '../support/random.js';
import { startOwnRedis } from '../support/redis.js';
import { onlineIdentities, projectIdOf, sessionsThatMiscount, sessionsThatOverlap } from '../support/rules.js';
import { startServer } from '../support/server.js';

test.each<{ how: string; settings: Record<string, string> }>([
  { how: 'as it comes', settings: {} },
  {
    how: 'told to pass settings over',
    settings: {
      ignore_startup_parameters: 'options,statement_timeout,idle_in_transaction_session_timeout,extra_float_digits',
    },
  },
])('three servers through PgBouncer in transaction mode, $how', async ({ how, settings }) => {
  const name = `pooler ${how}`;
  const dice = diceOf(chooseSeed(name));
  const [postgres, redis] = await Promise.all([startOwnPostgres(), startOwnRedis()]);
  const pooler = await startPgBouncer(postgres.port, settings);
  const env = {
    DATABASE_URL: pooler.url,
    REDIS_URL: redis.url,
    OPERATOR_KEY,
    CLOSER_INTERVAL: '100ms',
    LOG_LEVEL: 'warn',
  };
  const servers = await Promise.all([startServer(env), startServer(env), startServer(env)]);
  const balancer = await startBalancer(servers.map(({ url }) => Number(new URL(url).port)));
  const database = createDatabase({ url: postgres.url, poolSize: 2, observe: () => {} });
  const { createProject } = await request(balancer.url, OPERATOR_KEY, CreateProjectDocument, {
    name,
    settings: { presenceTimeout: 2, inactivityTimeout: 10 },
  });
  const { key } = createProject;
  const projectId = projectIdOf(createProject.project.id);
  const view = viewPresence(() => balancer.url, key);
  try {
    const load = startLoad({ url: () => balancer.url, key, dice, clients: 5 });
    await eventually(() => load.stored.size > 1_000, 60_000);
    const whole = { ...load.toll };
    expect(whole).toMatchObject({ cut: 0, hung: 0, causes: new Set(), unavailable: 0, unexpected: new Set() });
    // The pooler restarts. To the server this looks like a restart of the database.
    await pooler.restart();
    const before = load.stored.size;
    await eventually(() => load.stored.size > before + 500, 60_000);
    await load.stop();
    const { events, lost, twice, unknown } = await compareWithStored(database, projectId, load);
    record(`${name}: requests answered`, load.toll.answered);
    record(`${name}: answered UNAVAILABLE while it restarted`, load.toll.unavailable);
    record(`${name}: acknowledged events`, load.stored.size);
    record(`${name}: stored events`, events);
    record(`${name}: lost events`, lost.length);
    record(`${name}: events stored twice`, twice.length);
    expect({ lost, twice, unknown }).toEqual({ lost: [], twice: [], unknown: [] });
    expect(load.contradictions).toEqual([]);
    expect(load.toll).toMatchObject({ cut: 0, hung: 0, causes: new Set(), unexpected: new Set() });
    expect(await sessionsThatMiscount(database, projectId)).toEqual([]);
    expect(await sessionsThatOverlap(database, projectId)).toEqual([]);
    await eventually(
      async () =>
        JSON.stringify([...view.online].sort()) === JSON.stringify(await onlineIdentities(database, projectId)),
      4_000,
    );
    expect(view.fatal).toEqual([]);
  } finally {
    await view.stop();
    await Promise.all(servers.map((server) => server.stop()));
    await balancer.close();
    await database.close();
    await pooler.stop();
    await redis.kill();
    await postgres.stop();
  }
});

test('servers that start at once through PgBouncer build an index CONCURRENTLY, and Prisma is in UTC there', async () => {
  const postgres = await startOwnPostgres();
  const pooler = await startPgBouncer(postgres.port);
  const folder = await mkdtemp(path.join(tmpdir(), 'footsteps-test-migrations-'));
  const open = () => createPrismaDatabase({ url: pooler.url, poolSize: 3, observe: () => {}, pooled: true });
  const servers = [open(), open(), open()];
  const [database] = servers as [PrismaDatabase];
  const query = <Row>(text: string) => database.query<Row>({ name: 'test', text });
  try {
    await query(`ALTER DATABASE postgres SET TimeZone = 'Asia/Tokyo'`);
    await pooler.restart();
    await Promise.all(servers.map((server) => migrate(server, () => {})));
    await cp(new URL('../../prisma/migrations', import.meta.url), folder, { recursive: true });
    await mkdir(path.join(folder, '29991231000000_names'));
    await writeFile(
      path.join(folder, '29991231000000_names/migration.sql'),
      '-- CONCURRENTLY\nDROP INDEX CONCURRENTLY IF EXISTS keys_by_name;\nCREATE INDEX CONCURRENTLY keys_by_name ON api_keys (project_id, name);\n',
    );
    await Promise.all(servers.map((server) => migrate(server, () => {}, folder)));
    expect(await query(`SELECT indisvalid FROM pg_index WHERE indexrelid = 'keys_by_name'::regclass`)).toEqual([
      { indisvalid: true },
    ]);
    const createdAt = new Date('2026-03-04T05:06:07.089Z');
    for (let round = 0; round < 20; round += 1) {
      const wanted = { ...DEFAULT_SETTINGS, id: randomUUID(), name: 'Shop', createdAt };
      const [one, other] = [servers[round % 3]!, servers[(round + 1) % 3]!];
      await one.prismaTransaction((tx) => addProject(tx, wanted));
      expect((await getProject(other, { projectId: wanted.id, userIds: null }))!.createdAt).toEqual(createdAt);
      expect(await query(`SELECT created_at AS at FROM projects WHERE id = '${wanted.id}'`)).toEqual([
        { at: createdAt },
      ]);
    }
  } finally {
    await Promise.all(servers.map((server) => server.close()));
    await pooler.stop();
    await postgres.stop();
    await rm(folder, { recursive: true });
  }
});
