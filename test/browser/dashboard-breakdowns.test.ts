import type { Browser, Page } from 'playwright-core';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { eventually } from '../support/app.js';
import { ago, createDashboardStage, openDashboard, projectWith, type DashboardStage } from '../support/dashboard.js';

let stage: DashboardStage;
let url: string;
let browser: Browser;
beforeAll(async () => {
  stage = await createDashboardStage();
  ({ url, browser } = stage);
}, 300_000);
afterAll(() => stage?.close());

const AGENTS = {
  Chrome:
    'Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/141.0.0.0 Safari/537.36',
  Firefox: 'Mozilla/5.0 (X11; Linux x86_64; rv:143.0) Gecko/20100101 Firefox/143.0',
} as const;

/** A visit of one user: a page, and an error if `error` is given. */
function visit(
  name: string,
  at: number,
  { version, agent, error }: { version: string; agent: keyof typeof AGENTS; error?: string },
): object[] {
  const user = { identity: `${name.toLowerCase()}@example.com`, name };
  return [
    {
      type: 'page view',
      source: '/shop',
      occurredAt: ago(at),
      user,
      version,
      data: { '@request': { user_agent: AGENTS[agent] } },
    },
    ...(error
      ? [{ type: 'error', message: error, source: '/pay', occurredAt: ago(at - 20), user, data: { error } }]
      : []),
  ];
}

/** Yesterday one error of eight visits; today four of eight, three of them with the new version. */
const VISITS = [
  ...Array.from({ length: 8 }, (_, place) =>
    visit(`Old${place}`, 30 * 3_600 + place, {
      version: '1.4.0',
      agent: 'Chrome',
      ...(place === 0 ? { error: 'Timeout' } : {}),
    }),
  ),
  ...Array.from({ length: 4 }, (_, place) =>
    visit(`Chrome${place}`, 3_600 + place, {
      version: '1.4.0',
      agent: 'Chrome',
      ...(place === 0 ? { error: 'Timeout' } : {}),
    }),
  ),
  ...Array.from({ length: 4 }, (_, place) =>
    visit(`Fox${place}`, 1_800 + place, {
      version: '1.5.0',
      agent: 'Firefox',
      ...(place < 3 ? { error: `Card refused ${place}` } : {}),
    }),
  ),
].flat();

const figure = (page: Page, name: string) => page.locator('.figure', { hasText: name }).first();
const groups = (page: Page, box: string): Promise<string[]> =>
  page.getByRole('region', { name: box }).locator('.breakdown-group .clip').allTextContents();

test('from “errors went up” to the event that did it in four clicks', async () => {
  const key = await projectWith(url, VISITS);
  const { page, context, problems } = await openDashboard(browser, url, key);
  await figure(page, 'With errors').getByText('+300%').waitFor();
  // 1: the sessions with errors.
  await page.getByRole('link', { name: 'With errors' }).click();
  const versions = page.getByRole('region', { name: 'Versions' });
  await versions.getByRole('link', { name: /^1\.5\.0 3 75%$/ }).waitFor();
  // 2: most of them have the new version.
  await versions.getByRole('link', { name: /^1\.5\.0/ }).click();
  await eventually(async () => (await page.locator('.wrong-link').count()) === 3);
  // 3: the latest of them, which opens at its error.
  await page.locator('.wrong-link').first().click();
  await page.locator('.step.error').getByText('Card refused 0').waitFor();
  await eventually(() => page.evaluate(() => Boolean(document.activeElement?.closest('.step.error'))));
  // 4: what it says.
  await page.locator('.step.error button').first().click();
  await page.locator('.step-data pre').getByText('Card refused 0').waitFor();
  expect(problems).toEqual([]);
  await context.close();
}, 90_000);

test('a click on a value filters the whole overview, a second one ends it; the filter is in the address', async () => {
  const key = await projectWith(url, VISITS);
  const { page, context } = await openDashboard(browser, url, key);
  await figure(page, 'Sessions').getByText('8', { exact: true }).waitFor();
  await eventually(async () => (await groups(page, 'Browsers')).join() === 'Chrome,Firefox');
  const browsers = page.getByRole('region', { name: 'Browsers' });
  await browsers.getByRole('link', { name: /^Firefox/ }).click();
  await figure(page, 'Sessions').getByText('4', { exact: true }).waitFor();
  await page.waitForURL(`${url}/?browser=Firefox`);
  await eventually(async () => (await groups(page, 'Versions')).join() === '1.5.0');
  await page.getByRole('button', { name: 'Remove Browser: Firefox' }).waitFor();
  // Another range keeps the filter, and so does the way to the list.
  await page.getByRole('link', { name: '7 days' }).click();
  await page.waitForURL(/browser=Firefox&range=7d|range=7d&browser=Firefox/);
  await page.locator('.card', { hasText: 'Recent errors' }).getByRole('link', { name: 'See all' }).click();
  await page.waitForURL(/\/sessions\?.*browser=Firefox/);
  await eventually(async () => (await page.locator('.session-row').count()) === 3);
  await page.goBack();
  await page
    .getByRole('region', { name: 'Browsers' })
    .getByRole('link', { name: /^Firefox/ })
    .click();
  await figure(page, 'Sessions').getByText('16', { exact: true }).waitFor();

  // Who is online does not follow the filter, and says so while there is one.
  const noted = page.getByText('All users: the filter does not count here.');
  await noted.waitFor({ state: 'detached' });
  await page.goto(`${url}/?browser=Firefox`);
  await noted.waitFor();
  await page.goto(`${url}/?range=7d`);

  // The page that a visit ended with.
  await page.getByRole('button', { name: 'Exit pages' }).click();
  await page
    .getByRole('region', { name: 'Exit pages' })
    .getByRole('link', { name: /^\/pay/ })
    .click();
  await figure(page, 'Sessions').getByText('5', { exact: true }).waitFor();
  // The last condition goes away with its chip, and the focus is on the page then.
  await page.getByRole('button', { name: 'Remove Exit page: /pay' }).press('Enter');
  await figure(page, 'Sessions').getByText('16', { exact: true }).waitFor();
  expect(await page.evaluate(() => document.activeElement?.id)).toBe('main');

  // Another dimension of the same box.
  await page.getByRole('button', { name: 'Systems' }).click();
  await eventually(async () => (await groups(page, 'Systems')).join() === 'Windows,Linux');

  // All conditions of the list are there, and a value is found whatever its case.
  await page.goto(`${url}/`);
  await page.getByRole('button', { name: 'Filters' }).click();
  const input = page.getByLabel('Browser', { exact: true });
  await input.focus();
  await page.locator('datalist option[value=Firefox]').waitFor({ state: 'attached' });
  await input.fill('fireFOX');
  await page.keyboard.press('Enter');
  await page.waitForURL(`${url}/?browser=Firefox`);
  await figure(page, 'Sessions').getByText('4', { exact: true }).waitFor();
  await page.getByLabel('Errors').selectOption('no');
  await figure(page, 'Sessions').getByText('1', { exact: true }).waitFor();
  await page.getByRole('button', { name: 'Clear all' }).click();
  await figure(page, 'Sessions').getByText('8', { exact: true }).waitFor();
  await context.close();
}, 90_000);

test('figures are compared with the period before, or with the same a week before', async () => {
  const key = await projectWith(url, VISITS);
  const { page, context } = await openDashboard(browser, url, key);
  await figure(page, 'Users').getByText('No change').waitFor();
  await page.getByLabel('Compared with').selectOption('the same a week before');
  await page.waitForURL(/compare=week/);
  await figure(page, 'Users').getByText('No previous data').waitFor();
  await context.close();
}, 60_000);
