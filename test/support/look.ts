import { fileURLToPath } from 'node:url';
import type { Page } from 'playwright-core';
import { expect } from 'vitest';
import { violationsOf } from './axe.js';
import { SIZES } from './dashboard.js';

/** The folder for pictures of the pages, which a person can look at. It is not in the repository, and Playwright makes it. */
export const PICTURES = fileURLToPath(new URL('../../screenshots/', import.meta.url));

/** True if the page is wider than its window. */
export const isCutOff = (page: Page): Promise<boolean> =>
  page.evaluate(() => document.documentElement.scrollWidth > window.innerWidth);

/** Takes a picture of the page. Fails if something is cut off at its side, or if axe finds a fault. */
export async function look(page: Page, name: string, { fullPage = false } = {}): Promise<void> {
  await page.screenshot({ path: `${PICTURES}${name}.png`, fullPage });
  expect(await isCutOff(page)).toBe(false);
  expect(await violationsOf(page)).toEqual([]);
}

/** Looks at the page on a desktop in the light theme, and on a phone in the dark one. */
export async function lookTwice(page: Page, name: string, options: { fullPage?: boolean } = {}): Promise<void> {
  for (const [theme, size] of [
    ['dark', 'phone'],
    ['light', 'desktop'],
  ] as const) {
    await page.emulateMedia({ colorScheme: theme });
    await page.setViewportSize(SIZES[size]);
    await look(page, `${name}-${theme}-${size}`, options);
  }
}
