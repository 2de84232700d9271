import { spawn, type ChildProcess } from 'node:child_process';
import { randomBytes } from 'node:crypto';
import { closeSync, openSync } from 'node:fs';
import { chown, mkdir, open, readFile, realpath, rename, rm, stat, writeFile } from 'node:fs/promises';
import { createServer, type AddressInfo } from 'node:net';
import path from 'node:path';
import type { Observer } from '../../observation.js';
import { lockFolder } from './folder-lock.js';
import { stopLeftoverPostgres } from './leftover-postgres.js';
import { EmbeddedPostgresError, findPostgresPrograms, isOpenToOthers } from './postgres-programs.js';
import type { PostgresPrograms } from './postgres-programs.js';

const pause = (milliseconds: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, milliseconds));

/** Postgres refuses to run as root. If this process is root, Postgres runs as the user nobody. */
const NOBODY = { uid: 65_534, gid: 65_534 };
const USER = 'footsteps';
/** How long Postgres may take to start: recovery after a crash may take some time. Milliseconds. */
const START_PATIENCE = 60_000;
/**
 * How long Postgres may take to stop. Short enough that the whole server stops within the 10 seconds that process
 * managers allow. Milliseconds.
 */
const STOP_PATIENCE = 8_000;
/** A Postgres that ran at least this long was healthy, so the next restart has no long delay. Milliseconds. */
const WELL = 60_000;

/** Durable, and sized for a small machine. For short statements, JIT costs more time than it saves. */
const SETTINGS = {
  listen_addresses: '127.0.0.1',
  unix_socket_directories: '',
  max_connections: '60',
  shared_buffers: '256MB',
  fsync: 'on',
  synchronous_commit: 'on',
  jit: 'off',
  // Footsteps gets the errors of statements itself, and logs those that matter. Postgres does not log them, because a
  // client can cause many.
  log_min_messages: 'log',
  log_checkpoints: 'off',
  log_timezone: 'UTC',
  timezone: 'UTC',
};

/**
 * The environment of Postgres. It contains none of this server's secrets, and no settings for another Postgres on the
 * machine.
 */
const ENVIRONMENT = { LC_ALL: 'C' };

export interface EmbeddedPostgres {
  readonly url: string;
  stop(): Promise<void>;
}

interface Folder {
  readonly dataDir: string;
  readonly database: string;
  readonly passwordFile: string;
  /** The user that Postgres runs as, if that is not the user of this process. */
  readonly identity: typeof NOBODY | Record<string, never>;
  /**
   * Used if Postgres' user may not enter the parent folders: Postgres is then started inside the database's folder and
   * calls it by this name. The name must mean the folder itself, because Postgres changes into it and then uses the
   * same name again.
   */
  readonly nameInside: '/proc/self/cwd' | null;
}

const isFolder = (folder: string): Promise<boolean> =>
  stat(folder).then(
    (found) => found.isDirectory(),
    () => false,
  );

/**
 * Creates a folder and its parents. Node's recursive mkdir never ends if an existing folder reports that a folder in it
 * cannot exist (ENOENT), as /proc does.
 */
async function makeFolder(folder: string): Promise<void> {
  if (await isFolder(folder)) return;
  const above = path.dirname(folder);
  if (above !== folder) await makeFolder(above);
  await mkdir(folder, { mode: 0o755 }).catch(async (error: unknown) => {
    // Another process may have created it in the meantime.
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
      `If Footsteps runs as root, Postgres runs as the user nobody, who may not enter ${real}. Start as an ordinary user, or set DATA_DIR to a folder that other users may enter.`,
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

/** Runs initdb in `folder`, as the user that Postgres runs as. If it fails, rejects with its error output. */
async function runInitdb(initdb: string, folder: string, { identity, nameInside }: Folder): Promise<void> {
  const access = ['-U', USER, '-A', 'scram-sha-256', '--pwfile=../password'];
  const child = spawn(
    initdb,
    ['-D', nameInside ?? folder, ...access, '-E', 'UTF8', '--locale=C', '--no-instructions'],
    // In a process group of its own, so that Ctrl-C does not end it before it has finished.
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
  // The database is made in another folder and moved into place when it is complete. So a crash in between leaves
  // nothing that looks like a database.
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
      `Postgres could not create its database in ${database}: ${(error as Error).message}`,
      { cause: error },
    );
  }
  await writeFile(folder.passwordFile, password, { mode: 0o600, flush: true });
  await rename(unfinished, database);
  await rm(workshop, { recursive: true, force: true });
  // Syncs the folder, so that the names above are on the disk before any data is stored.
  const directory = await open(dataDir);
  try {
    await directory.sync();
  } finally {
    await directory.close();
  }
}

/**
 * Creates the database if there is none. Otherwise checks that this version can use it, and stops a Postgres that still
 * runs on it. Returns the password.
 */
async function prepare(programs: PostgresPrograms, folder: Folder): Promise<string> {
  const { database, passwordFile } = folder;
  const made = await readFile(path.join(database, 'PG_VERSION'), 'utf8').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return null;
    throw error;
  });
  if (made === null) await initialise(programs, folder);
  else if (made.trim() !== programs.major) {
    throw new EmbeddedPostgresError(
      `The database in ${database} was made by Postgres ${made.trim()}, but this version of Footsteps contains Postgres ${programs.major}. Start the version that made it and move the data with pg_dump, or set DATA_DIR to a new folder.`,
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

/**
 * Runs Postgres, and restarts it whenever it ends by itself. Rejects with EmbeddedPostgresError if it does not become
 * ready.
 */
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
    // In a process group of its own, so that Ctrl-C reaches only the server. The server then stops Postgres last.
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
        observe({
          kind: 'database.lost',
          message: `Postgres ended (${why}). It is being restarted. Its log is ${log}.`,
        });
        again = setTimeout(launch, Math.min(100 * 2 ** deaths, 5_000));
      };
      launched.once('exit', (code, signal) => gone(signal ?? `code ${code}`));
      launched.once('error', (error) => gone(error.message));
    });
  }

  // If this process exits without `stop`, this signal makes Postgres shut down cleanly by itself. (After kill -9 this
  // is not possible.)
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
    // Postgres writes "ready" into the eighth line when it accepts connections.
    const lines = (await readFile(path.join(database, 'postmaster.pid'), 'utf8').catch(() => '')).split('\n');
    if (Number(lines[0]) === (child as ChildProcess | null)?.pid && lines[7]?.trim() === 'ready') return { port, stop };
    if (Date.now() < end && deaths <= 3) continue;
    await stop();
    throw new EmbeddedPostgresError(`Postgres does not start. Its log says why: ${log}`);
  }
}

/**
 * Starts a Postgres in `dataDir` that belongs to this server, and keeps it running. If it dies, it is restarted. If a
 * killed server has left a Postgres there, that one is stopped first. Only this machine can reach it, with a password
 * that is kept in `dataDir`. Throws EmbeddedPostgresError, whose message is for the person who starts the server.
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
        `Another Footsteps server is running on ${dataDir}. Stop it first, or set another DATA_DIR for this server. Several servers can share one database with DATABASE_URL.`,
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
