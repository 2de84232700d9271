import type { Browser, Locator, Page } from 'playwright-core';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { eventually, OPERATOR_KEY, post } from '../support/app.js';
import {
  createDashboardStage,
  openDashboard,
  openDoor,
  projectWith,
  type DashboardStage,
  type OpenDashboard,
} from '../support/dashboard.js';
import { look } from '../support/look.js';

/** The dialogs that ask before something is done, with the keyboard alone. */

let stage: DashboardStage;
let url: string;
let browser: Browser;
beforeAll(async () => {
  stage = await createDashboardStage();
  ({ url, browser } = stage);
}, 300_000);
afterAll(() => stage?.close());

const VISIT = [{ type: 'page view', source: '/', user: { identity: 'ada@example.com', name: 'Ada' } }];
const QUERY = 'subscription { changes { cursor } }';

/** A project with a user, a second key and a webhook. */
async function fullProject(): Promise<{ key: string; spare: string; webhook: string }> {
  const key = await projectWith(url, VISIT);
  const { data } = await post(
    url,
    key,
    `mutation ($query: String!) {
      createApiKey(name: "spare", scopes: [READ]) { key }
      createWebhook(url: "https://example.com/", query: $query) { webhook { id } }
    }`,
    { query: QUERY },
  );
  return { key, spare: data.createApiKey.key, webhook: data.createWebhook.webhook.id };
}

/** The name of what has the focus; '' for the page itself. */
const focused = (page: Page): Promise<string> =>
  page.evaluate(() => {
    const at = document.activeElement;
    return at === document.body ? '' : (at?.getAttribute('aria-label') ?? at?.textContent ?? at?.id ?? '');
  });

/** Goes on with Tab until something of this name has the focus. */
async function tabTo(page: Page, name: string): Promise<void> {
  for (let presses = 0; presses < 150 && (await focused(page)) !== name; presses += 1) await page.keyboard.press('Tab');
  expect(await focused(page)).toBe(name);
}

/** Opens the dialog of a button with the keyboard. */
async function openWith(page: Page, button: string): Promise<Locator> {
  await page.getByRole('button', { name: button, exact: true }).waitFor();
  await tabTo(page, button);
  await page.keyboard.press('Enter');
  const dialog = page.getByRole('alertdialog');
  await dialog.waitFor();
  return dialog;
}

/** Whether the focus is in the open dialog, or has left the page for the browser's own buttons. */
const isInside = (page: Page): Promise<boolean> =>
  page.evaluate(() => {
    const at = document.activeElement;
    return at === document.body || document.querySelector('dialog[open]')!.contains(at);
  });

async function openAsOperator(): Promise<OpenDashboard> {
  const opened = await openDoor(browser, url);
  await opened.page.getByLabel('API key or access token').fill(OPERATOR_KEY);
  await opened.page.keyboard.press('Enter');
  await opened.page.getByRole('heading', { name: /^Projects/ }).waitFor();
  return opened;
}

test('each dialog opens on Cancel, keeps the focus, says what it is about, and gives the focus back on Escape', async () => {
  const { key, webhook } = await fullProject();
  const { data } = await post(url, key, '{ project { name } }');
  const opened = await openDashboard(browser, url, key);
  const operator = await openAsOperator();
  const dialogs = [
    [opened, '/project', 'Revoke spare', 'Revoke spare?', /will be refused/, 'Revoke'],
    [opened, `/webhooks/${webhook}`, 'Delete…', 'Delete this webhook?', /its secret ends/, 'Delete'],
    [opened, '/users/ada%40example.com', 'Erase…', 'Erase Ada?', /permanently deletes/, 'Erase permanently'],
    [operator, '/', `Open ${data.project.name}`, `Open ${data.project.name}?`, /a key is made/, 'Make a key and open'],
  ] as const;
  for (const [{ page }, path, button, title, text, does] of dialogs) {
    await page.goto(url + path);
    const dialog = await openWith(page, button);
    expect(await focused(page)).toBe('Cancel');
    await page.getByRole('alertdialog', { name: title, description: text }).waitFor();
    const stops: string[] = [];
    for (const press of ['Tab', 'Tab', 'Tab', 'Tab', 'Shift+Tab', 'Shift+Tab', 'Shift+Tab']) {
      await page.keyboard.press(press);
      expect(await isInside(page)).toBe(true);
      stops.push(await focused(page));
    }
    expect(stops).toContain(does);
    expect(stops).toContain('Cancel');
    await page.keyboard.press('Escape');
    await dialog.waitFor({ state: 'hidden' });
    expect(await focused(page)).toBe(button);
    // Cancel does the same.
    await page.keyboard.press('Enter');
    await dialog.waitFor();
    await page.keyboard.press('Enter');
    await dialog.waitFor({ state: 'hidden' });
    expect(await focused(page)).toBe(button);
  }
  // Nothing of it was done.
  const left = await post(
    url,
    key,
    '{ user(identity: "ada@example.com") { id } project { apiKeys { revokedAt } webhooks { id } } }',
  );
  expect(left.data).toMatchObject({
    user: { id: expect.any(String) },
    project: { apiKeys: [{ revokedAt: null }, { revokedAt: null }], webhooks: [{ id: webhook }] },
  });
  expect([...opened.problems, ...operator.problems]).toEqual([]);
  await opened.context.close();
  await operator.context.close();
}, 120_000);

