import type { Browser } from 'playwright-core';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { eventually, createProject, post, startTestApp, type TestApp } from '../support/app.js';
import { startChromium } from '../support/chromium.js';
import { openDashboard, send, SIZES } from '../support/dashboard.js';
import { look } from '../support/look.js';
import { createTestDatabase, type TestDatabase } from '../support/database.js';
import { startReceiver, type Receiver } from '../support/webhooks.js';

/** The pages of webhooks in a real browser, on a server that may post to this machine. */

let db: TestDatabase;
let app: TestApp;
let browser: Browser;
let receiver: Receiver;
let key: string;
const secrets: string[] = [];
beforeAll(async () => {
  db = await createTestDatabase();
  app = await startTestApp(db, { WEBHOOKS_TO: 'private' });
  [browser, receiver, key] = await Promise.all([startChromium(), startReceiver(() => secrets), createProject(app.url)]);
}, 120_000);
afterAll(async () => {
  await browser.close();
  await app.close('test');
  await receiver.close();
  await db.drop();
});

const event = (message: string) => ({ type: 'error', message, user: { identity: 'ada@example.com', name: 'Ada' } });

test('a webhook from its making to its end', async () => {
  const { page, problems, outside, context } = await openDashboard(browser, app.url, key);
  await page.getByRole('link', { name: 'Webhooks' }).click();
  await page.getByText('No webhooks yet').waitFor();
  await page.getByText('The query is valid.').waitFor();

  // The query is checked while it is typed, as the server will check it.
  const query = page.getByLabel('Query: one subscription of changes');
  await query.fill('subscription { changes { colour } }');
  await page.getByText(/Cannot query field "colour" on type "Change"/).waitFor();
  await page.getByLabel('Variables, as JSON').fill('{');
  await page.getByText('The variables are not a JSON object.').waitFor();
  await page.getByLabel('Variables, as JSON').fill('');
  await page.getByRole('button', { name: 'Errors', exact: true }).click();
  await page.getByText('The query is valid.').waitFor();

  await page.getByLabel('URL of the receiver').fill('http://169.254.169.254/latest/meta-data');
  await page.getByRole('button', { name: 'Create webhook' }).click();
  await page
    .getByRole('alert')
    .getByText(/link-local/)
    .waitFor();
  await page.getByLabel('URL of the receiver').fill(receiver.url);
  await page.getByLabel('Name').fill('Errors to the pager');
  await page.getByRole('button', { name: 'Create webhook' }).click();
  secrets.push(await page.locator('.made-key pre').innerText());
  expect(secrets[0]).toMatch(/^whsec_/);
  await look(page, 'webhooks-light-desktop', { fullPage: true });

  // It delivers, and shows how.
  await send(app.url, key, [event('The payment failed')]);
  await eventually(() => receiver.received.length === 1);
  expect(receiver.received[0]!.results[0].data.changes.event.message).toBe('The payment failed');
  await page.getByRole('link', { name: 'Errors to the pager' }).click();
  await page.getByRole('row', { name: /200/ }).waitFor();
  receiver.answers = [204, 410, 200];
  await page.getByRole('button', { name: 'Send a test' }).click();
  await page.getByText(/The test was answered with 204/).waitFor();
  expect(receiver.received[1]!.type).toBe('test');

  // It is given up, with the reason, and goes back to the beginning.
  await send(app.url, key, [event('Another one')]);
  await eventually(async () => {
    const { data } = await post(app.url, key, '{ project { webhooks { enabled } } }');
    return data.project.webhooks[0].enabled === false;
  });
  await page.reload();
  await page.getByText(/Stopped\. The receiver answered 410 Gone/).waitFor();
  for (const theme of ['light', 'dark'] as const) {
    await page.emulateMedia({ colorScheme: theme });
    for (const size of ['desktop', 'phone'] as const) {
      await page.setViewportSize(SIZES[size]);
      await look(page, `webhook-${theme}-${size}`, { fullPage: true });
    }
  }
  await page.setViewportSize(SIZES.desktop);
  await page.getByLabel('Continue').selectOption({ label: 'with everything that the feed keeps' });
  await page.getByRole('button', { name: 'Start', exact: true }).click();
  await eventually(() => receiver.received.length === 4);
  expect(receiver.received[3]!.results).toHaveLength(2);

  // Another secret, another name, the end.
  await page.getByRole('button', { name: 'New secret' }).click();
  secrets.push(await page.locator('.made-key pre').innerText());
  await send(app.url, key, [event('Signed twice')]);
  await eventually(() => receiver.received.length === 5);
  expect(receiver.forged).toEqual([]);
  await page.getByLabel('Name').fill('Another name');
  await page.getByRole('button', { name: 'Save' }).click();
  await page.getByText('Saved.').waitFor();
  await page.getByRole('button', { name: 'Delete…' }).click();
  await page.getByRole('alertdialog').getByRole('button', { name: 'Delete' }).click();
  await page.getByText('No webhooks yet').waitFor();
  await page.emulateMedia({ colorScheme: 'dark' });
  await page.setViewportSize(SIZES.phone);
  await look(page, 'webhooks-dark-phone', { fullPage: true });
  expect(outside).toEqual([]);
  expect(problems).toEqual([]);
  await context.close();
}, 90_000);
