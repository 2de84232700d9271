import { existsSync } from 'node:fs';
import { connect } from 'node:net';
import path from 'node:path';
import { afterEach, expect, test, vi } from 'vitest';
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

/** Whole servers start, several one after another. */
vi.setConfig({ testTimeout: 120_000 });

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

/** Begins a request that the server waits for when it closes; answers a function that ends it, and reads the answer. */
async function startRequest(url: string, key: string): Promise<() => Promise<string>> {
  const { hostname, port } = new URL(url);
  const socket = connect(Number(port), hostname);
  let heard = '';
  socket.on('error', () => {});
  socket.on('data', (data: Buffer) => (heard += data.toString()));
  const closed = new Promise<string>((resolve) => socket.once('close', () => resolve(heard)));
  const query = JSON.stringify({ query: '{ project { name } }' });
  const body = ['Content-Type: application/json', `Content-Length: ${query.length}`, 'Expect: 100-continue'];
  const head = ['POST /graphql HTTP/1.1', 'Host: localhost', `Authorization: Bearer ${key}`, 'Connection: close'];
  socket.write(`${[...head, ...body].join('\r\n')}\r\n\r\n`);
  // Where the server says to continue, it has the request.
  await eventually(() => heard.includes('100 Continue'));
  return () => {
    socket.write(query);
    return closed;
  };
}

/** Whether nobody listens there any more. */
const isClosed = (url: string): Promise<boolean> =>
  new Promise((resolve) => {
    const { hostname, port } = new URL(url);
    const socket = connect(Number(port), hostname, () => {
      socket.destroy();
      resolve(false);
    });
    socket.once('error', () => resolve(true));
  });

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

test('a terminal that is closed stops both as well, and what is under way is answered', async () => {
  const folder = dataDir();
  const server = await start(folder, inTerminal);
  const pid = postgresPid(folder);
  const finish = await startRequest(server.url, server.key!);
  await server.kill();
  await eventually(() => isClosed(server.url), 20_000);
  expect(await finish()).toContain('"name":"My project"');
  await eventually(() => !isAlive(pid), 20_000);
  expect(existsSync(path.join(folder, 'postgres/postmaster.pid'))).toBe(false);
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
  // 1, not 0: it did not wait for the request.
  expect(code).toBe(1);
  expect(took).toBeGreaterThan(999);
  await eventually(() => !isAlive(pid), 20_000);
});

test('a request that never ends keeps it for some seconds, and then it stops in order all the same', async () => {
  const folder = dataDir();
  const server = await start(folder, {});
  await startRequest(server.url, server.key!);
  expect(await server.stop()).toBe(0);
  expect(existsSync(path.join(folder, 'postgres/postmaster.pid'))).toBe(false);
});
