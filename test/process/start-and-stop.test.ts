import { chmodSync, chownSync, copyFileSync, existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import path from 'node:path';
import { afterEach, describe, expect, test, vi } from 'vitest';
import { post } from '../support/app.js';
import { createTestDatabase } from '../support/database.js';
import { freePort } from '../support/postgres.js';
import {
  isAlive,
  MAIN,
  NPM_START,
  postgresPid,
  ROOT,
  runServer,
  startServer,
  temporaryFolder,
  type ServerProcess,
} from '../support/server.js';
import { redisUrl } from '../support/redis.js';

/** Whole servers start, several one after another. */
vi.setConfig({ testTimeout: 120_000 });

/** Folders; beside them lies the lock file. */
const MIGRATIONS = readdirSync('prisma/migrations').filter((name) => /^\d/.test(name)).length;

const folders: (() => void)[] = [];
const servers: ServerProcess[] = [];
afterEach(async () => {
  await Promise.all(servers.splice(0).map((server) => server.stop()));
  for (const remove of folders.splice(0)) remove();
});

function dataDir(): string {
  const { folder, remove } = temporaryFolder();
  folders.push(remove);
  return path.join(folder, 'data');
}

async function start(env: Record<string, string>, options = {}): Promise<ServerProcess> {
  const server = await startServer(env, options);
  servers.push(server);
  return server;
}

const INGEST = 'mutation ($events: [EventInput!]!) { ingestEvents(events: $events) { accepted } }';
const send = async (url: string, key: string, identity: string) =>
  (await post(url, key, INGEST, { events: [{ user: { identity } }] })).data.ingestEvents.accepted;
const countSessions = async (url: string, key: string) =>
  (await post(url, key, '{ sessions { totalCount } }')).data.sessions.totalCount;

describe('on an embedded database', () => {
  test('the first start says where it listens, the keys, and a curl line that works; the second only where', async () => {
    const folder = dataDir();
    const first = await start({ DATA_DIR: folder });
    expect(first.operatorKey).toMatch(/^fs_op_\w{40}$/);
    expect(first.key).toMatch(/^fs_\w{40}$/);
    const curl = /curl (\S+) -H '(Authorization): ([^']+)' -H '[^']+' -d '([^']+)'/.exec(first.output())!;
    const response = await fetch(curl[1]!, {
      method: 'POST',
      headers: { Authorization: curl[3]!, 'Content-Type': 'application/json' },
      body: curl[4]!,
    });
    expect(await response.json()).toMatchObject({ data: { ingestEvents: { accepted: 1 } } });

    expect(await first.stop()).toBe(0);
    expect(existsSync(path.join(folder, 'postgres/postmaster.pid'))).toBe(false);

    expect(first.output()).toContain(`GraphiQL: ${first.url}/graphql`);
    const second = await start({ DATA_DIR: folder, GRAPHIQL: 'off' });
    expect(second.output()).not.toContain('GraphiQL');
    expect(second.key).toBeNull();
    expect(second.output()).not.toContain(first.key!);
    expect(await countSessions(second.url, first.key!)).toBe(1);
    const made = await post(second.url, first.operatorKey, 'mutation { createProject(name: "Second") { key } }');
    expect(made.data.createProject.key).toMatch(/^fs_/);
  });

  test('after a kill -9 of both it comes up by itself, and a Postgres that dies meanwhile is started again', async () => {
    const folder = dataDir();
    const first = await start({ DATA_DIR: folder });
    expect(await send(first.url, first.key!, 'ada')).toBe(1);
    process.kill(postgresPid(folder), 'SIGKILL');
    await first.kill();
    const second = await start({ DATA_DIR: folder });
    expect(await countSessions(second.url, first.key!)).toBe(1);

    process.kill(postgresPid(folder), 'SIGKILL');
    // Until it is back the answer is UNAVAILABLE; then all is as before.
    for (;;) {
      const { data, errors } = await post(second.url, first.key, '{ sessions { totalCount } }');
      if (data) {
        expect(data.sessions.totalCount).toBe(1);
        break;
      }
      expect(errors![0]!.extensions['code']).toBe('UNAVAILABLE');
    }
  });

  test('npm start hands SIGTERM on: the server drains, Postgres stops, the exit code is 0', async () => {
    const folder = dataDir();
    const server = await start({ DATA_DIR: folder }, { command: NPM_START, cwd: ROOT });
    const pid = postgresPid(folder);
    expect(await server.stop()).toBe(0);
    expect(isAlive(pid)).toBe(false);
  });

  test('in a folder that nobody else may enter it starts, and again after a stop, and after a kill -9 with its Postgres still running', async () => {
    const { folder, remove } = temporaryFolder();
    folders.push(remove);
    chmodSync(folder, 0o700);
    const env = { DATA_DIR: path.join(folder, 'below/data') };
    const first = await start(env);
    expect(await send(first.url, first.key!, 'ada')).toBe(1);
    expect(await first.stop()).toBe(0);
    const second = await start(env);
    expect(await countSessions(second.url, first.key!)).toBe(1);
    expect(await send(second.url, first.key!, 'bob')).toBe(1);
    const pid = postgresPid(env.DATA_DIR);
    await second.kill();
    expect(isAlive(pid)).toBe(true);
    const third = await start(env);
    expect(isAlive(pid)).toBe(false);
    expect(await countSessions(third.url, first.key!)).toBe(2);
  });

  test('a DATA_DIR that cannot be made is told at once', async () => {
    const { folder, remove } = temporaryFolder();
    folders.push(remove);
    const file = path.join(folder, 'file');
    writeFileSync(file, '');
    for (const impossible of ['/proc/x/y', file, path.join(file, 'data')]) {
      const { code, output } = await runServer({ DATA_DIR: impossible });
      expect([code, output]).toEqual([1, expect.stringMatching(/^Footsteps cannot start\. .*cannot be used.*\n$/)]);
      expect(output).toContain(impossible);
    }
  });

  test('beside a server that runs, its folder, its port and a port of another machine are refused in a sentence; it stops cleanly', async () => {
    const folder = dataDir();
    const server = await start({ DATA_DIR: folder });
    for (let round = 0; round < 4; round += 1) {
      const sent = Array.from({ length: 20 }, (_, at) => send(server.url, server.key!, `user ${at}`));
      const read = Array.from({ length: 20 }, () => countSessions(server.url, server.key!));
      await Promise.all([...sent, ...read]);
    }
    const second = await runServer({ DATA_DIR: folder });
    expect(second.code).toBe(1);
    expect(second.output).toContain('Another Footsteps server is running');
    expect(second.output).not.toContain('    at ');

    const { port: PORT } = new URL(server.url);
    const other = dataDir();
    expect(await runServer({ DATA_DIR: other, PORT })).toEqual({
      code: 1,
      output: `Footsteps cannot start. Port ${PORT} is taken already. Set PORT to another one, or 0 for any.\n`,
    });
    expect(await runServer({ DATA_DIR: other, HOST: '203.0.113.1' })).toEqual({
      code: 1,
      output: expect.stringMatching(/^Footsteps cannot start\. Cannot listen .*\n$/),
    });
    // That is told before anything is made.
    expect(existsSync(other)).toBe(false);

    expect(await send(server.url, server.key!, 'ada')).toBe(1);
    // However many connections there were, none is told as lost.
    expect(await server.stop()).toBe(0);
    expect(server.output()).toContain('server.closed');
    expect(server.output()).not.toMatch(/"level":[45]0/);
  });

  test.runIf(process.getuid?.() === 0)('it runs as an ordinary user too', async () => {
    const { folder, remove } = temporaryFolder();
    folders.push(remove);
    // 1 is daemon: Postgres wants a user that exists.
    chownSync(folder, 1, 1);
    // Node itself may be in a folder that others may not enter.
    const node = path.join(folder, 'node');
    copyFileSync(process.execPath, node);
    const server = await start(
      { DATA_DIR: path.join(folder, 'data'), HOME: folder },
      { uid: 1, gid: 1, command: [node, path.join(ROOT, 'dist/main.js')] },
    );
    expect(await send(server.url, server.key!, 'ada')).toBe(1);
    expect(await server.stop()).toBe(0);
  });
});

