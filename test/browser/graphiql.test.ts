import type { Browser, Page } from 'playwright-core';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { createProject, eventually, post, startTestApp, type TestApp } from '../support/app.js';
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

/** A page that records its requests to any other server. */
async function openPage(): Promise<{ page: Page; outside: string[]; problems: string[] }> {
  const page = await browser.newPage();
  const outside: string[] = [];
  const problems: string[] = [];
  page.on('request', (request) => {
    const url = request.url();
    if (!url.startsWith(watched.url) && !url.startsWith('data:') && !url.startsWith('blob:')) outside.push(url);
  });
  page.on('pageerror', (error) => problems.push(error.message));
  page.on('console', (message) => {
    if (message.text().includes('Content Security Policy')) problems.push(message.text());
  });
  return { page, outside, problems };
}

const graphiql = (query: string): string => `${watched.url}/graphql?query=${encodeURIComponent(query)}`;

/** Types the key into the headers, as a user does. */
async function enterKey(page: Page): Promise<void> {
  await page.getByRole('button', { name: 'Headers' }).click();
  await page.locator('.graphiql-editor:visible .view-lines').last().click();
  await page.keyboard.press('Control+A');
  await page.keyboard.insertText(JSON.stringify({ Authorization: `Bearer ${key}` }));
  // The editor closes quotes and brackets by itself. The test deletes what the editor added.
  await page.keyboard.press('Control+Shift+End');
  await page.keyboard.press('Delete');
}

const run = (page: Page) => page.locator('button.graphiql-execute-button').click();
const result = (page: Page, text: string) => page.locator('.result-window').getByText(text).first().waitFor();
const send = (type: string, identity: string) =>
  post(ingesting.url, key, 'mutation ($events: [EventInput!]!) { ingestEvents(events: $events) { accepted } }', {
    events: [{ type, user: { identity } }],
  });

test('GraphiQL loads and runs a query in a browser that can reach only the server', async () => {
  const { page, outside, problems } = await openPage();
  await page.goto(graphiql('{ project { name } }'));
  await enterKey(page);
  await run(page);
  await result(page, '"name": "Project');
  expect(outside).toEqual([]);
  expect(problems).toEqual([]);
  await page.close();
}, 60_000);

test('GraphiQL runs a subscription with the key in its headers, and shows the docs', async () => {
  const { page, problems } = await openPage();
  await page.goto(graphiql('subscription { userPresence { kind users { identity status } } }'));
  await enterKey(page);
  await run(page);
  await result(page, '"SNAPSHOT"');
  await send('page view', 'seen-in-graphiql');
  await result(page, '"seen-in-graphiql"');
  await send('sessionend', 'seen-in-graphiql');
  await result(page, '"OFFLINE"');
  // The same button ends the subscription, and so the server's watch.
  const ended = () => watched.observations.filter(({ kind }) => kind === 'watcher.closed').length;
  const before = ended();
  await run(page);
  await eventually(() => ended() > before);

  await page.getByRole('button', { name: 'Show Documentation Explorer' }).click();
  await page.locator('.graphiql-doc-explorer').getByRole('link', { name: 'Subscription' }).click();
  await page.locator('.graphiql-doc-explorer').getByText('First a SNAPSHOT of the users that match').waitFor();
  expect(problems).toEqual([]);
  await page.close();
}, 60_000);

test('GraphiQL keeps the key as long as its tab is open, and no longer', async () => {
  const context = await browser.newContext();
  const page = await context.newPage();
  await page.goto(graphiql('{ project { name } }'));
  await enterKey(page);
  await run(page);
  await result(page, '"name": "Project');
  // GraphiQL stores the headers alone, and a moment later also in their tab. After a reload it uses the tab if the two are equal.
  const inTab = () =>
    page.evaluate(() => {
      const { tabs, activeTabIndex } = JSON.parse(sessionStorage.getItem('graphiql:tabState') ?? '{"tabs":[]}');
      return [sessionStorage.getItem('graphiql:headers'), tabs[activeTabIndex]?.headers ?? null];
    });
  const headers = JSON.stringify({ Authorization: `Bearer ${key}` });
  await eventually(async () => (await inTab()).every((kept) => kept === headers));
  await page.reload();
  // The page may be ready before it has read what it stored.
  await eventually(async () => {
    await run(page);
    const answer = page.locator('.result-window').getByText('"name": "Project').first();
    return answer.waitFor({ timeout: 3_000 }).then(
      () => true,
      () => false,
    );
  }, 20_000);
  await page.close();

  const { origins, cookies } = await context.storageState({ indexedDB: true });
  expect([cookies, JSON.stringify(origins)]).toEqual([[], expect.not.stringContaining(key)]);
  const next = await context.newPage();
  await next.goto(graphiql('{ project { name } }'));
  await run(next);
  await result(next, 'UNAUTHENTICATED');
  await context.close();
}, 60_000);

test('a page in a browser watches userPresence on one server while another server ingests', async () => {
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
  await send('page view', 'seen-in-a-browser');
  await heard('"seen-in-a-browser","status":"ONLINE"');
  await send('sessionend', 'seen-in-a-browser');
  await heard('"seen-in-a-browser","status":"OFFLINE"');
  await page.close();
}, 60_000);
