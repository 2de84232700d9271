import type { Browser } from 'playwright-core';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { createProject, eventually, OPERATOR_KEY, post } from '../support/app.js';
import {
  createDashboardStage,
  openDashboard,
  openDoor,
  projectWith,
  type DashboardStage,
  type OpenDashboard,
} from '../support/dashboard.js';
import { lookTwice } from '../support/look.js';

/** Who comes without a key of the project: the operator, and those with whom a link was shared. */

let stage: DashboardStage;
let url: string;
let browser: Browser;
beforeAll(async () => {
  stage = await createDashboardStage();
  ({ url, browser } = stage);
}, 300_000);
afterAll(() => stage?.close());

async function openAsOperator(): Promise<OpenDashboard> {
  const opened = await openDoor(browser, url);
  await opened.page.getByLabel('API key or access token').fill(OPERATOR_KEY);
  await opened.page.keyboard.press('Enter');
  await opened.page.getByRole('heading', { name: /^Projects/ }).waitFor();
  return opened;
}

const VISITS = ['ada@example.com', 'ben@example.com'].map((identity) => ({ type: 'page view', user: { identity } }));

/** The keys and the newest changes of a project, as its own key sees them. */
const stateOf = async (key: string): Promise<any> =>
  (await post(url, key, '{ project { apiKeys { name revokedAt } auditLog { nodes { action } } } }')).data.project;

test('the operator makes a project, enters one with a key of the visit, and leaves: the key is revoked', async () => {
  const key = await projectWith(url, VISITS);
  const { data } = await post(url, key, '{ project { name } }');
  const { name } = data.project as { name: string };
  const { page, context, problems, outside } = await openAsOperator();
  expect(await page.title()).toBe('Projects – Footsteps');
  expect(await page.getByRole('navigation').count()).toBe(0);

  // A project is made, and its first key is shown once.
  await page.getByLabel('Name').fill('The bakery');
  await page.getByRole('button', { name: 'Create project' }).click();
  await page.getByRole('row', { name: 'The bakery' }).waitFor();
  const first = (await page.locator('.made-key pre').textContent())!;
  expect((await post(url, first, '{ project { name } }')).data.project.name).toBe('The bakery');
  expect(await page.evaluate(() => JSON.stringify([sessionStorage, localStorage]))).not.toContain(first);
  await lookTwice(page, 'operator');

  // Nothing is made before it is confirmed.
  await page.getByRole('button', { name: `Open ${name}` }).click();
  await page.locator('dialog[open]').getByText('So a key is made for your visit').waitFor();
  await lookTwice(page, 'operator-open');
  await page.getByRole('button', { name: 'Cancel' }).click();
  expect((await stateOf(key)).apiKeys).toHaveLength(1);
  await page.getByRole('button', { name: `Open ${name}` }).click();
  await page.getByRole('button', { name: 'Make a key and open' }).click();
  await page.getByRole('heading', { name: 'Overview' }).waitFor();
  await page.getByText('You are here as the operator').waitFor();
  expect(await stateOf(key)).toMatchObject({
    apiKeys: [{ name: 'First key' }, { name: 'Visit of the operator', revokedAt: null }],
    auditLog: { nodes: [{ action: 'API_KEY_CREATED' }, { action: 'PROJECT_CREATED' }] },
  });
  await lookTwice(page, 'operator-visit');
  // The visit outlives a reload, and can change the project.
  await page.reload();
  await page.getByRole('link', { name: 'Project', exact: true }).click();
  await page
    .getByRole('row', { name: /Visit of the operator/ })
    .getByText('You', { exact: true })
    .waitFor();

  await page.getByRole('button', { name: 'Leave project' }).click();
  await page.getByRole('row', { name }).waitFor();
  await eventually(async () => (await stateOf(key)).apiKeys[1].revokedAt !== null);
  expect(await page.getByRole('alert').count()).toBe(0);
  await page.getByRole('button', { name: 'Sign out' }).click();
  await page.getByLabel('API key or access token').waitFor();
  expect(await page.evaluate(() => JSON.stringify([sessionStorage, localStorage]))).not.toMatch(/fs_|operator-key/);
  expect(problems).toEqual([]);
  expect(outside).toEqual([]);
  await context.close();
}, 120_000);

test('if the key of a visit cannot be revoked, the operator is told that it is still valid', async () => {
  const key = await createProject(url);
  const { data } = await post(url, key, '{ project { name apiKeys { id } } }');
  const { page, context } = await openAsOperator();
  await page.getByRole('button', { name: `Open ${data.project.name}` }).click();
  await page.getByRole('button', { name: 'Make a key and open' }).click();
  await page.getByText('You are here as the operator').waitFor();
  // The key of the visit becomes the last one with MANAGE, and the last one cannot be revoked.
  await post(url, key, 'mutation ($id: ID!) { revokeApiKey(id: $id) { id } }', { id: data.project.apiKeys[0].id });
  await page.getByRole('button', { name: 'Leave project' }).click();
  await page.getByRole('alert').getByText('could not be revoked, and is still valid').waitFor();
  await page.getByRole('alert').getByText('This is the last valid key of the project').waitFor();
  await context.close();
}, 120_000);

