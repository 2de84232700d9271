import { execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';

const SCRIPT = `apt-get update && apt-get install -y --no-install-recommends "$0"`;

/**
 * On Debian as root: installs a package that the tests need, once, while other test processes wait their turn.
 * Elsewhere, and where it fails, nothing: the caller looks for the program again, and says what is missing.
 */
export function installWithApt(name: string): void {
  if (process.getuid?.() !== 0 || !existsSync('/usr/bin/apt-get')) return;
  console.log(`No ${name}: installing it with apt-get (this happens once).`);
  const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' };
  try {
    execFileSync('flock', ['/tmp/footsteps-apt.lock', 'sh', '-c', SCRIPT, name], { stdio: 'ignore', env });
  } catch {
    // The caller's sentence says what to do.
  }
}
