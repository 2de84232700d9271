import type { Browser, Page } from 'playwright-core';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { createProject, eventually, post } from '../support/app.js';
import { ago, createDashboardStage, openDashboard, projectWith, type DashboardStage } from '../support/dashboard.js';
import { look } from '../support/look.js';

/** What goes wrong on a small phone alone: 375 px wide, where nothing hovers. */

let stage: DashboardStage;
let url: string;
let browser: Browser;
beforeAll(async () => {
  stage = await createDashboardStage();
  ({ url, browser } = stage);
}, 300_000);
afterAll(() => stage?.close());

const ada = { identity: 'ada@example.com', name: 'Ada' };

const openSmall = async (key: string): ReturnType<typeof openDashboard> => {
  const opened = await openDashboard(browser, url, key, { size: 'phone' });
  await opened.page.setViewportSize({ width: 375, height: 667 });
  return opened;
};

/** What Tab comes to and cannot be seen: it is out of the window, or under the menu. A desktop that is zoomed in is a phone here. */
async function unseenStops(page: Page): Promise<string[]> {
  const unseen: string[] = [];
  for (let presses = 0; presses < 45; presses += 1) {
    await page.keyboard.press('Tab');
    const stop = await page.evaluate(() => {
      const at = document.activeElement!;
      if (at === document.body || at.closest('.rail')) return null;
      const { left, right, width, bottom } = at.getBoundingClientRect();
      const menu = document.querySelector('.rail nav')!.getBoundingClientRect();
      const isSeen = left >= 0 && right <= window.innerWidth && width >= 2 && bottom <= menu.top;
      return isSeen ? null : `${at.tagName} ${at.textContent}`;
    });
    if (stop !== null) unseen.push(stop);
  }
  return unseen;
}

test('what has the focus can be seen', async () => {
  const people = Array.from({ length: 12 }, (_, at) => ({ user: { identity: `user-${at}` }, occurredAt: ago(at) }));
  const { page, context } = await openSmall(await projectWith(url, people));
  for (const [path, ready] of [
    ['/', '.breakdown-bar'],
    ['/sessions', '.session-row >> nth=11'],
    ['/webhooks', '.query-told p:text("valid")'],
    ['/project', '.log li'],
  ] as const) {
    await page.goto(url + path);
    await page.locator(ready).first().waitFor();
    // What is still to come would move what has the focus.
    await eventually(async () => (await page.locator('.skeleton').count()) === 0);
    expect({ path, unseen: await unseenStops(page) }).toEqual({ path, unseen: [] });
  }
  await context.close();
}, 60_000);

test('lists: the order is chosen once, one event is an event, and a date says what it is', async () => {
  const key = await projectWith(url, [
    { type: 'page view', source: '/', user: ada, occurredAt: ago(90_000) },
    { type: 'sessionend', user: ada, occurredAt: ago(89_900) },
    { type: 'page view', source: '/', user: ada },
  ]);
  const { page, context, problems } = await openSmall(key);
  await page.goto(`${url}/sessions`);
  await page.locator('.session-row').nth(1).waitFor();
  expect(await page.getByRole('columnheader').getByRole('button').count()).toBe(0);
  await page.getByLabel('Order').selectOption({ label: 'Oldest first' });
  await page.waitForURL(/sort=oldest/);

  await page.goto(`${url}/users`);
  await page
    .locator('.user-row')
    .getByText(/^First seen \d/)
    .waitFor();
  await page.goto(`${url}/users/ada%40example.com`);
  await page.locator('.session-row').nth(1).waitFor();
  await page.locator('.cell-events').getByText('1 event', { exact: true }).waitFor();
  // An event that says nothing is named by its type, once.
  const end = page.locator('.timeline li', { hasText: 'sessionend' });
  await end.waitFor();
  expect(await end.getByText('sessionend').count()).toBe(1);
  expect(problems).toEqual([]);
  await context.close();
}, 60_000);

test('tables show that there is more beside them; long names are in several lines, and are read whole in a dialog', async () => {
  const key = await createProject(url);
  const name = 'The web shop in production, Europe';
  const query = 'subscription { changes { cursor } }';
  const made = await post(
    url,
    key,
    `mutation ($name: String!, $url: String!, $query: String!) {
      createApiKey(name: $name, scopes: [INGEST]) { key }
      createWebhook(url: $url, query: $query) { webhook { id } }
    }`,
    { name, query, url: `https://example.com/${'hook/'.repeat(30)}` },
  );
  const { page, context, problems } = await openSmall(key);
  await page.goto(`${url}/project`);
  const keys = page.getByRole('region', { name: 'Keys' });
  await page.getByRole('rowheader', { name }).waitFor();
  // The name leaves room for the columns beside it.
  const cell = await page.getByRole('rowheader', { name }).boundingBox();
  expect(cell!.width).toBeLessThan(375 / 2);
  expect(await keys.evaluate((region) => getComputedStyle(region).backgroundAttachment)).toContain('local');
  await page.getByText(/The project was created on \w+, .* CES?T\.$/).waitFor();
  const button = page.getByRole('button', { name: `Revoke ${name}` });
  await button.click();
  const dialog = page.getByRole('alertdialog');
  expect(await dialog.evaluate((element) => element.scrollWidth <= element.clientWidth)).toBe(true);
  await look(page, 'phone-revoke');
  await page.keyboard.press('Escape');
  await look(page, 'phone-project', { fullPage: true });

  await page.goto(`${url}/webhooks`);
  const state = page.getByRole('cell', { name: 'Up to date' });
  await state.waitFor();
  const { x, width } = (await state.boundingBox())!;
  expect(x + width).toBeLessThan(375);
  await look(page, 'phone-webhooks');
  await page.goto(`${url}/webhooks/${made.data.createWebhook.webhook.id}`);
  await page.getByRole('heading', { name: 'Webhook without a name' }).waitFor();
  await look(page, 'phone-webhook');
  await page.getByRole('navigation', { name: 'Breadcrumb' }).getByRole('link', { name: 'Webhooks' }).click();
  await page.getByRole('heading', { name: 'Webhooks', level: 1 }).waitFor();
  expect(problems).toEqual([]);
  await context.close();
}, 60_000);
