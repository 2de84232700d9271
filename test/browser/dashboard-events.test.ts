import type { Browser, Page } from 'playwright-core';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { createProject, eventually, post } from '../support/app.js';
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

const ada = { identity: 'ada@example.com', name: 'Ada' };
const ben = { identity: 'ben@example.com', name: 'Ben' };

/** Events of Ada, one a second, the first so many seconds ago. Those at `errors` are errors. */
const longVisit = (length: number, errors: readonly number[]): object[] =>
  Array.from({ length }, (_, place) => ({
    type: errors.includes(place) ? 'error' : 'page view',
    message: `step ${place}`,
    occurredAt: ago(length - place + 10),
    user: ada,
  }));

/** The messages of the steps that are drawn, in order. */
const drawnSteps = (page: Page): Promise<string[]> => page.locator('.step-message').allTextContents();

test('events: every filter narrows the list and is in the address; a row leads to the event and to its place', async () => {
  const key = await projectWith(url, [
    { type: 'page view', source: '/pricing', occurredAt: ago(3_600), user: ada, tags: ['beta'] },
    {
      type: 'error',
      source: '/checkout',
      message: 'Payment failed',
      referenceId: 'order-77',
      occurredAt: ago(60),
      user: ada,
      version: '1.4.2',
      data: { reason: 'card declined' },
    },
    { type: 'log', message: 'Nightly run', occurredAt: ago(30) },
    { type: 'page view', source: '/docs', occurredAt: ago(20), user: ben },
  ]);
  const { page, context, problems } = await openDashboard(browser, url, key);
  const shown = (...texts: string[]): Promise<void> =>
    eventually(async () => {
      const found = await page.locator('.event-row .cell-message').allTextContents();
      return JSON.stringify(found) === JSON.stringify(texts);
    });
  await page.getByRole('link', { name: 'Events', exact: true }).click();
  await shown('/docs', 'Nightly run', 'Payment failed', '/pricing');
  await page.getByRole('button', { name: 'Errors' }).click();
  await shown('Payment failed');
  expect(new URL(page.url()).search).toBe('?type=error');
  await page.getByRole('button', { name: 'Clear all' }).click();
  await page.getByLabel('Search in messages').fill('PAY');
  await shown('Payment failed');
  await page.waitForURL(/q=PAY/);
  const half = encodeURIComponent(ago(1_800));
  for (const [search, ...texts] of [
    ['type=log', 'Nightly run'],
    ['source=%2Fdocs&source=%2Fpricing', '/docs', '/pricing'],
    ['tag=beta', '/pricing'],
    ['user=ada%40example.com', 'Payment failed', '/pricing'],
    ['ref=order-77', 'Payment failed'],
    ['session=no', 'Nightly run'],
    [`to=${half}`, '/pricing'],
    [`from=${half}`, '/docs', 'Nightly run', 'Payment failed'],
    [`data=${encodeURIComponent('{"reason":"card declined"}')}`, 'Payment failed'],
  ]) {
    await page.goto(`${url}/events?${search}`);
    await shown(...texts);
  }
  await page.goto(`${url}/events?type=nothing`);
  await page.getByText('No events match').waitFor();
  await page.getByRole('link', { name: 'Show all events' }).click();
  await page.getByRole('button', { name: 'Filters' }).click();
  await page.getByLabel('Source', { exact: true }).fill('/docs');
  await page.keyboard.press('Enter');
  await shown('/docs');
  await page.goto(`${url}/events`);
  await shown('/docs', 'Nightly run', 'Payment failed', '/pricing');

  // New ones are announced, and the list stays until the user wants them.
  await send(url, key, [{ type: 'log', message: 'The latest' }]);
  const announced = page.getByRole('button', { name: '1 new event' });
  await announced.waitFor();
  await shown('/docs', 'Nightly run', 'Payment failed', '/pricing');
  await announced.click();
  await shown('The latest', '/docs', 'Nightly run', 'Payment failed', '/pricing');

  await page.locator('.event-row', { hasText: 'Payment failed' }).locator('.row-link').click();
  await page.waitForURL(/\/events\/./);
  for (const text of ['/checkout', 'Payment failed', 'card declined', 'order-77', '1.4.2', 'Ada'])
    await page.getByText(text).first().waitFor();
  expect(await page.title()).toBe('Payment failed, event – Footsteps');
  await page.getByRole('link', { name: 'Show in its session' }).click();
  await page.locator('.step.error').waitFor();
  await eventually(() => page.evaluate(() => Boolean(document.activeElement?.closest('.step.error'))));
  await page.keyboard.press('Enter');
  await page.getByRole('link', { name: 'Link to this event' }).click();
  await page.getByText('card declined').waitFor();
  await page.goto(`${url}/events/unknown`);
  await page.getByText('Event not found').waitFor();
  expect(problems).toEqual([]);
  await context.close();
}, 90_000);

