import type { Browser, Page } from 'playwright-core';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { createPresent } from '../../src/demo/present.js';
import { tellPast } from '../../src/demo/past.js';
import type { Person } from '../../src/demo/visits.js';
import { uuidAt } from '../../src/domain/event-id.js';
import { userIdOf } from '../../src/domain/identity.js';
import { createApi } from '../../src/demo/api.js';
import { createProject, post, startTestApp, type TestApp } from '../support/app.js';
import { startChromium } from '../support/chromium.js';
import { openDashboard, openDoor, send, SIZES } from '../support/dashboard.js';
import { isCutOff, look, PICTURES } from '../support/look.js';
import { createTestDatabase, type TestDatabase } from '../support/database.js';
import { uuidIn } from '../support/tenant.js';

let db: TestDatabase;
let app: TestApp;
let url: string;
let browser: Browser;
let key: string;
let bareKey: string;
let people: readonly Person[];
let session: string;
let user: string;
let event: string;
beforeAll(async () => {
  db = await createTestDatabase();
  app = await startTestApp(db);
  ({ url } = app);
  [key, bareKey] = await Promise.all([createProject(url), createProject(url)]);
  const now = Date.now();
  const past = tellPast(now, 600);
  people = past.people.slice(0, 8);
  await send(url, key, past.events);
  const present = createPresent(createApi(url, key), past.people);
  for (let step = 0; step < 8; step += 1) await present.step(now + step * 4_000);
  const { data } = await post(
    url,
    key,
    '{ sessions(first: 20, filter: { hasErrors: true, status: ENDED }) { nodes { id user { identity } events(first: 1, filter: { types: ["error"] }) { nodes { id } } } } }',
  );
  // Some visitors have not signed in.
  const known = data.sessions.nodes.find((one: { user: object | null }) => one.user);
  session = known.id;
  user = known.user.identity;
  event = known.events.nodes[0].id;
  await tellPresence(now);
  browser = await startChromium();
}, 300_000);
afterAll(async () => {
  await browser?.close();
  await app.close('test');
  await db.drop();
});

/** Presence is told as it happens, and not of past events. So the pictures get the changes of six days. */
async function tellPresence(now: number): Promise<void> {
  const { data } = await post(url, key, '{ project { id } }');
  await db.open().query({
    name: 'test.presence',
    text: `INSERT INTO presence_changes (project_id, id, user_id, at, previous_since, online_sessions, previous_sessions, cause)
           SELECT $1, id, $2, at, at, sessions, 1 - sessions, 'HEARD' FROM unnest($3::uuid[], $4::timestamptz[], $5::integer[]) k (id, at, sessions)`,
    values: [
      uuidIn(data.project.id),
      userIdOf(uuidIn(data.project.id), user),
      ...[uuidAt, (at: number) => new Date(at), (_at: number, index: number) => (index + 1) % 2].map((of) =>
        [6, 5, 4, 3, 2, 1]
          .flatMap((day) => [0, 45, 180, 190, 400, 700].map((minute) => now - day * 86_400_000 + minute * 60_000))
          .map((at, index) => of(at, index)),
      ),
    ],
  });
}

/** Some are online when the page of those online is reached, however long it took to come there. */
const bringOnline = (): Promise<unknown> =>
  send(
    url,
    key,
    people.map(({ identity, name }) => ({ type: 'page view', source: '/pricing', user: { identity, name } })),
  );

/** Every page, with the element that shows that the page is ready. */
const pages = (): [name: string, path: string, ready: (page: Page) => Promise<unknown>][] => [
  [
    'overview',
    '/',
    async (page) => {
      await page.locator('.u-over').waitFor();
      await page.locator('.peak').waitFor();
      await page.locator('.breakdown-bar').first().waitFor();
    },
  ],
  ['online', '/online', (page) => page.locator('.online-latest a').first().waitFor()],
  ['sessions', '/sessions', (page) => page.locator('.session-row').nth(5).waitFor()],
  ['session', `/sessions/${encodeURIComponent(session)}`, (page) => page.locator('.step.error').first().waitFor()],
  ['user', `/users/${encodeURIComponent(user)}`, (page) => page.locator('.online-spell').first().waitFor()],
  ['users', '/users', (page) => page.locator('.user-row').nth(5).waitFor()],
  ['events', '/events', (page) => page.locator('.event-row').nth(5).waitFor()],
  ['event', `/events/${encodeURIComponent(event)}`, (page) => page.getByText('Show in its session').waitFor()],
  ['project', '/project', (page) => page.getByRole('rowheader', { name: 'First key' }).waitFor()],
];

