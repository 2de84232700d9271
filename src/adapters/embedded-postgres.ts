import { spawn, type ChildProcess } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { closeSync, openSync } from 'node:fs';
import { chown, mkdir, open, readFile, realpath, rename, rm, stat, writeFile } from 'node:fs/promises';
import { createServer, type AddressInfo } from 'node:net';
import path from 'node:path';
import type { Observer } from '../observation.js';
import { lockFolder } from './folder-lock.js';
import { stopLeftoverPostgres } from './leftover-postgres.js';
import { EmbeddedPostgresError, findPostgresPrograms, isOpenToOthers } from './postgres-programs.js';
import type { PostgresPrograms } from './postgres-programs.js';

const pause = (milliseconds: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, milliseconds));

/** Postgres refuses to run as root; for root it runs as the user nobody. */
const NOBODY = { uid: 65_534, gid: 65_534 };
const USER = 'footsteps';
/** Recovery after a crash may take its time. */
const START_PATIENCE = 60_000;
/** Short enough that the whole server stops within the 10 seconds that process managers allow. */
const STOP_PATIENCE = 8_000;
/** A Postgres that ran this long was well: the next restart is quick again. */
const WELL = 60_000;

/** Durable, and sized for a small machine; JIT costs more than it gives on short statements. */
const SETTINGS = {
  listen_addresses: '127.0.0.1',
  unix_socket_directories: '',
  max_connections: '60',
  shared_buffers: '256MB',
  fsync: 'on',
  synchronous_commit: 'on',
  jit: 'off',
  log_min_messages: 'warning',
  log_timezone: 'UTC',
  timezone: 'UTC',
};

/** None of this server's secrets, nor the settings that a machine's other Postgres may have there. */
const ENVIRONMENT = { LC_ALL: 'C' };

export interface EmbeddedPostgres {
  readonly url: string;
  stop(): Promise<void>;
}

interface Folder {
  readonly dataDir: string;
  readonly database: string;
  readonly passwordFile: string;
  /** The user Postgres runs as, where that is not the user we are. */
  readonly identity: typeof NOBODY | Record<string, never>;
  /**
   * Another user who may not enter the folders above is put into the database's folder, and calls it by this name.
   * It has to be the folder itself: Postgres goes there and then asks for it by the same name again.
   */
  readonly nameInside: '/proc/self/cwd' | null;
}

const isFolder = (folder: string): Promise<boolean> =>
  stat(folder).then(
    (found) => found.isDirectory(),
    () => false,
  );

/**
 * Makes a folder and those above it. Node's own way of it tries for ever where a folder that is there says that
 * there is no such thing, as /proc does of all that is to be made in it.
 */
async function makeFolder(folder: string): Promise<void> {
  if (await isFolder(folder)) return;
  const above = path.dirname(folder);
  if (above !== folder) await makeFolder(above);
  await mkdir(folder, { mode: 0o755 }).catch(async (error: unknown) => {
    // Another process may have been quicker.
    if (!(await isFolder(folder))) throw error;
  });
}

async function openFolder(dataDir: string): Promise<Folder> {
  await makeFolder(dataDir);
  const real = await realpath(dataDir);
  const asRoot = process.getuid?.() === 0;
  const isClosed = asRoot && !(await isOpenToOthers(real));
  if (isClosed && process.platform !== 'linux') {
    throw new EmbeddedPostgresError(
      `For root, Postgres runs as the user nobody, who may not enter ${real}. Start as an ordinary user, or set DATA_DIR to a folder that others may enter.`,
    );
  }
  return {
    dataDir: real,
    database: path.join(real, 'postgres'),
    passwordFile: path.join(real, 'postgres.password'),
    identity: asRoot ? NOBODY : {},
    nameInside: isClosed ? '/proc/self/cwd' : null,
  };
}

/** Runs initdb in `folder`, for the user that Postgres runs as. Rejects with what it said where it fails. */
async function runInitdb(initdb: string, folder: string, { identity, nameInside }: Folder): Promise<void> {
  const access = ['-U', USER, '-A', 'scram-sha-256', '--pwfile=../password'];
  const child = spawn(
    initdb,
    ['-D', nameInside ?? folder, ...access, '-E', 'UTF8', '--locale=C', '--no-instructions'],
    // In a process group of its own, so that a Ctrl-C does not end it half-way.
    { ...identity, cwd: folder, env: ENVIRONMENT, detached: true, stdio: ['ignore', 'ignore', 'pipe'] },
  );
  let said = '';
  child.stderr.on('data', (data: Buffer) => (said += data.toString()));
  await new Promise<void>((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (code, signal) =>
      code === 0 ? resolve() : reject(new Error(said.trim() || `initdb ended with ${signal ?? `code ${code}`}`)),
    );
  });
}

async function initialise(programs: PostgresPrograms, folder: Folder): Promise<void> {
  const { dataDir, database, identity } = folder;
  // Made aside and moved into place when it is whole: a crash half-way leaves nothing that looks like a database.
  const workshop = `${database}.new`;
  const unfinished = path.join(workshop, 'database');
  const passwordFile = path.join(workshop, 'password');
  await rm(workshop, { recursive: true, force: true });
  await mkdir(workshop, { mode: 0o700 });
  await mkdir(unfinished, { mode: 0o700 });
  const password = randomBytes(24).toString('base64url');
  await writeFile(passwordFile, password, { mode: 0o600 });
  if ('uid' in identity) {
    for (const file of [workshop, unfinished, passwordFile]) await chown(file, identity.uid, identity.gid);
  }
  try {
    await runInitdb(programs.initdb, unfinished, folder);
  } catch (error) {
    throw new EmbeddedPostgresError(
      `Postgres could not make its database in ${database}: ${(error as Error).message}`,
      { cause: error },
    );
  }
  await writeFile(folder.passwordFile, password, { mode: 0o600, flush: true });
  await rename(unfinished, database);
  await rm(workshop, { recursive: true, force: true });
  // The names above are on the disk before anything is stored under them.
  const directory = await open(dataDir);
  try {
    await directory.sync();
  } finally {
    await directory.close();
  }
}

