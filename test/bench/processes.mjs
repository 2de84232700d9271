// The processes of the bench: Postgres, servers, loads. Each is its own process, so that no measurement includes the
// work of another.
import { fork, spawn } from 'node:child_process';
import { chmodSync, mkdtempSync, rmSync } from 'node:fs';
import { createConnection, createServer } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import pg from 'pg';
import { startEmbeddedPostgres } from '../../dist/adapters/postgres/embedded-postgres.js';

export const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const here = (file) => fileURLToPath(new URL(file, import.meta.url));
/** The processes that run now. They end when the bench ends, in any way. */
const children = new Set();
process.on('exit', () => children.forEach((child) => child.kill('SIGKILL')));

function keep(child) {
  children.add(child);
  return new Promise((resolve) => {
    child.once('exit', (code) => {
      children.delete(child);
      resolve(code);
    });
  });
}

export const OPERATOR_KEY = 'operator-key-of-the-bench';

function temporaryFolder() {
  const folder = mkdtempSync(path.join(tmpdir(), 'footsteps-bench-'));
  chmodSync(folder, 0o755);
  return { folder, remove: () => rmSync(folder, { recursive: true, force: true }) };
}

/** Starts the embedded Postgres with the product's settings: fsync on. */
export async function startPostgres() {
  const { folder, remove } = temporaryFolder();
  const postgres = await startEmbeddedPostgres({ dataDir: folder, observe: () => {} });
  const admin = new pg.Client({ connectionString: postgres.url });
  await admin.connect();
  let made = 0;
  return {
    url: postgres.url,
    folder,
    /** Makes a new, empty database. Returns its URL. */
    async createDatabase() {
      made += 1;
      const name = `bench_${made}`;
      await admin.query(`CREATE DATABASE ${name}`);
      const url = new URL(postgres.url);
      url.pathname = `/${name}`;
      return url.href;
    },
    async stop() {
      await admin.end();
      await postgres.stop();
      remove();
    },
  };
}

function ask(child, exited, message) {
  return new Promise((resolve, reject) => {
    child.once('message', resolve);
    exited.then((code) => reject(new Error(`${child.spawnargs.at(-1)} ended with ${code}`)));
    child.send(message);
  });
}

/** Starts a program of the bench as a process that sends a message when it is ready; `ready` is that message. */
export async function startProgram(file, env = {}, { node, args = [] } = {}) {
  const child = fork(here(file), args, {
    env: { PATH: process.env.PATH, HOME: process.env.HOME, NODE_ENV: 'production', ...env },
    stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
    execArgv: [],
    ...(node ? { execPath: node } : {}),
  });
  const exited = keep(child);
  const ready = await new Promise((resolve, reject) => {
    child.once('message', resolve);
    exited.then((code) => reject(new Error(`${file} ended with ${code}`)));
  });
  return {
    ready,
    pid: child.pid,
    /** Sends the program a request. It answers with one message. */
    ask: (message) => ask(child, exited, message),
    async stop() {
      child.kill('SIGTERM');
      await exited;
    },
  };
}

/** A Redis of one's own, which keeps nothing and can be killed and started again on its port. */
export async function startRedis() {
  let child;
  let exited;
  const port = await freePort();
  const redis = {
    url: `redis://127.0.0.1:${port}`,
    async start() {
      child = spawn('redis-server', ['--port', String(port), '--bind', '127.0.0.1', '--save', '', '--appendonly', 'no'], { stdio: 'ignore' });
      child.on('error', () => {});
      exited = keep(child);
      while (!(await answers(port))) if (child.exitCode !== null || child.pid === undefined) throw new Error('There is no redis-server on the PATH.');
    },
    async kill() {
      child.kill('SIGKILL');
      await exited;
    },
  };
  await redis.start();
  return redis;
}

/** A port that nobody listens on just now. */
function freePort() {
  return new Promise((resolve) => {
    const server = createServer().listen(0, '127.0.0.1', () => {
      const { port } = server.address();
      server.close(() => resolve(port));
    });
  });
}

function answers(port) {
  return new Promise((resolve) => {
    const socket = createConnection(port, '127.0.0.1', () => {
      socket.destroy();
      resolve(true);
    });
    socket.on('error', () => setTimeout(() => resolve(false), 20));
  });
}

/** Starts the built Footsteps with a DATABASE_URL. `BENCH_PROFILE`: a folder for V8's CPU profile. */
export async function startFootsteps(databaseUrl, env = {}, nodeArguments = []) {
  const profile = process.env.BENCH_PROFILE;
  const child = spawn(
    process.execPath,
    [...(profile ? ['--cpu-prof', `--cpu-prof-dir=${profile}`] : []), ...nodeArguments, path.join(ROOT, 'dist/main.js')],
    {
      env: {
        PATH: process.env.PATH,
        HOME: process.env.HOME,
        NODE_ENV: 'production',
        LOG_LEVEL: 'error',
        PORT: '0',
        DATABASE_URL: databaseUrl,
        OPERATOR_KEY,
        // The limits are counted as usual, but are too high to be reached.
        RATE_LIMIT_PER_KEY: '999999999',
        RATE_LIMIT_PER_ADDRESS: '999999999',
        ...env,
      },
      stdio: ['ignore', 'pipe', 'inherit', ...(nodeArguments.length > 0 ? ['ipc'] : [])],
    },
  );
  const exited = keep(child);
  let output = '';
  const url = await new Promise((resolve, reject) => {
    child.stdout.on('data', (data) => {
      output += data;
      const found = /listens on (http\S+)/.exec(output);
      if (found) resolve(found[1]);
    });
    exited.then((code) => reject(new Error(`Footsteps ended with ${code}: ${output}`)));
  });
  return {
    url,
    pid: child.pid,
    /** Asks what `nodeArguments` have loaded into its process. */
    ask: (message) => ask(child, exited, message),
    async createProject(settings = {}) {
      const { createProject } = await graphql(
        url,
        OPERATOR_KEY,
        'mutation ($settings: ProjectSettingsInput) { createProject(name: "Bench", settings: $settings) { key project { id } } }',
        { settings },
      );
      const id = Buffer.from(createProject.project.id, 'base64').toString().split(':')[1];
      return { key: createProject.key, id };
    },
    async stop() {
      child.kill('SIGTERM');
      await exited;
    },
  };
}

async function graphql(url, key, query, variables = {}) {
  const response = await fetch(`${url}/graphql`, {
    method: 'POST',
    headers: { 'Content-Type': 'application/json', Authorization: `Bearer ${key}` },
    body: JSON.stringify({ query, variables }),
  });
  const { data, errors } = await response.json();
  if (errors) throw new Error(JSON.stringify(errors));
  return data;
}

/** Runs one statement on its own connection. */
export async function sql(databaseUrl, text, values = []) {
  const client = new pg.Client({ connectionString: databaseUrl });
  await client.connect();
  try {
    return (await client.query(text, values)).rows;
  } finally {
    await client.end();
  }
}

/** Runs the load on `url`; see load.mjs. */
export async function load(options) {
  const program = await startProgram('load.mjs');
  try {
    return await program.ask(options);
  } finally {
    await program.stop();
  }
}