describe('on a database of one’s own', () => {
  test('three servers start at once on an empty database, and work as one', async () => {
    const db = await createTestDatabase();
    try {
      const admin = db.open();
      await admin.query({ name: 'test', text: 'DROP SCHEMA public CASCADE; CREATE SCHEMA public' });
      const env = { DATABASE_URL: db.url, REDIS_URL: redisUrl(), OPERATOR_KEY: 'operator-key-of-the-tests' };
      const [one, two, three] = await Promise.all([start(env), start(env), start(env)]);
      const made = await post(
        one.url,
        'operator-key-of-the-tests',
        'mutation { createProject(name: "Shared") { key } }',
      );
      const { key } = made.data.createProject;
      await Promise.all([one, two, three].map(({ url }) => send(url, key, 'ada')));
      expect(await countSessions(two.url, key)).toBe(1);
      const rows = await admin.query({
        name: 'test',
        text: 'SELECT migration_name FROM _prisma_migrations WHERE finished_at IS NOT NULL',
      });
      expect(rows).toHaveLength(MIGRATIONS);
      await Promise.all(servers.splice(0).map((server) => server.stop()));
    } finally {
      await db.drop();
    }
  });

  test('a database newer than the code is refused and left as it is', async () => {
    const db = await createTestDatabase();
    try {
      await db.open().query({
        name: 'test',
        text: `INSERT INTO _prisma_migrations (id, checksum, migration_name, finished_at) VALUES ('x', 'y', '29991231000000_future', now())`,
      });
      const { code, output } = await runServer({ DATABASE_URL: db.url, OPERATOR_KEY: 'operator-key-of-the-tests' });
      expect([code, output]).toEqual([1, expect.stringContaining('newer than this version of Footsteps')]);
      expect(output).toContain('29991231000000_future');
      expect(output).not.toContain('    at ');
    } finally {
      await db.drop();
    }
  });

  test('arguments start no server: --help says how to use it, --version which it is, and others are refused', async () => {
    const ask = (argument: string) => runServer({}, { command: [process.execPath, MAIN, argument] });
    const { version } = JSON.parse(readFileSync(path.join(ROOT, 'package.json'), 'utf8')) as { version: string };
    expect(await ask('--version')).toEqual({ code: 0, output: `${version}\n` });
    expect(await ask('--help')).toEqual({
      code: 0,
      output: expect.stringMatching(/^Usage: footsteps [^]*DATABASE_URL/),
    });
    expect(await ask('--port=1')).toEqual({
      code: 2,
      output: expect.stringMatching(/does not know "--port=1"[^]*Usage:/),
    });
  });

  test('what is wrong with the environment is said all at once', async () => {
    const { code, output } = await runServer({
      DATABASE_URL: 'mysql://x',
      PORT: 'http',
      CLOSER_INTERVAL: '15',
      LOG_LEVEL: 'loud',
      REDIS_URL: 'localhost',
    });
    expect(code).toBe(1);
    for (const name of ['DATABASE_URL', 'PORT', 'CLOSER_INTERVAL', 'LOG_LEVEL', 'REDIS_URL'])
      expect(output).toContain(`  ${name} `);
  });

  test('a database that cannot be reached, a Redis that cannot, a port that is taken: a sentence each', async () => {
    const port = await freePort();
    const OPERATOR_KEY = 'operator-key-of-the-tests';
    const lost = await runServer({ DATABASE_URL: `postgresql://x@127.0.0.1:${port}/x`, OPERATOR_KEY });
    expect([lost.code, lost.output]).toEqual([
      1,
      expect.stringContaining('database of DATABASE_URL cannot be reached'),
    ]);
    const db = await createTestDatabase();
    try {
      const redis = await runServer({ DATABASE_URL: db.url, OPERATOR_KEY, REDIS_URL: `redis://127.0.0.1:${port}` });
      expect([redis.code, redis.output]).toEqual([1, expect.stringContaining('Redis of REDIS_URL cannot be reached')]);
      const one = await start({ DATABASE_URL: db.url, OPERATOR_KEY });
      const taken = await runServer({ DATABASE_URL: db.url, OPERATOR_KEY, PORT: new URL(one.url).port });
      expect([taken.code, taken.output]).toEqual([1, expect.stringContaining('is taken already')]);
      await Promise.all(servers.splice(0).map((server) => server.stop()));
    } finally {
      await db.drop();
    }
  });
});
