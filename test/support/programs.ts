import { execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import path from 'node:path';
import { expect } from 'vitest';
import { note } from './run-notes.js';

const SCRIPT = `apt-get update && apt-get install -y --no-install-recommends "$0"`;

/** On Debian as root: installs a package, once, while other test processes wait. Elsewhere it does nothing. */
function installWithApt(name: string): void {
  if (process.getuid?.() !== 0 || !existsSync('/usr/bin/apt-get')) return;
  console.log(`No ${name}: installing it with apt-get (this happens once).`);
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' };
  try {
    execFileSync('flock', ['/tmp/footsteps-apt.lock', 'sh', '-c', SCRIPT, name], { stdio: 'ignore', env });
  } catch {
    // The caller looks for the program again and reports it if it is missing.
  }
}

/** A program that a test needs is missing and cannot be installed. The message says what to do. */
export class MissingProgramError extends Error {
  override readonly name = 'MissingProgramError';
}

/** The path of one of these programs, on the PATH or in a usual folder; undefined if there is none. */
export function findOnPath(...names: string[]): string | undefined {
  const folders = [...(process.env['PATH'] ?? '').split(path.delimiter), '/usr/sbin', '/usr/bin', '/usr/local/bin'];
  return folders.flatMap((folder) => names.map((name) => path.join(folder, name))).find((file) => existsSync(file));
}

/**
 * Returns the path that `find` returns. If there is none, it installs the Debian package `name` if possible. Throws
 * MissingProgramError, and records for the end of the run which test file could not run (missing-programs.ts).
 */
export function needProgram(name: string, find: () => string | undefined, orElse: string): string {
  const found = find() ?? (installWithApt(name), find());
  if (found) return found;
  // Before the run there is no current test file.
  const testFile = process.env['VITEST_WORKER_ID'] ? expect.getState().testPath : null;
  note('FOOTSTEPS_MISSING', { name, testFile });
  throw new MissingProgramError(`This test needs ${name}: ${orElse} (Debian: apt-get install ${name}).`);
}
