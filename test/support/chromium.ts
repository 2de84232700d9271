import { existsSync } from 'node:fs';
import { chromium, type Browser } from 'playwright-core';
import { needProgram } from './programs.js';

const PLACES = ['/usr/bin/chromium', '/usr/bin/chromium-browser', '/usr/bin/google-chrome'];

/** The path of a real Chromium: CHROMIUM, else a usual place, else (on Debian as root) installed with apt. */
export function chromiumProgram(): string {
  const given = process.env['CHROMIUM'];
  const find = (): string | undefined => [...(given ? [given] : []), ...PLACES].find((file) => existsSync(file));
  return needProgram('chromium', find, 'set CHROMIUM to the path of a Chromium');
}

/** Without requests to the Internet. */
export const CHROMIUM_ARGUMENTS = [
  '--no-sandbox',
  '--disable-gpu',
  '--disable-quic',
  '--no-first-run',
  '--disable-background-networking',
  '--disable-component-update',
  '--disable-sync',
];

/** Starts Chromium without a window. `without`: usual arguments of Playwright to leave out. */
export function startChromium(without: readonly string[] = []): Promise<Browser> {
  return chromium.launch({
    executablePath: chromiumProgram(),
    ignoreDefaultArgs: [...without],
    args: CHROMIUM_ARGUMENTS,
  });
}
