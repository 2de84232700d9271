import { execFile } from 'node:child_process';
import { readFile, readlink, realpath, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { promisify } from 'node:util';
import { EmbeddedPostgresError } from './postgres-programs.js';

const run = promisify(execFile);
const pause = (milliseconds: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, milliseconds));

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

/**
 * Whether the process `pid` is the Postgres of `folder`. It may be another program that got the same process id later.
 */
async function isPostgresOf(folder: string, pid: number): Promise<boolean> {
  // The working directory of a Postgres is its database's folder, whatever name it was started with.
  if (process.platform === 'linux') {
    return (await readlink(`/proc/${pid}/cwd`).catch(() => null)) === (await realpath(folder));
  }
  const { stdout } = await run('ps', ['-o', 'command=', '-p', String(pid)]).catch(() => ({ stdout: '' }));
  return stdout.includes('postgres') && stdout.includes(folder);
}

/**
 * Stops the Postgres that a killed server has left running in `folder`. It is a clean shutdown that loses nothing. The
 * caller must hold the folder's lock. `patience` is in milliseconds: after it, the shutdown is forced. Throws
 * EmbeddedPostgresError if Postgres does not stop within twice that time.
 */
export async function stopLeftoverPostgres(folder: string, patience: number): Promise<void> {
  const file = path.join(folder, 'postmaster.pid');
  const lines = (await readFile(file, 'utf8').catch(() => '')).split('\n');
  const pid = Number(lines[0]);
  if (!Number.isInteger(pid) || pid <= 0 || !isAlive(pid)) return;
  if (!(await isPostgresOf(folder, pid))) {
    // Postgres would mistake the other program for a running Postgres and never start. Postgres treats the process id
    // of its own parent as stale, so that id is written. The rest of the file stays: it tells Postgres whether old
    // child processes still use its shared memory.
    await writeFile(file, [process.pid, ...lines.slice(1)].join('\n'));
    return;
  }
  process.kill(pid, 'SIGINT');
  const start = Date.now();
  let forced = false;
  while (isAlive(pid)) {
    const waited = Date.now() - start;
    if (waited > patience && !forced) {
      process.kill(pid, 'SIGQUIT');
      forced = true;
    }
    if (waited > 2 * patience) {
      throw new EmbeddedPostgresError(
        `A Postgres that an earlier server left running in ${folder} does not stop (process ${pid}). Stop it, then start again.`,
      );
    }
    await pause(50);
  }
}
