import { execFile } from 'node:child_process';
import { promisify } from 'node:util';
import type { Browser, BrowserContext, Page } from 'playwright-core';
import { createProject, post, startTestApp, type TestApp } from './app.js';
import { startChromium } from './chromium.js';
import { createTestDatabase, type TestDatabase } from './database.js';

const run = promisify(execFile);

export const SIZES = {
  desktop: { width: 1280, height: 800 },
  laptop: { width: 1180, height: 800 },
  phone: { width: 390, height: 844 },
} as const;

export interface OpenDashboard {
  page: Page;
  context: BrowserContext;
  /** `outside`: requests of the page to other servers. `problems`: errors in the browser. */
  outside: string[];
  problems: string[];
}

/** A server with its own database, and a browser. */
export interface DashboardStage {
  db: TestDatabase;
  app: TestApp;
  url: string;
  browser: Browser;
  close: () => Promise<void>;
}

export async function createDashboardStage(): Promise<DashboardStage> {
  const db = await createTestDatabase();
  const app = await startTestApp(db);
  const browser = await startChromium();
  return {
    db,
    app,
    url: app.url,
    browser,
    async close() {
      await browser.close();
      await app.close('test');
      await db.drop();
    },
  };
}

interface Look {
  theme?: 'light' | 'dark';
  size?: keyof typeof SIZES;
}

/** Opens the sign-in page of the dashboard in the browser. */
export async function openDoor(
  browser: Browser,
  url: string,
  { theme = 'light', size = 'desktop' }: Look = {},
): Promise<OpenDashboard> {
  const context = await browser.newContext({
    viewport: SIZES[size],
    colorScheme: theme,
    // Whatever moves is painted anew for each frame, here by the processor.
    reducedMotion: 'reduce',
    locale: 'en-GB',
    timezoneId: 'Europe/Berlin',
    isMobile: size === 'phone',
    hasTouch: size === 'phone',
  });
  const page = await context.newPage();
  const outside: string[] = [];
  const problems: string[] = [];
  page.on('request', (request) => {
    if (!request.url().startsWith(url)) outside.push(request.url());
  });
  page.on('pageerror', (error) => problems.push(error.message));
  page.on('console', (message) => {
    // The test itself checks failed requests.
    if (message.type() === 'error' && !message.text().startsWith('Failed to load resource'))
      problems.push(message.text());
  });
  await page.goto(`${url}/`);
  await page.getByLabel('API key or access token').waitFor();
  return { page, context, outside, problems };
}

/** Opens the dashboard and signs in with `key`. */
export async function openDashboard(
  browser: Browser,
  url: string,
  key: string,
  look: Look = {},
): Promise<OpenDashboard> {
  const opened = await openDoor(browser, url, look);
  await opened.page.getByLabel('API key or access token').fill(key);
  await opened.page.keyboard.press('Enter');
  await opened.page.getByRole('heading', { name: 'Overview' }).waitFor();
  return opened;
}

/** Makes a project with these events. Returns its key. */
export async function projectWith(url: string, events: readonly object[]): Promise<string> {
  const key = await createProject(url);
  await send(url, key, events);
  return key;
}

const INGEST =
  'mutation ($events: [EventInput!]!) { ingestEvents(events: $events) { accepted results { status sessionId } } }';

/** Sends events from this process, 1,000 at a time. Resolves with the ids of their sessions. */
export async function send(url: string, key: string, events: readonly object[]): Promise<string[]> {
  const sessions: string[] = [];
  for (let sent = 0; sent < events.length; sent += 1_000) {
    const { data, errors } = await post(url, key, INGEST, { events: events.slice(sent, sent + 1_000) });
    if (errors) throw new Error(errors[0]!.message);
    for (const { sessionId } of data.ingestEvents.results) sessions.push(sessionId);
  }
  return sessions;
}

/** Sends events from another process. */
export async function sendFromAnotherProcess(url: string, key: string, events: readonly object[]): Promise<void> {
  const program = `
    const [url, key, body] = process.argv.slice(1);
    const headers = { 'Content-Type': 'application/json', Authorization: 'Bearer ' + key };
    const { data } = await (await fetch(url + '/graphql', { method: 'POST', headers, body })).json();
    process.exit(data.ingestEvents.accepted > 0 ? 0 : 1);`;
  const body = JSON.stringify({ query: INGEST, variables: { events } });
  await run(process.execPath, ['--input-type=module', '-e', program, url, key, body]);
}

/** The time so many seconds ago, ISO 8601. */
export const ago = (seconds: number): string => new Date(Date.now() - seconds * 1_000).toISOString();
