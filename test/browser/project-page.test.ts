import type { Browser, Locator, Page } from 'playwright-core';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { createProject, eventually, post } from '../support/app.js';
import {
  createDashboardStage,
  openDashboard,
  openDoor,
  projectWith,
  type DashboardStage,
} from '../support/dashboard.js';
import { lookTwice } from '../support/look.js';

/** The project's page: what a key may do, and all that can be set, made and read there. */

let stage: DashboardStage;
let url: string;
let browser: Browser;
beforeAll(async () => {
  stage = await createDashboardStage();
  ({ url, browser } = stage);
}, 300_000);
afterAll(() => stage?.close());

const card = (page: Page, title: string): Locator =>
  page.locator('.card', { has: page.getByRole('heading', { name: title, exact: true }) });

/** Another key of the project, with these scopes. */
async function keyWith(key: string, scopes: readonly string[], name = scopes.join(' ')): Promise<string> {
  const { data } = await post(
    url,
    key,
    'mutation ($name: String!, $scopes: [Scope!]!) { createApiKey(name: $name, scopes: $scopes) { key } }',
    { name, scopes },
  );
  return data.createApiKey.key;
}

/** Signs in with a key that may not see the overview, and opens the project page. */
async function openWith(key: string): ReturnType<typeof openDoor> {
  const opened = await openDoor(browser, url);
  await opened.page.getByLabel('API key or access token').fill(key);
  await opened.page.keyboard.press('Enter');
  await opened.page.getByRole('button', { name: 'Sign out' }).waitFor();
  await opened.page.goto(`${url}/project`);
  await card(opened.page, 'Your key').waitFor();
  return opened;
}

const VISIT = [{ type: 'page view', source: '/', user: { identity: 'ada@example.com', name: 'Ada' } }];

test('a key with READ sees the settings and cannot change them; what it may not do is not offered', async () => {
  const key = await projectWith(url, VISIT);
  await post(url, key, 'mutation { setClientSettings(settings: [{ key: "@@log:*", value: "warn" }]) { id } }');
  const { page, context, problems } = await openDashboard(browser, url, await keyWith(key, ['READ']));
  await page.goto(`${url}/project`);
  await card(page, 'Your key').getByText('It needs the scope MANAGE.').waitFor();
  expect(await page.getByLabel('Inactivity timeout').isDisabled()).toBe(true);
  expect(await page.getByLabel('Origins of the pages').isEditable()).toBe(false);
  await card(page, 'Client settings').getByText('@@log:*').waitFor();
  await page.getByText('To see keys, to make keys and tokens').waitFor();
  for (const name of ['Save', 'Set', 'Remove', 'Create key', 'Create token', 'Create a key for sending events'])
    expect([name, await page.getByRole('button', { name }).count()]).toEqual([name, 0]);
  await lookTwice(page, 'project-read', { fullPage: true });
  expect(problems).toEqual([]);
  await context.close();
}, 120_000);

test('a key with MANAGE alone changes the project and is told that it cannot see events', async () => {
  const { page, context, problems } = await openWith(await keyWith(await createProject(url), ['MANAGE']));
  await card(page, 'Your key').getByText('It needs the scope READ.', { exact: false }).waitFor();
  await card(page, 'Send events').getByText('To see events arrive').waitFor();
  await page.getByLabel('Name', { exact: true }).fill('Managed');
  await card(page, 'Settings').getByRole('button', { name: 'Save' }).click();
  await card(page, 'Settings').getByText('Saved.').waitFor();
  await card(page, 'Audit log').getByText('"name": "Managed"').waitFor({ state: 'attached' });
  expect(problems).toEqual([]);
  await context.close();
}, 120_000);

test('a key that only sees who is online is told which scopes the project needs', async () => {
  const { page, context, problems } = await openWith(await keyWith(await createProject(url), ['PRESENCE']));
  await page.getByText('To see the project’s settings, use a key with the scope READ.').waitFor();
  expect(await page.getByRole('heading', { name: /^Project [0-9a-f]{8}$/ }).count()).toBe(1);
  await lookTwice(page, 'project-presence', { fullPage: true });
  expect(problems).toEqual([]);
  await context.close();
}, 120_000);

test('an access token is made for certain users and a time, shown once, and signs in with what it may do', async () => {
  const key = await projectWith(url, [...VISIT, { type: 'page view', user: { identity: 'ben@example.com' } }]);
  const { page, context, problems } = await openDashboard(browser, url, key);
  await page.goto(`${url}/project`);
  const tokens = card(page, 'Access tokens');
  await tokens.getByText('Tokens are not listed here').waitFor();
  // A token cannot have MANAGE, so it is not offered.
  await tokens.getByRole('checkbox', { name: /^READ/ }).waitFor();
  expect(await tokens.getByRole('checkbox').count()).toBe(3);
  await tokens.getByLabel('Lifetime').fill('30');
  await tokens.getByLabel('Users').fill(' ada@example.com \n\nzoe\n');
  await tokens.getByRole('button', { name: 'Create token' }).click();
  await tokens.getByText(/A token for 2 users was created\. It is valid until/).waitFor();
  const token = (await tokens.locator('pre').textContent())!;
  const { data } = await post(url, token, '{ sessions { nodes { user { identity } } } }');
  expect(data.sessions.nodes).toEqual([{ user: { identity: 'ada@example.com' } }]);
  const claims = JSON.parse(Buffer.from(token.split('.')[1]!, 'base64url').toString()) as Record<string, number>;
  expect(claims).toMatchObject({ scopes: ['READ'], identities: ['ada@example.com', 'zoe'] });
  expect(claims['exp']! - claims['iat']!).toBe(30 * 60);

  // What the server refuses is told beside the button.
  await tokens.getByLabel('Users').fill(Array.from({ length: 400 }, (_, at) => `user-${at}@example.com`).join('\n'));
  await tokens.getByRole('button', { name: 'Create token' }).click();
  await tokens.getByRole('alert').getByText('At most 3072 characters fit').waitFor();
  expect(await page.evaluate(() => JSON.stringify([sessionStorage, localStorage]))).not.toContain(token);
  expect(problems).toEqual([]);
  await context.close();

  const held = await openDashboard(browser, url, token);
  await held.page.goto(`${url}/project`);
  await held.page.getByText('You see ada@example.com, zoe. The token ends on').waitFor();
  await held.context.close();
}, 120_000);

