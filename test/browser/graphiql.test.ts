import type { Browser, Page } from 'playwright-core';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { createProject, post, startTestApp, type TestApp } from '../support/app.js';
import { startChromium } from '../support/chromium.js';
import { createTestDatabase, type TestDatabase } from '../support/database.js';

let db: TestDatabase;
let watched: TestApp;
let ingesting: TestApp;
let browser: Browser;
let key: string;
beforeAll(async () => {
  db = await createTestDatabase();
  [watched, ingesting] = await Promise.all([startTestApp(db), startTestApp(db)]);
  key = await createProject(watched.url);
  browser = await startChromium();
}, 300_000);
afterAll(async () => {
  await browser?.close();
  await Promise.all([watched.close('test'), ingesting.close('test')]);
  await db.drop();
});

/** A page that notes whatever it asks of any other place. */
async function openPage(): Promise<{ page: Page; outside: string[]; problems: string[] }> {
  const page = await browser.newPage();
  const outside: string[] = [];
  const problems: string[] = [];
  page.on('request', (request) => {
    const url = request.url();
    if (!url.startsWith(watched.url) && !url.startsWith('data:') && !url.startsWith('blob:')) outside.push(url);
  });
  page.on('pageerror', (error) => problems.push(error.message));
  return { page, outside, problems };
}

test('GraphiQL works in a browser with no network but the server: it loads, and runs a query', async () => {
  const { page, outside, problems } = await openPage();
  await page.goto(`${watched.url}/graphql?query=${encodeURIComponent('{ project { name } }')}`);
  await page.getByRole('button', { name: 'Headers' }).click();
  await page.locator('.graphiql-editor:visible .view-lines').last().click();
  await page.keyboard.press('Control+A');
  await page.keyboard.insertText(JSON.stringify({ Authorization: `Bearer ${key}` }));
  // The editor closes quotes and brackets by itself: what it added behind is taken away.
  await page.keyboard.press('Control+Shift+End');
  await page.keyboard.press('Delete');
  await page.locator('button.graphiql-execute-button').click();
  await page.locator('.result-window').getByText('"name": "Project').waitFor();
  expect(outside).toEqual([]);
  expect(problems).toEqual([]);
  await page.close();
}, 60_000);

test('a page in a browser watches userPresence while the other server ingests', async () => {
  const { page } = await openPage();
  await page.goto(`${watched.url}/health/live`);
  await page.evaluate(
    ([url, token]) => {
      const heard: string[] = [];
      Object.assign(globalThis, { heard });
      const query = encodeURIComponent('subscription { userPresence { kind users { identity status } } }');
      const source = new EventSource(`${url}/graphql?query=${query}&access_token=${token}`);
      source.addEventListener('next', (event) => heard.push((event as MessageEvent<string>).data));
    },
    [watched.url, key] as const,
  );
  const heard = (word: string) =>
    page.waitForFunction(
      (text) => (globalThis as unknown as { heard: string[] }).heard.some((one) => one.includes(text)),
      word,
    );
  await heard('SNAPSHOT');
  const send = (type: string) =>
    post(ingesting.url, key, 'mutation ($events: [EventInput!]!) { ingestEvents(events: $events) { accepted } }', {
      events: [{ type, user: { identity: 'seen-in-a-browser' } }],
    });
  await send('page view');
  await heard('"seen-in-a-browser","status":"ONLINE"');
  await send('sessionend');
  await heard('"seen-in-a-browser","status":"OFFLINE"');
  await page.close();
}, 60_000);