test('the list of projects has pages', async () => {
  for (let at = 0; at < 21; at += 1) await createProject(url);
  const { page, context } = await openAsOperator();
  const rows = page.getByRole('rowheader');
  await eventually(async () => (await rows.count()) === 20);
  const newest = await rows.first().textContent();
  await page.getByRole('button', { name: 'Earlier' }).click();
  await eventually(async () => (await rows.first().textContent()) !== newest);
  await page.getByRole('button', { name: 'Later' }).click();
  await eventually(async () => (await rows.first().textContent()) === newest);
  await context.close();
}, 120_000);

test('a share link shows certain users for a time, without a key; the token leaves the address and is in that of no request', async () => {
  const key = await projectWith(url, VISITS);
  const { page, context } = await openDashboard(browser, url, key);
  await page.goto(`${url}/project`);
  const card = page.locator('.card', { has: page.getByRole('heading', { name: 'Share link' }) });
  await card.getByText('They can change nothing.').waitFor();
  await card.getByLabel('Users').fill('ada@example.com\nzoe');
  await card.getByLabel('Valid for').selectOption({ label: '15 minutes' });
  await card.getByRole('button', { name: 'Create link' }).click();
  await card.getByText(/Everybody who has this link can see ada@example\.com, zoe, until/).waitFor();
  const link = (await card.locator('pre').textContent())!;
  expect(link.startsWith(`${url}/#token=`)).toBe(true);
  const token = link.slice(link.indexOf('=') + 1);

  // In a window that nobody has signed in to.
  const guest = await browser.newContext({ locale: 'en-GB' });
  const shared = await guest.newPage();
  const asked: string[] = [];
  shared.on('request', (request) => asked.push(request.url()));
  await shared.goto(link);
  await shared.getByRole('heading', { name: 'Overview' }).waitFor();
  expect(shared.url()).toBe(`${url}/`);
  expect(asked.filter((address) => address.includes(token))).toEqual([]);
  await shared.getByRole('note', { name: 'Your access token' }).getByText('ada@example.com, zoe').waitFor();
  await lookTwice(shared, 'shared');
  await shared.goto(`${url}/sessions`);
  await shared.locator('.session-row', { hasText: 'ada@example.com' }).waitFor();
  expect(await shared.locator('.session-row').count()).toBe(1);
  expect(await shared.evaluate(() => JSON.stringify(localStorage))).not.toContain(token);

  // A link for one user opens the page of the user. It works in a tab that is signed in already, too.
  await card.getByLabel('Users').fill('ben@example.com');
  await card.getByRole('button', { name: 'Create link' }).click();
  await card.getByText(/Everybody who has this link can see ben@example\.com, until/).waitFor();
  const other = (await card.locator('pre').textContent())!;
  await shared.goto(other);
  await shared.getByRole('heading', { name: 'ben@example.com' }).waitFor();
  expect(shared.url()).toBe(`${url}/users/ben%40example.com`);
  await guest.close();
  await context.close();
}, 120_000);

test('a share link in a browser that keeps a key shows only what the link shows; when it ends, the key is still kept', async () => {
  const key = await projectWith(url, VISITS);
  const spare = await post(
    url,
    key,
    'mutation { createApiKey(name: "links", scopes: [MANAGE]) { key apiKey { id } } }',
  );
  const { key: maker, apiKey } = spare.data.createApiKey;
  const made = await post(
    url,
    maker,
    'mutation { createAccessToken(scopes: [READ], identities: ["ada@example.com"]) { token } }',
  );
  const { page, context } = await openDoor(browser, url);
  await page.getByLabel('Keep me signed in on this browser').check();
  await page.getByLabel('API key or access token').fill(key);
  await page.keyboard.press('Enter');
  await page.getByRole('heading', { name: 'Overview' }).waitFor();
  // The page is open, so only the fragment changes.
  await page.goto(`${url}/#token=${made.data.createAccessToken.token}`);
  await page.getByText(/You see ada@example\.com, until/).waitFor();
  expect(page.url()).toBe(`${url}/`);
  await post(url, key, 'mutation ($id: ID!) { revokeApiKey(id: $id) { id } }', { id: apiKey.id });
  await page.getByText('This key or token is no longer valid').waitFor();
  await page.reload();
  await page.getByRole('heading', { name: 'Overview' }).waitFor();
  expect(await page.getByText(/You see ada@example\.com/).count()).toBe(0);
  await context.close();
}, 120_000);

test('a share link that has ended says so', async () => {
  const { page, context, problems } = await openDoor(browser, url);
  await page.goto(`${url}/sessions#token=not.a.token`);
  await page.getByText('This link is not valid any more.').waitFor();
  expect(page.url()).toBe(`${url}/sessions`);
  await lookTwice(page, 'shared-ended');
  expect(problems).toEqual([]);
  await context.close();
}, 120_000);