test('the rate limit and the settings of Exceptionless clients are set, changed and removed', async () => {
  const key = await createProject(url);
  const { page, context, problems } = await openDashboard(browser, url, key);
  await page.goto(`${url}/project`);
  const settings = card(page, 'Settings');
  const rateLimit = async (): Promise<number | null> =>
    (await post(url, key, '{ project { settings { rateLimit } } }')).data.project.settings.rateLimit;
  await settings.getByLabel('Rate limit').fill('90000');
  await settings.getByRole('button', { name: 'Save' }).click();
  await settings.getByText('Saved.').waitFor();
  expect(await rateLimit()).toBe(90_000);
  await settings.getByLabel('Rate limit').fill('');
  await settings.getByRole('button', { name: 'Save' }).click();
  await eventually(async () => (await rateLimit()) === null);

  const clients = card(page, 'Client settings');
  await clients.getByText('No settings').waitFor();
  const set = async (name: string, value: string): Promise<void> => {
    await clients.getByLabel('Setting', { exact: true }).fill(name);
    await clients.getByLabel('Value').fill(value);
    await clients.getByRole('button', { name: 'Set', exact: true }).click();
    await clients.getByRole('row', { name: `${name} ${value}` }).waitFor();
  };
  await set('@@log:*', 'warn');
  await set('UserPatience', 'x'.repeat(300));
  await clients.getByRole('button', { name: 'Change @@log:*' }).click();
  await clients.getByLabel('Value').fill('info');
  await clients.getByRole('button', { name: 'Set', exact: true }).click();
  await clients.getByRole('row', { name: '@@log:* info' }).waitFor();
  await clients.getByText('Version 3').waitFor();
  await lookTwice(page, 'project-full', { fullPage: true });
  await clients.getByRole('button', { name: 'Remove @@log:*' }).click();
  await clients.getByRole('row', { name: '@@log:*' }).waitFor({ state: 'detached' });
  const { data } = await post(url, key, '{ project { clientSettings { entries { key } } } }');
  expect(data.project.clientSettings.entries).toEqual([{ key: 'UserPatience' }]);
  expect(problems).toEqual([]);
  await context.close();
}, 120_000);

test('the audit log says who changed what and when, in pages, with details that fold', async () => {
  const key = await createProject(url);
  const other = await keyWith(key, ['MANAGE'], 'deploy script');
  for (let at = 0; at < 20; at += 1)
    await post(url, other, 'mutation ($name: String!) { updateProject(name: $name) { id } }', { name: `Name ${at}` });
  const { page, context, problems } = await openDashboard(browser, url, key);
  await page.goto(`${url}/project`);
  const log = card(page, 'Audit log');
  const entries = log.getByRole('listitem');
  await entries.first().getByText('By deploy script').waitFor();
  expect(await entries.count()).toBe(20);
  expect(await entries.first().locator('time').getAttribute('title')).toContain(String(new Date().getFullYear()));
  expect(await entries.first().locator('pre').isVisible()).toBe(false);
  await entries.first().getByText('Details').click();
  await entries.first().getByText('"name": "Name 19"').waitFor();
  await log.getByRole('button', { name: 'Earlier' }).click();
  await log.getByText('The project was made, with a first key.').waitFor();
  await entries.last().getByText('By the operator, or the server').waitFor();
  expect(await entries.count()).toBe(2);
  expect(await log.getByRole('button', { name: 'Earlier' }).isDisabled()).toBe(true);
  await log.getByRole('button', { name: 'Later' }).click();
  await eventually(async () => (await entries.count()) === 20);

  // A change on the page itself is in the log at once.
  await page.locator('.make-key').getByLabel('New key name').fill('web');
  await page.getByRole('button', { name: 'Create key', exact: true }).click();
  await entries.first().getByText('A key was made.').waitFor();
  await entries.first().getByText('By First key').waitFor();
  expect(problems).toEqual([]);
  await context.close();
}, 120_000);

test('the list of keys names the key of the user, who is told before revoking it', async () => {
  const key = await createProject(url);
  await keyWith(key, ['MANAGE'], 'spare');
  const { page, context } = await openDashboard(browser, url, key);
  await page.goto(`${url}/project`);
  await page
    .getByRole('row', { name: /First key/ })
    .getByText('You', { exact: true })
    .waitFor();
  expect(await page.getByText('You', { exact: true }).count()).toBe(1);
  await page.getByRole('button', { name: 'Revoke First key' }).click();
  await page.getByText('You are signed in with this key, and will be signed out.').waitFor();
  await page.getByRole('alertdialog').getByRole('button', { name: 'Revoke' }).click();
  await page.getByText('This key or token is no longer valid').waitFor();
  await context.close();
}, 120_000);
