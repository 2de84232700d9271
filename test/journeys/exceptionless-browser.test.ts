import { readFileSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import { createRequire } from 'node:module';
import type { AddressInfo } from 'node:net';
import path from 'node:path';
import type { Browser, Page } from 'playwright-core';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { connect, createProject, eventually, listen, post, startTestApp, type TestApp } from '../support/app.js';
import { startChromium } from '../support/chromium.js';
import { look } from '../support/collector.js';
import { createTestDatabase, type TestDatabase } from '../support/database.js';

/** The real @exceptionless/browser 3.2.1 in a real Chromium, on a site of another origin than the server. */

const bundle = readFileSync(
  path.join(path.dirname(createRequire(import.meta.url).resolve('@exceptionless/browser')), 'index.bundle.min.js'),
);

const html = (serverUrl: string, key: string): string => `<!doctype html><title>Shop</title><script type="module">
  import { Exceptionless } from '/exceptionless.js';
  window.Exceptionless = Exceptionless;
  await Exceptionless.startup((config) => {
    config.apiKey = '${key}';
    config.serverUrl = '${serverUrl}';
    config.version = '2.0.0';
    config.setUserIdentity('ada+browser@example.com', 'Ada');
    config.useSessions(true, 30000);
  });
  await Exceptionless.submitLog('shop', 'opened ' + location.pathname, 'Info');
  document.title = 'ready';
</script>`;

let db: TestDatabase;
let server: TestApp;
let site: Server;
let browser: Browser;
let key: string;
let siteUrl: string;
beforeAll(async () => {
  db = await createTestDatabase();
  server = await startTestApp(db);
  key = await createProject(server.url, { sessionStart: 'RESTART' });
  site = createServer((request, response) => {
    const isScript = request.url === '/exceptionless.js';
    response.writeHead(200, { 'Content-Type': isScript ? 'text/javascript' : 'text/html' });
    response.end(isScript ? bundle : html(server.url, key));
  });
  await new Promise<void>((resolve) => site.listen(0, '127.0.0.1', resolve));
  siteUrl = `http://127.0.0.1:${(site.address() as AddressInfo).port}`;
  // The site's own pages may use the key, and no others.
  await post(
    server.url,
    key,
    'mutation ($of: [String!]!) { updateProject(settings: { allowedOrigins: $of }) { id } }',
    { of: [siteUrl] },
  );
  browser = await startChromium();
}, 300_000);
afterAll(async () => {
  await browser?.close();
  site.close();
  await server.close('test');
  await db.drop();
});

const ready = (page: Page) => page.waitForFunction(() => document.title === 'ready');
const flush = (page: Page) => page.evaluate(() => (globalThis as any).Exceptionless.processQueue());

/** Makes the page believe that its tab is hidden or shown. (A headless Chromium has no other tab to put in front.) */
const setVisibility = (page: Page, state: 'hidden' | 'visible') =>
  page.evaluate((value) => {
    Object.defineProperty(document, 'visibilityState', { configurable: true, get: () => value });
    document.dispatchEvent(new Event('visibilitychange'));
  }, state);

test('three page loads, a tab hidden and shown, an unhandled error and every kind of event make one session without a false OFFLINE; leaving makes the user OFFLINE', async () => {
  const client = connect(server.url, key);
  const presence = listen(client, 'subscription { userPresence { kind users { identity status } } }');
  await presence.until((heard) => heard.length > 0);
  const statuses = (): string[] =>
    presence.heard.slice(1).flatMap(({ users }) => users.map(({ status }: any) => status));
  const session = async (): Promise<any> => (await look(server.url, key)).sessions[0];

  const page = await browser.newPage();
  const problems: string[] = [];
  const asked: string[] = [];
  page.on('console', (message) => {
    if (message.type() === 'error' && !message.text().includes('nobody caught')) problems.push(message.text());
  });
  page.on('request', (request) => {
    if (request.url().startsWith(server.url))
      asked.push(`${request.method()} ${request.url().slice(server.url.length)}`);
  });

  await page.goto(`${siteUrl}/first`);
  await ready(page);
  await flush(page);
  await presence.until(() => statuses().length > 0);
  for (const next of ['/second', '/third']) {
    // Leaving the page sends what waits, and a closing heartbeat.
    await page.goto(`${siteUrl}${next}`);
    await ready(page);
    await flush(page);
  }

  await page.evaluate(async () => {
    const { Exceptionless } = globalThis as any;
    await Exceptionless.submitFeatureUsage('checkout');
    await Exceptionless.submitNotFound('/missing');
    await Exceptionless.createEvent().setType('order').setValue(12.5).setProperty('plan', 'gold').submit();
    await Exceptionless.submitException(new TypeError('handled'));
    setTimeout(() => {
      throw new Error('nobody caught this');
    });
  });
  await eventually(async () => {
    await flush(page);
    return (await session()).errorCount === 2;
  });

  await setVisibility(page, 'hidden');
  await setVisibility(page, 'visible');
  await page.evaluate(() => (globalThis as any).Exceptionless.submitSessionHeartbeat());
  await flush(page);
  expect(await session()).toMatchObject({ status: 'ACTIVE' });
  expect(statuses()).toEqual(['ONLINE']);

  // The page goes to another site. The URL of the closing heartbeat has had its preflight, so nothing delays it.
  await page.goto('about:blank');
  // The closing heartbeat keeps the user online for five seconds more (rule 21). On a slow machine the heartbeats before it
  // may lie more than a second apart: then they look like two tabs, and it takes up to 35 seconds.
  await presence.until(() => statuses().length > 1, 60_000);
  expect(statuses()).toEqual(['ONLINE', 'OFFLINE']);
  presence.stop();
  await client.dispose();

  const { sessions, events } = await look(server.url, key);
  expect(sessions).toHaveLength(1);
  expect(sessions[0]).toMatchObject({
    user: { identity: 'ada+browser@example.com', name: 'Ada', presence: { status: 'OFFLINE' } },
    status: 'ENDED',
    endReason: 'CLIENT',
    errorCount: 2,
    eventCount: 9,
    version: '2.0.0',
    browser: { name: expect.stringContaining('Chrom') },
    os: { name: 'Linux' },
    device: 'desktop',
    ipAddress: '127.0.0.1',
  });
  expect(sessions[0].events.nodes.map(({ type, source, message }: any) => `${type} ${message ?? source}`)).toEqual([
    'session null',
    'log opened /first',
    'log opened /second',
    'log opened /third',
    'usage checkout',
    '404 /missing',
    'order null',
    expect.stringContaining('error'),
    expect.stringContaining('error'),
  ]);
  expect(events.every(({ data }) => data['@request'].host === '127.0.0.1')).toBe(true);
  // The browser blocked nothing: preflights were granted, and the page could read every answer.
  expect(asked.filter((line) => line.startsWith('GET') && line.includes('close=true')).length).toBeGreaterThan(0);
  expect(problems).toEqual([]);
  await page.close();
}, 90_000);

test('when a tab is closed, Chromium drops the closing heartbeat; the user goes OFFLINE after presenceTimeout', async () => {
  await post(server.url, key, 'mutation { updateProject(settings: { presenceTimeout: 3 }) { id } }');
  const page = await browser.newPage();
  await page.goto(`${siteUrl}/again`);
  await ready(page);
  await flush(page);
  await page.evaluate(() => (globalThis as any).Exceptionless.submitSessionHeartbeat());
  const presence = async (): Promise<string> => (await look(server.url, key)).sessions.at(-1).user.presence.status;
  expect(await presence()).toBe('ONLINE');
  await page.close({ runBeforeUnload: true });
  await eventually(async () => (await presence()) === 'OFFLINE', 15_000);
}, 60_000);

test('a page of an origin that is not allowed gets 403, and its client drops the events', async () => {
  const before = (await look(server.url, key)).events.length;
  const page = await browser.newPage();
  // The same site by another name is another origin.
  await page.goto(`${siteUrl.replace('127.0.0.1', 'localhost')}/stranger`);
  await ready(page);
  await flush(page);
  expect(await page.evaluate(() => (globalThis as any).Exceptionless.config.services.queue._queue.length)).toBe(0);
  await page.close();
  expect((await look(server.url, key)).events).toHaveLength(before);
}, 60_000);
