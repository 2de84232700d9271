import { execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import { chromium, type Browser } from 'playwright-core';

const PLACES = ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'];

/** A real browser's program: CHROMIUM, else where it usually is, else, on Debian as root, installed with apt. */
function chromiumProgram(): string {
  const given = process.env['CHROMIUM'];
  const found = [...(given ? [given] : []), ...PLACES].find((file) => existsSync(file));
  if (found) return found;
  if (process.getuid?.() === 0 && existsSync('/usr/bin/apt-get')) {
    console.log('No Chromium: installing it with apt-get (this happens once).');
    const env = { ...process.env, DEBIAN_FRONTEND: 'noninteractive' };
    execFileSync('apt-get', ['update'], { stdio: 'ignore', env });
    execFileSync('apt-get', ['install', '-y', '--no-install-recommends', 'chromium'], { stdio: 'ignore', env });
    if (existsSync(PLACES[0]!)) return PLACES[0]!;
  }
  throw new Error(
    'The browser tests need a real Chromium: set CHROMIUM to its path (Debian: apt-get install chromium).',
  );
}

/** Starts it without a window and without a word to the outside. */
export function startChromium(): Promise<Browser> {
  return chromium.launch({
    executablePath: chromiumProgram(),
    args: [
      '--no-sandbox',
      '--disable-gpu',
      '--disable-quic',
      '--no-first-run',
      '--disable-background-networking',
      '--disable-component-update',
      '--disable-sync',
    ],
  });
}
