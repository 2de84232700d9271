import type { Browser } from 'playwright-core';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { eventually } from '../support/app.js';
import {
  ago,
  createDashboardStage,
  openDashboard,
  projectWith,
  send,
  type DashboardStage,
} from '../support/dashboard.js';

let stage: DashboardStage;
let url: string;
let browser: Browser;
beforeAll(async () => {
  stage = await createDashboardStage();
  ({ url, browser } = stage);
}, 300_000);
afterAll(() => stage?.close());

const ada = { identity: 'ada@example.com', name: 'Ada', data: { plan: 'pro' } };
const ben = { identity: 'ben@example.com', name: 'Ben' };

const VISITS = [
  { type: 'page view', source: '/pricing', occurredAt: ago(7_200), user: ada, deviceId: 'laptop-0001' },
  { type: 'sessionend', occurredAt: ago(7_100), user: ada, deviceId: 'laptop-0001' },
  { type: 'page view', source: '/docs', occurredAt: ago(3_600), user: ada, deviceId: 'phone-00001' },
  { type: 'error', message: 'Payment failed', occurredAt: ago(3_500), user: ada, deviceId: 'phone-00001' },
  { type: 'sessionend', occurredAt: ago(3_400), user: ada, deviceId: 'phone-00001' },
  { type: 'page view', source: '/', occurredAt: ago(30), user: ben },
];

test('users: searched, by presence and in every order, all in the address; a row leads to the user', async () => {
  const key = await projectWith(url, VISITS);
  const { page, context, problems } = await openDashboard(browser, url, key);
  const shown = (...names: string[]): Promise<void> =>
    eventually(async () => {
      const found = await page.locator('.user-row .user-link').allTextContents();
      return JSON.stringify(found) === JSON.stringify(names);
    });
  await page.getByRole('link', { name: 'Users', exact: true }).click();
  await shown('Ben', 'Ada');
  await page.getByLabel('Order').selectOption('Oldest first');
  await shown('Ada', 'Ben');
  await page.waitForURL(/sort=old/);
  await page.getByRole('button', { name: 'Online', exact: true }).click();
  await shown('Ben');
  await page.getByRole('button', { name: 'All', exact: true }).click();
  await page.getByLabel('Search for a user').fill('ADA@');
  await shown('Ada');
  await page.goto(`${url}/users?lastFrom=${encodeURIComponent(ago(600))}`);
  await shown('Ben');
  await page.getByText('First and last seen').click();
  expect(await page.getByRole('textbox', { name: 'Last seen from' }).inputValue()).not.toBe('');
  await page.locator('.chip', { hasText: /^Last seen from/ }).click();
  await shown('Ben', 'Ada');
  expect(await page.getByRole('textbox', { name: 'Last seen from' }).inputValue()).toBe('');
  // Who leaves while the list is open stays in its place.
  const row = page.locator('.user-row').first();
  await row.getByText('Online', { exact: true }).waitFor();
  await send(url, key, [{ type: 'sessionend', user: ben }]);
  await row.getByText('Offline', { exact: true }).waitFor();
  // The arrows go from row to row, as in the list of sessions.
  await row.locator('.row-link').focus();
  await page.keyboard.press('ArrowDown');
  expect(await page.evaluate(() => document.activeElement?.textContent)).toBe('Ada');
  await page.goto(`${url}/users?q=nobody`);
  await page.getByText('No users match').waitFor();
  await page.getByRole('link', { name: 'Show all users' }).click();
  await shown('Ben', 'Ada');
  // A text that stayed would go into the address again.
  expect(await page.getByLabel('Search for a user').inputValue()).toBe('');
  await page.locator('.user-row', { hasText: 'Ada' }).locator('.row-link').click();
  await page.getByRole('heading', { name: /Ada/, level: 1 }).waitFor();
  expect(problems).toEqual([]);
  await context.close();
}, 90_000);

test('a user: data, devices, and the events of all sessions, each with the way to its place', async () => {
  const key = await projectWith(url, VISITS);
  await send(
    url,
    key,
    Array.from({ length: 60 }, (_, place) => ({
      type: 'log',
      message: `old ${place}`,
      occurredAt: ago(20_000 - place),
      user: ada,
    })),
  );
  const { page, context, problems } = await openDashboard(browser, url, key);
  await page.goto(`${url}/users/${encodeURIComponent(ada.identity)}`);
  await page.locator('.card', { hasText: 'Data' }).getByText('"plan": "pro"').waitFor();
  const devices = page.locator('.card', { hasText: 'Devices' });
  await devices.getByText('laptop-0001').waitFor();
  await devices.getByText('phone-00001').waitFor();
  const timeline = page.locator('.timeline');
  await eventually(async () => {
    const texts = await timeline.locator('.timeline-link').allTextContents();
    return texts.length === 50 && texts[1] === 'Payment failed' && texts[2] === '/docs' && texts[4] === '/pricing';
  });
  await timeline.getByRole('button', { name: 'Show earlier events' }).click();
  await timeline.getByText('old 0', { exact: true }).waitFor();
  await timeline.getByText('Payment failed').click();
  await page.waitForURL(/\/sessions\/.*event=/);
  await eventually(() => page.evaluate(() => Boolean(document.activeElement?.closest('.step.error'))));
  await page.goBack();
  await timeline.getByRole('link', { name: 'Search these events' }).click();
  await page.waitForURL(/\/events\?user=ada/);
  await page.locator('.event-row').first().waitFor();
  expect(problems).toEqual([]);
  await context.close();
}, 90_000);

test('the devices of a user with many sessions: of the latest, and what all of them run on', async () => {
  const agent = (browser: string): string =>
    `Mozilla/5.0 (X11; Linux x86_64; rv:143.0) Gecko/20100101 ${browser}/143.0`;
  const key = await projectWith(
    url,
    Array.from({ length: 60 }, (_, place) => [
      {
        type: 'page view',
        occurredAt: ago(80_000 - place * 60),
        user: ben,
        data: { '@request': { user_agent: agent(place === 0 ? 'Seamonkey' : 'Firefox') } },
      },
      { type: 'sessionend', occurredAt: ago(80_000 - place * 60 - 10), user: ben },
    ]).flat(),
  );
  const { page, context, problems } = await openDashboard(browser, url, key);
  await page.goto(`${url}/users/${encodeURIComponent(ben.identity)}`);
  const devices = page.locator('.card', { hasText: 'Devices' });
  await devices.getByText('Of the latest 50 of 60 sessions').waitFor();
  await devices.getByText('50 sessions', { exact: true }).waitFor();
  await devices.getByText(/^Firefox 59, SeaMonkey 1$/).waitFor();
  await devices.getByText(/^Linux 60$/).waitFor();
  expect(problems).toEqual([]);
  await context.close();
}, 60_000);