/** Makes the database where there is none, else sees that it can be used and that nobody uses it. Answers the password. */
async function prepare(programs: PostgresPrograms, folder: Folder): Promise<string> {
  const { database, passwordFile } = folder;
  const made = await readFile(path.join(database, 'PG_VERSION'), 'utf8').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return null;
    throw error;
  });
  if (made === null) await initialise(programs, folder);
  else if (made.trim() !== programs.major) {
    throw new EmbeddedPostgresError(
      `The database in ${database} was made by Postgres ${made.trim()}; this Footsteps brings Postgres ${programs.major}. Start the version that made it and move the data with pg_dump, or set DATA_DIR to a new folder.`,
    );
  } else await stopLeftoverPostgres(database, STOP_PATIENCE);
  const password = (await readFile(passwordFile, 'utf8').catch(() => '')).trim();
  if (password !== '') return password;
  throw new EmbeddedPostgresError(
    `The password of the database is missing: ${passwordFile}. Restore it, or set DATA_DIR to a new folder.`,
  );
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

/** Runs Postgres, and runs it again whenever it ends by itself. Rejects with EmbeddedPostgresError where it never gets ready. */
async function supervise(
  programs: PostgresPrograms,
  { dataDir, database, identity, nameInside }: Folder,
  observe: Observer,
): Promise<{ port: number; stop(): Promise<void> }> {
  const log = path.join(dataDir, 'postgres.log');
  const port = await freePort();
  const settings = Object.entries({ ...SETTINGS, port }).flatMap(([name, value]) => ['-c', `${name}=${value}`]);
  let child: ChildProcess | null = null;
  let exited: Promise<void> = Promise.resolve();
  let again: NodeJS.Timeout | null = null;
  let stopping = false;
  let deaths = 0;

  function launch(): void {
    const started = Date.now();
    const output = openSync(log, 'a', 0o600);
    // A process group of its own, so that Ctrl-C reaches the server alone, which then stops Postgres last.
    const launched = spawn(programs.postgres, ['-D', nameInside ?? database, ...settings], {
      ...identity,
      cwd: database,
      env: ENVIRONMENT,
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
        deaths = Date.now() - started > WELL ? 1 : deaths + 1;
        observe({ kind: 'database.lost', message: `Postgres ended (${why}); it is started again. Its log is ${log}.` });
        again = setTimeout(launch, Math.min(100 * 2 ** deaths, 5_000));
      };
      launched.once('exit', (code, signal) => gone(signal ?? `code ${code}`));
      launched.once('error', (error) => gone(error.message));
    });
  }

  // Whatever ends this process in a hurry, short of a kill -9, tells Postgres to stop in order, by itself.
  const onExit = (): void => void child?.kill('SIGINT');
  process.once('exit', onExit);

  async function stop(): Promise<void> {
    stopping = true;
    if (again) clearTimeout(again);
    child?.kill('SIGINT');
    const forced = setTimeout(() => child?.kill('SIGQUIT'), STOP_PATIENCE);
    await exited;
    clearTimeout(forced);
    process.off('exit', onExit);
  }

  launch();
  for (const end = Date.now() + START_PATIENCE; ; await pause(20)) {
    // The eighth line says when connections are taken.
    const lines = (await readFile(path.join(database, 'postmaster.pid'), 'utf8').catch(() => '')).split('\n');
    if (Number(lines[0]) === (child as ChildProcess | null)?.pid && lines[7]?.trim() === 'ready') return { port, stop };
    if (Date.now() < end && deaths <= 3) continue;
    await stop();
    throw new EmbeddedPostgresError(`Postgres does not start; its log says why: ${log}`);
  }
}

/**
 * Starts a real Postgres of this server's own in `dataDir`, and keeps it running: one that dies is started
 * again, and one that a killed server has left is stopped first. Only this machine can reach it, with a
 * password kept in `dataDir`. Throws EmbeddedPostgresError, a sentence for whoever starts the server.
 */
export async function startEmbeddedPostgres({
  dataDir,
  observe,
}: {
  dataDir: string;
  observe: Observer;
}): Promise<EmbeddedPostgres> {
  const start = performance.now();
  try {
    const folder = await openFolder(dataDir);
    const lock = await lockFolder(folder.dataDir);
    if (!lock) {
      throw new EmbeddedPostgresError(
        `Another Footsteps server is running on ${dataDir}. Stop it first, or give this one a DATA_DIR of its own; several servers share one database by DATABASE_URL.`,
      );
    }
    try {
      observe({ kind: 'database.starting', folder: folder.database });
      const programs = await findPostgresPrograms({ forOthers: 'uid' in folder.identity, dataDir: folder.dataDir });
      const password = await prepare(programs, folder);
      const postgres = await supervise(programs, folder, observe);
      observe({ kind: 'database.ready', version: programs.major, milliseconds: performance.now() - start });
      return {
        url: `postgresql://${USER}:${encodeURIComponent(password)}@127.0.0.1:${postgres.port}/postgres`,
        async stop() {
          await postgres.stop();
          await lock.release();
        },
      };
    } catch (error) {
      await lock.release();
      throw error;
    }
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    if (!(error instanceof Error) || error instanceof EmbeddedPostgresError || !code) throw error;
    throw new EmbeddedPostgresError(
      `The database's folder ${dataDir} cannot be used (${message}). Set DATA_DIR to a folder that this user may write.`,
      { cause: error },
    );
  }
}
