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

/** Whether this process is the Postgres of `folder`, and no other program that has got its number since. */
async function isPostgresOf(folder: string, pid: number): Promise<boolean> {
  // A Postgres works in its own folder, whatever it was called by.
  if (process.platform === 'linux') {
    return (await readlink(`/proc/${pid}/cwd`).catch(() => null)) === (await realpath(folder));
  }
  const { stdout } = await run('ps', ['-o', 'command=', '-p', String(pid)]).catch(() => ({ stdout: '' }));
  return stdout.includes('postgres') && stdout.includes(folder);
}

/**
 * Stops the Postgres that a killed server has left running in `folder`, in order, which loses nothing. Call it
 * while holding the folder. Throws EmbeddedPostgresError where it cannot be stopped within `patience` twice.
 */
export async function stopLeftoverPostgres(folder: string, patience: number): Promise<void> {
  const file = path.join(folder, 'postmaster.pid');
  const lines = (await readFile(file, 'utf8').catch(() => '')).split('\n');
  const pid = Number(lines[0]);
  if (!Number.isInteger(pid) || pid <= 0 || !isAlive(pid)) return;
  if (!(await isPostgresOf(folder, pid))) {
    // Postgres would take the other program for itself and never start. The number of its own parent it takes
    // for stale; the rest of the file stays, by which it sees whether old helpers still hold its memory.
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
        `The Postgres that an earlier server has left in ${folder} does not stop (process ${pid}). Stop it, then start again.`,
      );
    }
    await pause(50);
  }
}
