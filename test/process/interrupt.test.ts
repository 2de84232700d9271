import { existsSync } from 'node:fs';
import { connect } from 'node:net';
import path from 'node:path';
import { afterEach, expect, test } from 'vitest';
import { eventually } from '../support/app.js';
import {
  isAlive,
  NPM_START,
  postgresPid,
  ROOT,
  startServer,
  temporaryFolder,
  type ServerProcess,
} from '../support/server.js';

/** Ctrl-C, as a terminal does it: to every process that runs there, and npm hands its own on. */

const CTRL_C = '\u0003';

const removals: (() => void)[] = [];
const servers: ServerProcess[] = [];
afterEach(async () => {
  await Promise.all(servers.splice(0).map((server) => server.kill()));
  for (const remove of removals.splice(0)) remove();
});

function dataDir(): string {
  const { folder, remove } = temporaryFolder();
  removals.push(remove);
  return path.join(folder, 'data');
}

async function start(folder: string, options: Parameters<typeof startServer>[1]): Promise<ServerProcess> {
  const server = await startServer({ DATA_DIR: folder }, { cwd: ROOT, ...options });
  servers.push(server);
  return server;
}

/** A program of every Debian that runs a command in a terminal of its own. */
const inTerminal = { command: ['script', '-qec', `exec ${NPM_START.join(' ')}`, '/dev/null'] };

/** A request whose body never comes, so that the server waits for it when it closes. */
async function startRequest(url: string, key: string): Promise<void> {
  const { hostname, port } = new URL(url);
  const socket = connect(Number(port), hostname);
  socket.on('error', () => {});
  await new Promise<void>((resolve) => {
    socket.once('data', () => resolve());
    // Where the server says to continue, it has the request.
    const body = ['Content-Type: application/json', 'Content-Length: 9', 'Expect: 100-continue'];
    const head = ['POST /graphql HTTP/1.1', 'Host: localhost', `Authorization: Bearer ${key}`, ...body];
    socket.write(`${head.join('\r\n')}\r\n\r\n`);
  });
}

test('one Ctrl-C in a terminal drains the server and stops Postgres; npm exits with 0', async () => {
  const folder = dataDir();
  const server = await start(folder, inTerminal);
  const pid = postgresPid(folder);
  server.type(CTRL_C);
  expect(await server.exited).toBe(0);
  expect(server.output()).toContain('server.closed');
  expect(isAlive(pid)).toBe(false);
});

test('so does SIGINT to the whole process group', async () => {
  const folder = dataDir();
  const server = await start(folder, { command: NPM_START, detached: true });
  const pid = postgresPid(folder);
  process.kill(-server.pid, 'SIGINT');
  expect(await server.exited).toBe(0);
  expect(server.output()).toContain('server.closed');
  expect(isAlive(pid)).toBe(false);
});

test('one that comes while the database is being made waits until it is whole, and stops it', async () => {
  const folder = dataDir();
  const starting = start(folder, { command: NPM_START, detached: true, interruptAt: 'database.starting' });
  expect(await (await starting).exited).toBe(0);
  expect(existsSync(path.join(folder, 'postgres/PG_VERSION'))).toBe(true);
  expect(existsSync(path.join(folder, 'postgres/postmaster.pid'))).toBe(false);
});

test('a terminal that is closed stops both', async () => {
  const folder = dataDir();
  const server = await start(folder, inTerminal);
  const pid = postgresPid(folder);
  await server.kill();
  await eventually(() => !existsSync(path.join(folder, 'postgres/postmaster.pid')) && !isAlive(pid), 20_000);
});

test('presses within a second are one; a later one ends it at once, and Postgres stops by itself', async () => {
  const folder = dataDir();
  const server = await start(folder, {});
  const pid = postgresPid(folder);
  await startRequest(server.url, server.key!);
  const first = performance.now();
  let code: number | null | undefined;
  void server.exited.then((exitCode) => (code = exitCode));
  await eventually(() => {
    void server.stop('SIGINT');
    return code !== undefined;
  }, 20_000);
  const took = performance.now() - first;
  expect(code).toBe(1);
  expect(took).toBeGreaterThan(999);
  // Waiting for the request would have taken five seconds.
  expect(took).toBeLessThan(4_000);
  await eventually(() => !isAlive(pid), 20_000);
});