/** What is cut off or wrapped: cells of the list of sessions that leave their row, and changes of figures on two lines. */
const cutOff = (page: Page): Promise<string[]> =>
  page.evaluate(() => {
    const cells = [...document.querySelectorAll('.session-row > *, .session-head [role=row] > *')];
    const outside = cells.filter((cell) => {
      const row = cell.parentElement!.getBoundingClientRect();
      const last = cell.lastElementChild?.getBoundingClientRect();
      // On phones the head is only for screen readers, and its row has no width to speak of.
      const isSeen = !cell.closest('.session-head') || cell.closest('.session-head')!.clientWidth > 1;
      return isSeen && Math.max(cell.getBoundingClientRect().right, last?.right ?? 0) > row.right;
    });
    const wrapped = [...document.querySelectorAll('.change')].filter(
      (change) => change.getBoundingClientRect().height > 28,
    );
    return [...outside, ...wrapped].map(({ textContent }) => textContent);
  });

/** A phone is a browser of its own kind. A laptop is only narrower than a desktop. */
test.each(['desktop', 'phone'] as const)(
  'every page on a %s, light and dark: nothing is cut off, and axe finds no fault',
  async (size) => {
    async function check(page: Page, name: string): Promise<void> {
      for (const theme of ['dark', 'light'] as const) {
        await page.emulateMedia({ colorScheme: theme });
        await look(page, `${name}-${theme}-${size}`);
        expect(await cutOff(page)).toEqual([]);
      }
      if (size === 'phone') return;
      await page.setViewportSize(SIZES.laptop);
      await page.screenshot({ path: `${PICTURES}${name}-light-laptop.png` });
      expect(await isCutOff(page)).toBe(false);
      expect(await cutOff(page)).toEqual([]);
      await page.setViewportSize(SIZES.desktop);
    }
    const door = await openDoor(browser, url, { size });
    await check(door.page, 'door');
    await door.context.close();

    const { page, context, outside, problems } = await openDashboard(browser, url, key, { size });
    for (const [name, path, ready] of pages()) {
      if (name === 'online') await bringOnline();
      await page.goto(url + path);
      await ready(page);
      await check(page, name);
    }
    await page.locator('#main').getByRole('button', { name: 'Create a key for sending events' }).click();
    await page.getByRole('button', { name: 'Revoke First key' }).click();
    await check(page, 'project-revoke');

    await page.goto(`${url}/sessions?browser=Chrome&errors=yes`);
    await page.getByRole('button', { name: 'Filters' }).click();
    await page.locator('.session-row').first().waitFor();
    await check(page, 'sessions-filters');
    await page.goto(`${url}/sessions?user=nobody`);
    await page.getByText('No sessions match').waitFor();
    await check(page, 'sessions-empty');
    await page.goto(`${url}/sessions/${encodeURIComponent(session)}`);
    await page.locator('.step.error button').first().click();
    await page.locator('.step-data pre').first().waitFor();
    await check(page, 'session-data');
    expect({ outside, problems }).toEqual({ outside: [], problems: [] });
    await context.close();

    const bare = await openDashboard(browser, url, bareKey, { size });
    await bare.page.getByText('Waiting for an event').waitFor();
    await check(bare.page, 'first-event');
    await bare.context.close();
  },
  300_000,
);

test('the list of sessions fits into a window of any width', async () => {
  const { page, context } = await openDashboard(browser, url, key);
  await page.goto(`${url}/sessions`);
  await page.locator('.session-row').nth(5).waitFor();
  for (const width of [761, 804, 904, 905, 980, 1018, 1019, 1100, 1116, 1117, 1160, 1259, 1260]) {
    await page.setViewportSize({ width, height: 800 });
    expect({ width, cutOff: await cutOff(page) }).toEqual({ width, cutOff: [] });
    await page.screenshot({ path: `${PICTURES}sessions-${width}.png` });
  }
  await context.close();
}, 60_000);

test('the theme follows the system until the user chooses one, and the choice is remembered', async () => {
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

test('the pages of sessions can be reached and used with the keyboard alone', async () => {
  const { page, context } = await openDashboard(browser, url, key);
  await page.locator('.u-over').waitFor();
  const focused = (): Promise<string> =>
    page.evaluate(() => (document.activeElement as HTMLElement | null)?.innerText ?? '');
  await page.keyboard.press('Tab');
  expect(await focused()).toBe('Skip to content');
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
