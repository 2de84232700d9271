// Processes of the bench: Postgres, servers, loads. Each runs by itself, so that none is measured with another's work.
import { fork, spawn } from 'node:child_process';
import { chmodSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import pg from 'pg';
import { startEmbeddedPostgres } from '../../dist/adapters/embedded-postgres.js';

export const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const here = (file) => fileURLToPath(new URL(file, import.meta.url));
/** What runs now: ended with the bench, however that ends. */
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

const OPERATOR_KEY = 'operator-key-of-the-bench';

function temporaryFolder() {
  const folder = mkdtempSync(path.join(tmpdir(), 'footsteps-bench-'));
  chmodSync(folder, 0o755);
  return { folder, remove: () => rmSync(folder, { recursive: true, force: true }) };
}

/** The embedded Postgres with the settings that the product gives it: fsync on. */
export async function startPostgres() {
  const { folder, remove } = temporaryFolder();
  const postgres = await startEmbeddedPostgres({ dataDir: folder, observe: () => {} });
  const admin = new pg.Client({ connectionString: postgres.url });
  await admin.connect();
  let made = 0;
  return {
    url: postgres.url,
    folder,
    /** A new, empty database of its own; answers its URL. */
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

/** A program of the bench as a process that tells when it is ready; `ready` is what it said. */
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
    /** Asks the program for something; it answers with one message. */
    ask(message) {
      return new Promise((resolve, reject) => {
        child.once('message', resolve);
        exited.then((code) => reject(new Error(`${file} ended with ${code}`)));
        child.send(message);
      });
    },
    async stop() {
      child.kill('SIGTERM');
      await exited;
    },
  };
}

/** Footsteps itself, built, on a database of somebody's own. `profile`: a folder for V8's CPU profile. */
export async function startFootsteps(databaseUrl, env = {}) {
  const profile = process.env.BENCH_PROFILE;
  const child = spawn(
    process.execPath,
    [...(profile ? ['--cpu-prof', `--cpu-prof-dir=${profile}`] : []), path.join(ROOT, 'dist/main.js')],
    {
      env: {
        PATH: process.env.PATH,
        HOME: process.env.HOME,
        NODE_ENV: 'production',
        LOG_LEVEL: 'error',
        PORT: '0',
        DATABASE_URL: databaseUrl,
        OPERATOR_KEY,
        // Counted, as always, and never reached.
        RATE_LIMIT_PER_KEY: '999999999',
        RATE_LIMIT_PER_ADDRESS: '999999999',
        ...env,
      },
      stdio: ['ignore', 'pipe', 'inherit'],
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

/** One statement on a connection of its own. */
export async function sql(databaseUrl, text, values = []) {
  const client = new pg.Client({ connectionString: databaseUrl });
  await client.connect();
  try {
    return (await client.query(text, values)).rows;
  } finally {
    await client.end();
  }
}

/** The load on `url` for so long; see load.mjs. */
export async function load(options) {
  const program = await startProgram('load.mjs');
  try {
    return await program.ask(options);
  } finally {
    await program.stop();
  }
}