test('what is confirmed is done, and the focus goes to what is there afterwards', async () => {
  const { key, spare, webhook } = await fullProject();
  const { page, context, problems } = await openDashboard(browser, url, key);
  const confirm = async (button: string, does: string): Promise<void> => {
    const dialog = await openWith(page, button);
    await tabTo(page, does);
    await page.keyboard.press('Enter');
    await dialog.waitFor({ state: 'hidden' });
  };
  await page.goto(`${url}/project`);
  await confirm('Revoke spare', 'Revoke');
  await page.getByText(/^Revoked/).waitFor();
  expect(await focused(page)).toBe('Keys');
  expect((await post(url, spare, '{ project { name } }')).status).toBe(401);

  const atMain = (): Promise<boolean> => page.evaluate(() => document.activeElement?.id === 'main');
  await page.goto(`${url}/webhooks/${webhook}`);
  await confirm('Delete…', 'Delete');
  await page.getByText('No webhooks yet').waitFor();
  expect(await atMain()).toBe(true);
  await page.goto(`${url}/users/ada%40example.com`);
  await confirm('Erase…', 'Erase permanently');
  await page.getByRole('heading', { name: 'ada@example.com was erased' }).waitFor();
  expect(await atMain()).toBe(true);
  expect(problems).toEqual([]);
  await context.close();
}, 120_000);

test('what the server refuses is announced, each time, and the dialog can be used again', async () => {
  const key = await projectWith(url, VISIT);
  const { page, context, problems } = await openDashboard(browser, url, key, { size: 'phone', theme: 'dark' });
  await page.goto(`${url}/project`);
  const dialog = await openWith(page, 'Revoke First key');
  await tabTo(page, 'Revoke');
  await page.keyboard.press('Enter');
  const alert = dialog.getByRole('alert');
  await alert.getByText('This is the last valid key of the project').waitFor();
  expect(await focused(page)).toBe('Revoke');
  await look(page, 'confirm-refused-dark-phone');
  // The same words again are another announcement: an element that was not there before.
  const first = await alert.elementHandle();
  await page.keyboard.press('Enter');
  await eventually(async () => !(await first.evaluate((element) => element.isConnected)));
  await alert.waitFor();
  // Opened again, it does not begin with what was refused before.
  await page.keyboard.press('Escape');
  await dialog.waitFor({ state: 'hidden' });
  expect(await focused(page)).toBe('Revoke First key');
  await page.keyboard.press('Enter');
  await dialog.waitFor();
  expect(await alert.count()).toBe(0);

  await post(url, key, 'mutation { createApiKey(name: "other", scopes: [MANAGE]) { apiKey { id } } }');
  await tabTo(page, 'Revoke');
  await page.keyboard.press('Enter');
  await page.getByText('This key or token is no longer valid').waitFor();
  expect(problems).toEqual([]);
  await context.close();
}, 120_000);

test('while the server works the button says so and asks it once; a refusal opens a closed dialog again', async () => {
  const { key, webhook } = await fullProject();
  const { page, context, problems } = await openDashboard(browser, url, key);
  await page.goto(`${url}/webhooks/${webhook}`);
  let asked = 0;
  let letGo = (): void => undefined;
  const held = new Promise<void>((resolve) => {
    letGo = resolve;
  });
  await page.route('**/graphql', async (route) => {
    if (route.request().postData()?.includes('mutation DeleteWebhook')) {
      asked += 1;
      await held;
    }
    await route.continue();
  });
  const dialog = await openWith(page, 'Delete…');
  await dialog.getByRole('button', { name: 'Delete', exact: true }).dblclick();
  const working = dialog.getByRole('button', { name: 'Deleting…' });
  await working.waitFor();
  expect(await working.isDisabled()).toBe(true);
  expect(await focused(page)).toBe('Deleting…');
  await page.keyboard.press('Enter');
  expect(await dialog.getByRole('button', { name: 'Close' }).count()).toBe(1);
  await page.keyboard.press('Escape');
  await dialog.waitFor({ state: 'hidden' });
  expect(await focused(page)).toBe('Delete…');

  // Meanwhile somebody else deletes it, so the server refuses.
  await post(url, key, 'mutation ($id: ID!) { deleteWebhook(id: $id) }', { id: webhook });
  letGo();
  await dialog.getByRole('alert').waitFor();
  expect(await focused(page)).toBe('Cancel');
  expect(asked).toBe(1);
  expect(problems).toEqual([]);
  await context.close();
}, 120_000);
