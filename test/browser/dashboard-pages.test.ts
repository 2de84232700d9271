import { mkdirSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import axe from 'axe-core';
import type { Browser, Page } from 'playwright-core';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { createPresent } from '../../src/demo/present.js';
import { tellPast } from '../../src/demo/past.js';
import { createApi } from '../../src/demo/api.js';
import { createProject, post, startTestApp, type TestApp } from '../support/app.js';
import { startChromium } from '../support/chromium.js';
import { openDashboard, openDoor, send, SIZES } from '../support/dashboard.js';
import { createTestDatabase, type TestDatabase } from '../support/database.js';

/** Pictures of every page, to be looked at: kept out of the repository. */
const PICTURES = fileURLToPath(new URL('../../screenshots/', import.meta.url));

let db: TestDatabase;
let app: TestApp;
let url: string;
let browser: Browser;
let key: string;
let bareKey: string;
let session: string;
let user: string;
beforeAll(async () => {
  mkdirSync(PICTURES, { recursive: true });
  db = await createTestDatabase();
  app = await startTestApp(db);
  ({ url } = app);
  [key, bareKey] = await Promise.all([createProject(url), createProject(url)]);
  const now = Date.now();
  const past = tellPast(now, 600);
  await send(url, key, past.events);
  const present = createPresent(createApi(url, key), past.people);
  for (let step = 0; step < 8; step += 1) await present.step(now + step * 4_000);
  const { data } = await post(
    url,
    key,
    '{ sessions(first: 1, filter: { hasErrors: true, status: ENDED }) { nodes { id user { identity } } } }',
  );
  session = data.sessions.nodes[0].id;
  user = data.sessions.nodes[0].user.identity;
  browser = await startChromium();
}, 300_000);
afterAll(async () => {
  await browser?.close();
  await app.close('test');
  await db.drop();
});

/** Every page, and what shows that it is there. */
const pages = (): [name: string, path: string, ready: (page: Page) => Promise<unknown>][] => [
  ['overview', '/', (page) => page.locator('.u-over').waitFor()],
  ['online', '/online', (page) => page.locator('.online-latest a').first().waitFor()],
  ['sessions', '/sessions', (page) => page.locator('.session-row').nth(5).waitFor()],
  ['session', `/sessions/${encodeURIComponent(session)}`, (page) => page.locator('.step.error').first().waitFor()],
  ['user', `/users/${encodeURIComponent(user)}`, (page) => page.locator('.session-row').first().waitFor()],
  ['project', '/project', (page) => page.getByRole('rowheader', { name: 'First key' }).waitFor()],
];

/** What axe holds against the page, in words. */
async function violations(page: Page): Promise<string[]> {
  // Half-way through an animation nothing has its colour.
  await page.evaluate(() => {
    for (const one of document.getAnimations()) {
      if (one.effect?.getTiming().iterations === Infinity) one.cancel();
      else one.finish();
    }
  });
  await page.evaluate(axe.source);
  const found = await page.evaluate(() =>
    (globalThis as unknown as { axe: typeof axe }).axe.run({
      runOnly: ['wcag2a', 'wcag2aa', 'wcag21a', 'wcag21aa', 'wcag22aa', 'best-practice'],
    }),
  );
  return found.violations.flatMap(({ id, nodes }) => nodes.map(({ html }) => `${id}: ${html.slice(0, 200)}`));
}

async function check(page: Page, name: string): Promise<void> {
  await page.screenshot({ path: `${PICTURES}${name}.png` });
  expect(await page.evaluate(() => document.documentElement.scrollWidth <= window.innerWidth)).toBe(true);
  expect(await violations(page)).toEqual([]);
}

describe.each(['light', 'dark'] as const)('%s', (theme) => {
  test.each(Object.keys(SIZES) as (keyof typeof SIZES)[])(
    'every page on a %s: nothing is cut off, and axe finds no fault',
    async (size) => {
      const name = (page: string): string => `${page}-${theme}-${size}`;
      const door = await openDoor(browser, url, { theme, size });
      await check(door.page, name('door'));
      await door.context.close();

      const { page, context, outside, problems } = await openDashboard(browser, url, key, { theme, size });
      for (const [place, path, ready] of pages()) {
        await page.goto(url + path);
        await ready(page);
        await check(page, name(place));
      }
      await page.locator('#main').getByRole('button', { name: 'Make a key for sending' }).click();
      await page.getByRole('button', { name: 'Revoke First key' }).click();
      await check(page, name('project-revoke'));

      await page.goto(`${url}/sessions?browser=Chrome&errors=yes`);
      await page.getByRole('button', { name: 'Filters' }).click();
      await page.locator('.session-row').first().waitFor();
      await check(page, name('sessions-filters'));
      await page.goto(`${url}/sessions?user=nobody`);
      await page.getByText('No session matches').waitFor();
      await check(page, name('sessions-empty'));
      await page.goto(`${url}/sessions/${encodeURIComponent(session)}`);
      await page.locator('.step.error button').first().click();
      await page.locator('.step-data pre').first().waitFor();
      await check(page, name('session-data'));
      expect(outside).toEqual([]);
      expect(problems).toEqual([]);
      await context.close();

      const bare = await openDashboard(browser, url, bareKey, { theme, size });
      await bare.page.getByText('Waiting for an event').waitFor();
      await check(bare.page, name('first-event'));
      await bare.context.close();
    },
    120_000,
  );
});

test('the theme follows the system until it is chosen, and the choice is remembered', async () => {
  const { page, context } = await openDashboard(browser, url, key, { theme: 'dark' });
  const theme = (): Promise<string | undefined> => page.evaluate(() => document.documentElement.dataset['theme']);
  expect(await theme()).toBe('dark');
  await page.emulateMedia({ colorScheme: 'light' });
  await page.reload();
  await page.getByRole('heading', { name: 'Overview' }).waitFor();
  expect(await theme()).toBe('light');
  await page.getByRole('button', { name: 'Use the dark theme' }).click();
  expect(await theme()).toBe('dark');
  await page.reload();
  await page.getByRole('heading', { name: 'Overview' }).waitFor();
  expect(await theme()).toBe('dark');
  await context.close();
}, 60_000);

test('the keyboard alone gets everywhere', async () => {
  const { page, context } = await openDashboard(browser, url, key);
  await page.locator('.u-over').waitFor();
  const focused = (): Promise<string> =>
    page.evaluate(() => (document.activeElement as HTMLElement | null)?.innerText ?? '');
  await page.keyboard.press('Tab');
  expect(await focused()).toBe('Skip to the content');
  for (let presses = 0; presses < 10 && (await focused()) !== 'Sessions'; presses += 1)
    await page.keyboard.press('Tab');
  await page.keyboard.press('Enter');
  await page.getByRole('heading', { name: /^Sessions/ }).waitFor();
  await page.locator('.session-row').first().waitFor();
  const onRow = (): Promise<boolean> => page.evaluate(() => document.activeElement?.matches('.row-link') ?? false);
  for (let presses = 0; presses < 30 && !(await onRow()); presses += 1) await page.keyboard.press('Tab');
  await page.keyboard.press('PageDown');
  await page.keyboard.press('Enter');
  const step = page.locator('.step').first();
  await step.waitFor();
  const onStep = (): Promise<boolean> => page.evaluate(() => Boolean(document.activeElement?.closest('.step')));
  for (let presses = 0; presses < 30 && !(await onStep()); presses += 1) await page.keyboard.press('Tab');
  await page.keyboard.press('Enter');
  await page.locator('.step-data').waitFor();
  await context.close();
}, 60_000);
