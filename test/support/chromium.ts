import { existsSync } from 'node:fs';
import { chromium, type Browser } from 'playwright-core';
import { installWithApt } from './apt.js';

const PLACES = ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'];

/** A real browser's program: CHROMIUM, else where it usually is, else, on Debian as root, installed with apt. */
function chromiumProgram(): string {
  const given = process.env['CHROMIUM'];
  const find = (): string | undefined => [...(given ? [given] : []), ...PLACES].find((file) => existsSync(file));
  const found = find() ?? (installWithApt('chromium'), find());
  if (found) return found;
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