test('a session of 3,000 events is scrolled to its end, and only some of them are drawn', async () => {
  const key = await createProject(url);
  await send(url, key, longVisit(3_000, []));
  const { data } = await post(url, key, '{ sessions { nodes { id } } }');
  const { page, context } = await openDashboard(browser, url, key);
  await page.goto(`${url}/sessions/${encodeURIComponent(data.sessions.nodes[0].id)}`);
  await page.getByText('step 0', { exact: true }).waitFor();
  let most = 0;
  await eventually(async () => {
    await page.mouse.wheel(0, 20_000);
    const steps = await drawnSteps(page);
    most = Math.max(most, steps.length);
    return steps.at(-1) === 'step 2999';
  }, 120_000);
  console.log(`at most ${most} of 3,000 events were drawn`);
  expect(most).toBeLessThan(400);
  // And back up to the first.
  await eventually(async () => {
    await page.mouse.wheel(0, -20_000);
    return (await drawnSteps(page))[0] === 'step 0';
  }, 120_000);
  // What happens now is at the end.
  await send(url, key, [{ type: 'page view', message: 'step 3000', user: ada }]);
  await eventually(async () => {
    await page.mouse.wheel(0, 20_000);
    return (await drawnSteps(page)).at(-1) === 'step 3000';
  }, 120_000);
  await context.close();
}, 400_000);

test('“Next error” finds errors that are not loaded, goes round, and what lies before can be shown', async () => {
  const key = await createProject(url);
  await send(url, key, longVisit(1_500, [5, 1_200, 1_210]));
  const { data } = await post(url, key, '{ sessions { nodes { id } } events(first: 1) { nodes { id } } }');
  const path = `${url}/sessions/${encodeURIComponent(data.sessions.nodes[0].id)}`;
  const { page, context } = await openDashboard(browser, url, key);
  await page.goto(path);
  await page.getByText('step 0', { exact: true }).waitFor();
  const focused = (): Promise<string> =>
    page.evaluate(() => document.activeElement?.querySelector('.step-message')?.textContent ?? '');
  for (const step of ['step 5', 'step 1200', 'step 1210', 'step 5']) {
    await page.getByRole('button', { name: 'Next error' }).click();
    await eventually(async () => (await focused()) === step);
  }
  // The address of an event opens the session there.
  await page.goto(`${path}?event=${encodeURIComponent(data.events.nodes[0].id)}`);
  await eventually(async () => (await focused()) === 'step 1499');
  expect(await page.getByText('step 5', { exact: true }).count()).toBe(0);
  await page.evaluate(() => window.scrollTo(0, 0));
  const first = (await drawnSteps(page))[0]!;
  await page.getByRole('button', { name: 'Show earlier events' }).click();
  await eventually(async () => {
    const now = (await drawnSteps(page))[0]!;
    return Number(now.slice(5)) < Number(first.slice(5));
  });
  await context.close();
}, 120_000);

test('in a session one searches, and chooses a type; live events obey; the address has both', async () => {
  const key = await projectWith(url, [
    ...longVisit(150, [3]),
    { type: 'search', message: 'tents', occurredAt: ago(5), user: ada },
  ]);
  const { data } = await post(url, key, '{ sessions { nodes { id } } }');
  const { page, context } = await openDashboard(browser, url, key);
  await page.goto(`${url}/sessions/${encodeURIComponent(data.sessions.nodes[0].id)}`);
  const shown = (...texts: string[]): Promise<void> =>
    eventually(async () => JSON.stringify(await drawnSteps(page)) === JSON.stringify(texts));
  // 149 is beyond the first page.
  await page.getByLabel('Search in this session').fill('STEP 149');
  await shown('step 149');
  await page.getByLabel('Search in this session').fill('');
  await page.getByLabel('Type of the events').selectOption('error');
  await shown('step 3');
  await page.waitForURL(/type=error/);
  await send(url, key, [
    { type: 'page view', message: 'not this', user: ada },
    { type: 'error', message: 'but this', user: ada },
  ]);
  await shown('step 3', 'but this');
  await page.goto(`${page.url()}&q=nothing`);
  await page.getByText('No events of this session match').waitFor();
  await context.close();
}, 90_000);

test('times are in the zone of the browser until another is chosen; inputs are in it too; it is remembered', async () => {
  const at = '2026-01-31T22:30:00.000Z';
  const key = await createProject(url);
  const { page, context, problems } = await openDashboard(browser, url, key);
  await send(url, key, [{ type: 'page view', user: ada }]);
  const zone = page.getByLabel('Times in');
  expect(await zone.inputValue()).toBe('Europe/Berlin');
  await zone.selectOption('Asia/Tokyo');
  await page.goto(`${url}/sessions?from=${encodeURIComponent(at)}`);
  // 07:30 of the next day in Japan.
  await page.getByText(/Started from 1 Feb.* 07:30/).waitFor();
  await page.getByRole('button', { name: 'Filters' }).click();
  const from = page.getByLabel('Started from', { exact: true });
  expect(await from.inputValue()).toBe('2026-02-01T07:30');
  await from.fill('2026-02-01T09:00');
  await page.waitForURL(/from=2026-02-01T00%3A00%3A00.000Z/);
  const moment = page.locator('.session-row time').first();
  const iso = (await moment.getAttribute('datetime'))!;
  const inJapan = new Intl.DateTimeFormat('en-GB', { timeZone: 'Asia/Tokyo', timeStyle: 'short' }).format(
    new Date(iso),
  );
  expect(await moment.textContent()).toBe(inJapan);
  // The pages without the choice say so, and lead back.
  await page.getByRole('note', { name: 'Time zone' }).getByText('Times are those of Asia/Tokyo.').waitFor();
  await page.getByRole('button', { name: 'Use Europe/Berlin' }).click();
  await page.getByRole('note').waitFor({ state: 'detached' });
  expect(await page.locator('.session-row time').first().textContent()).not.toBe(inJapan);
  expect(problems).toEqual([]);
  await context.close();
}, 60_000);
