import type { Browser, Page } from 'playwright-core';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { createProject, eventually, post, startTestApp } from '../support/app.js';
import {
  ago,
  createDashboardStage,
  openDashboard,
  openDoor,
  projectWith,
  send,
  type DashboardStage,
} from '../support/dashboard.js';
import { createTestDatabase } from '../support/database.js';

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

/** A key of the project of `key` with these scopes. */
async function keyWith(key: string, scopes: readonly string[]): Promise<string> {
  const { data } = await post(
    url,
    key,
    'mutation ($scopes: [Scope!]!) { createApiKey(name: "x", scopes: $scopes) { key } }',
    { scopes },
  );
  return data.createApiKey.key;
}

/** Answers of the operation `name` go through `change` before the page gets them. */
async function changeAnswers(page: Page, name: string, change: (data: any) => void | Promise<void>): Promise<void> {
  await page.route('**/graphql', async (route) => {
    if (!route.request().postData()?.includes(`query ${name}(`)) return route.fallback();
    const response = await route.fetch();
    const body = await response.json();
    await change(body.data);
    return route.fulfill({ response, json: body });
  });
}

test('the chart: large numbers have labels that are whole, and narrow bars become an area', async () => {
  const key = await projectWith(url, [{ user: ada, occurredAt: ago(3_600) }]);
  const { page, context } = await openDashboard(browser, url, key);
  // What is drawn: texts with their left edges, and the round corners that only bars have.
  await page.addInitScript(() => {
    const drawn = { texts: [] as { text: string; left: number }[], bars: 0 };
    Object.assign(globalThis, { drawn });
    const fillText = CanvasRenderingContext2D.prototype.fillText;
    CanvasRenderingContext2D.prototype.fillText = function (text, x, y) {
      const { width } = this.measureText(text);
      const share = { right: 1, center: 0.5 }[this.textAlign as string] ?? 0;
      drawn.texts.push({ text, left: this.getTransform().e + x - width * share });
      fillText.call(this, text, x, y);
    };
    const arcTo = Path2D.prototype.arcTo;
    Path2D.prototype.arcTo = function (...all) {
      drawn.bars += 1;
      arcTo.apply(this, all);
    };
  });
  const drawn = (): Promise<{ texts: { text: string; left: number }[]; bars: number }> =>
    page.evaluate(() => (globalThis as any).drawn);
  let factor = 1;
  await changeAnswers(page, 'Overview', ({ now }) => {
    for (const point of now.series) point.sessions *= factor;
  });
  for (const [sessions, label] of [
    [1, /^\d$/],
    [43_210, /^\d+k$/i],
    [98_765_432, /^\d+m$/i],
  ] as const) {
    factor = sessions;
    await page.reload();
    await page.locator('.u-over').waitFor();
    await eventually(async () => (await drawn()).texts.filter(({ text }) => label.test(text)).length > 1);
    const { texts, bars } = await drawn();
    expect(texts.filter(({ left }) => left < 0)).toEqual([]);
    expect(bars).toBeGreaterThan(0);
  }
  await page.goto(`${url}/?range=7d`);
  await eventually(async () => (await drawn()).texts.some(({ text }) => /\dm$/i.test(text)));
  expect((await drawn()).bars).toBe(0);
  await context.close();
}, 60_000);

test('a new range dims the old figures until its own are there; new figures of the same range do not', async () => {
  const key = await projectWith(url, [{ user: ada }]);
  const { page, context } = await openDashboard(browser, url, key);
  const figures = page.locator('.figures-and-chart');
  const sessions = page.locator('.figure', { hasText: 'Sessions' }).first();
  await sessions.getByText('1', { exact: true }).waitFor();
  // Each state that the page passes through.
  await page.evaluate(() => {
    const states: (string | null)[] = [];
    Object.assign(globalThis, { states });
    const box = document.querySelector('.figures-and-chart')!;
    new MutationObserver(() => states.push(box.ariaBusy)).observe(box, { attributes: true });
  });
  const states = (): Promise<string[]> => page.evaluate(() => (globalThis as any).states);
  await send(url, key, [{ user: ben }]);
  await sessions.getByText('2', { exact: true }).waitFor();
  expect(await states()).toEqual([]);

  let release!: () => void;
  const held = new Promise<void>((resolve) => (release = resolve));
  await changeAnswers(page, 'Overview', () => held);
  await page.getByRole('link', { name: '30 days' }).click();
  await eventually(async () => (await figures.getAttribute('aria-busy')) === 'true');
  expect(await figures.getAttribute('class')).toContain('is-old');
  release();
  await eventually(async () => (await figures.getAttribute('aria-busy')) === 'false');
  expect(await figures.getAttribute('class')).not.toContain('is-old');
  await context.close();
}, 60_000);

test('what moves while figures are counted does not drop their answer; they are counted once more after it', async () => {
  const key = await projectWith(url, [{ user: ada }]);
  const { page, context } = await openDashboard(browser, url, key);
  const figures = page.locator('.figures-and-chart');
  const sessions = page.locator('.figure', { hasText: 'Sessions' }).first();
  await sessions.getByText('1', { exact: true }).waitFor();
  await page.clock.install();
  const releases: (() => void)[] = [];
  await changeAnswers(page, 'Overview', () => new Promise<void>((resolve) => releases.push(resolve)));
  let looks = 0;
  page.on('request', (request) => {
    if (request.postData()?.includes('query WentWrong(')) looks += 1;
  });
  await page.getByRole('link', { name: '30 days' }).click();
  await eventually(() => releases.length === 1);
  await eventually(() => looks > 0);
  const before = looks;
  // Sessions move, which the page hears of: it reads its errors again.
  await send(url, key, [{ user: ben }]);
  await eventually(() => looks > before);
  releases[0]!();
  await eventually(async () => (await figures.getAttribute('aria-busy')) === 'false');
  await sessions.getByText('1', { exact: true }).waitFor();
  // The longest rest is over.
  await page.clock.fastForward(60_000);
  await eventually(() => releases.length === 2);
  releases[1]!();
  await sessions.getByText('2', { exact: true }).waitFor();
  await page.unrouteAll({ behavior: 'ignoreErrors' });
  await context.close();
}, 90_000);

test('a page that could not reach the server shows what it wanted as soon as the server is back', async () => {
  const db = await createTestDatabase();
  const first = await startTestApp(db);
  const port = new URL(first.url).port;
  const key = await projectWith(first.url, [{ user: ada }]);
  const { page, context } = await openDashboard(browser, first.url, key);
  await first.close('test');
  await page.getByRole('link', { name: 'Sessions', exact: true }).click();
  await page.getByText('The server cannot be reached.').waitFor();
  const second = await startTestApp(db, { PORT: port });
  await page.locator('.session-row').getByRole('link', { name: 'Ada', exact: true }).waitFor();
  await page.getByText('The server cannot be reached.').waitFor({ state: 'detached' });
  await context.close();
  await second.close('test');
  await db.drop();
}, 60_000);

test('what is counted slowly says so and holds up nothing else; what fails takes nothing else with it', async () => {
  const key = await projectWith(url, [
    { user: ada, version: '1.0.0' },
    { user: ben, type: 'error', message: 'Oh' },
  ]);
  const { page, context } = await openDashboard(browser, url, key);
  let release!: () => void;
  const held = new Promise<void>((resolve) => (release = resolve));
  await changeAnswers(page, 'Overview', () => held);
  await page.route('**/graphql', (route) =>
    route.request().postData()?.includes('"by":"BROWSER"')
      ? route.fulfill({ json: { errors: [{ message: 'Too slow', extensions: { code: 'UNAVAILABLE' } }] } })
      : route.fallback(),
  );
  await page.goto(`${url}/?range=7d`);
  await page.getByText('Counting sessions…').first().waitFor();
  await page.locator('.wrong-link').getByText('Oh').waitFor();
  await page.getByTestId('online-count').waitFor();
  await page
    .getByRole('region', { name: 'Versions' })
    .getByRole('link', { name: /^1\.0\.0/ })
    .waitFor();
  await page
    .getByRole('region', { name: 'Browsers' })
    .getByText('Too slow A shorter time range takes less time.')
    .waitFor();
  expect(await page.locator('.figure-value').count()).toBe(0);
  release();
  await page.locator('.figure', { hasText: 'Sessions' }).first().getByText('2', { exact: true }).waitFor();
  await page.getByRole('region', { name: 'Browsers' }).getByText('Too slow').waitFor();
  await context.close();
}, 60_000);

test('a list whose next page cannot be read says so at its end, keeps its rows, and goes on by itself', async () => {
  const key = await projectWith(
    url,
    Array.from({ length: 150 }, (_, place) => ({
      type: 'log',
      occurredAt: ago(place),
      user: { identity: `u${place}` },
    })),
  );
  const { page, context } = await openDashboard(browser, url, key);
  for (const [path, row] of [
    ['sessions', '.session-row'],
    ['events', '.event-row'],
  ] as const) {
    let isCut = true;
    await page.route('**/graphql', (route) =>
      isCut && /"after":"/.test(route.request().postData() ?? '') ? route.abort() : route.fallback(),
    );
    await page.goto(`${url}/${path}`);
    await page.locator(row).first().waitFor();
    await page.evaluate(() => window.scrollTo(0, document.documentElement.scrollHeight));
    const told = page.locator('.problem', { hasText: 'The server cannot be reached.' });
    await eventually(
      async () => (await told.count()) === 1 && (await told.evaluate((one) => one.getBoundingClientRect().top > 0)),
    );
    expect(await page.locator(row).count()).toBeGreaterThan(0);
    isCut = false;
    await told.waitFor({ state: 'detached' });
    await page.evaluate(() => window.scrollTo(0, document.documentElement.scrollHeight));
    await page.locator(row, { hasText: 'u149' }).waitFor();
    await page.getByText('End of the list.').waitFor();
    await page.unrouteAll();
  }
  await context.close();
}, 90_000);

test('the next page of a list that could not be read is not read for another filter', async () => {
  const key = await projectWith(url, [
    ...Array.from({ length: 150 }, (_, place) => ({ type: 'log', occurredAt: ago(place + 1), user: ada })),
    { type: 'error', message: 'Oh', user: ben },
  ]);
  const { page, context } = await openDashboard(browser, url, key);
  let release!: () => void;
  const held = new Promise<void>((resolve) => (release = resolve));
  const further: string[] = [];
  await page.route('**/graphql', async (route) => {
    const body = route.request().postData() ?? '';
    if (!body.includes('query Events(')) return route.fallback();
    if (body.includes('"after":"')) {
      further.push(body);
      return route.abort();
    }
    if (body.includes('"error"')) await held;
    return route.fallback();
  });
  await page.goto(`${url}/events`);
  await page.locator('.event-row').first().waitFor();
  await page.evaluate(() => window.scrollTo(0, document.documentElement.scrollHeight));
  await page.locator('.problem').waitFor();
  await page.getByRole('button', { name: 'Errors' }).click();
  await page.locator('[aria-busy=true]').locator('.event-row').first().waitFor();
  expect(await page.locator('.problem').count()).toBe(0);
  release();
  await page.locator('[aria-busy=false]').locator('.event-row').first().waitFor();
  expect(await page.locator('.event-row').count()).toBe(1);
  expect(further.filter((body) => body.includes('"error"'))).toEqual([]);
  await context.close();
}, 60_000);

test('the list of events and of users is dimmed while another filter is read; what is not known yet is not said to be nothing', async () => {
  const key = await projectWith(url, [{ user: ada }]);
  const { page, context } = await openDashboard(browser, url, key);
  const hold = async (name: string): Promise<() => void> => {
    let release!: () => void;
    const held = new Promise<void>((resolve) => (release = resolve));
    await changeAnswers(page, name, () => held);
    return release;
  };
  await page.goto(`${url}/users`);
  await page.locator('.user-row').waitFor();
  const users = await hold('Users');
  await page.getByRole('button', { name: 'Online', exact: true }).click();
  await page.locator('[aria-busy=true]').locator('.user-row').waitFor();
  users();
  await page.locator('[aria-busy=false]').locator('.user-row').waitFor();

  const doings = await hold('Doings');
  await page.getByRole('link', { name: 'Online', exact: true }).click();
  const latest = page.locator('[data-identity="ada@example.com"] .online-latest');
  await latest.getByText('…', { exact: true }).waitFor();
  doings();
  await latest.getByRole('link').waitFor();
  await context.close();
}, 60_000);

test('a server that takes longer than the page waits is heard: what is under way is not asked again', async () => {
  const key = await createProject(url);
  const [session] = await send(url, key, [{ user: ada, type: 'page view', source: '/pricing' }]);
  const { page, context } = await openDashboard(browser, url, key);
  let asked = 0;
  let release!: () => void;
  const held = new Promise<void>((resolve) => (release = resolve));
  await page.route('**/graphql', async (route) => {
    if (!route.request().postData()?.includes('query Session(')) return route.fallback();
    asked += 1;
    if (asked === 1) return route.abort();
    await held;
    return route.fallback();
  });
  await page.goto(`${url}/sessions/${encodeURIComponent(session!)}`);
  await page.getByText('The server cannot be reached.').waitFor();
  await eventually(() => asked === 2);
  // Signs that the server is back, as a stream that opens gives them.
  for (let sign = 0; sign < 3; sign += 1) await page.evaluate(() => window.dispatchEvent(new Event('online')));
  release();
  await page.locator('.step').getByText('/pricing').waitFor();
  expect(asked).toBe(2);

  // So it is with the events of the session that come later, and the button to try again does what it says.
  await send(
    url,
    key,
    Array.from({ length: 150 }, (_, place) => ({
      user: ada,
      type: place < 149 ? 'page view' : 'the last',
      source: `/${place}`,
    })),
  );
  let isCut = true;
  await page.route('**/graphql', (route) => {
    const body = route.request().postData() ?? '';
    return isCut && body.includes('query StepsPage(') && body.includes('"after":"') ? route.abort() : route.fallback();
  });
  await page.reload();
  await page.locator('.step').first().waitFor();
  await page.evaluate(() => window.scrollTo(0, document.documentElement.scrollHeight));
  const told = page.locator('.problem', { hasText: 'The server cannot be reached.' });
  await told.waitFor();
  // A type that is not loaded can be chosen all the same.
  await page.locator('option[value="the last"]').waitFor({ state: 'attached' });
  isCut = false;
  await told.waitFor({ state: 'detached' });
  await page.evaluate(() => window.scrollTo(0, document.documentElement.scrollHeight));
  await page.locator('.step').getByText('/149').waitFor();
  await context.close();
}, 60_000);

test('a page whose browser is online again asks at once, without waiting', async () => {
  const key = await projectWith(url, [{ user: ada }]);
  const { page, context } = await openDashboard(browser, url, key);
  await page.locator('.figure-value').first().waitFor();
  await context.setOffline(true);
  await page.getByRole('link', { name: 'Sessions', exact: true }).click();
  await page.getByText('The server cannot be reached.').waitFor();
  // The page's timers stand still: only the news that the browser is online can make it ask.
  await page.clock.install();
  await page.clock.pauseAt(Date.now() + 60_000);
  await page.getByText('The server cannot be reached.').waitFor();
  await context.setOffline(false);
  await page.locator('.session-row').getByRole('link', { name: 'Ada', exact: true }).waitFor();
  await context.close();
}, 60_000);

test('the sign-in says what a key lacks, and the menu has the pages that the key can open', async () => {
  const key = await projectWith(url, [{ user: ada }]);
  const { page, context } = await openDoor(browser, url);
  await page.getByLabel('API key or access token').fill(await keyWith(key, ['INGEST']));
  await page.getByRole('button', { name: 'Sign in' }).click();
  await page.getByText('it can only send events').waitFor();
  expect(await page.evaluate(() => JSON.stringify([sessionStorage, localStorage]))).not.toContain('fs_');
  await context.close();

  for (const [scopes, menu, heading] of [
    [['READ'], ['Overview', 'Online', 'Sessions', 'Users', 'Events', 'Project'], 'Overview'],
    [['PRESENCE'], ['Online', 'Project'], 'Online now'],
    [['MANAGE'], ['Webhooks', 'Project'], 'Webhooks'],
  ] as const) {
    const opened = await openDoor(browser, url);
    await opened.page.getByLabel('API key or access token').fill(await keyWith(key, scopes));
    await opened.page.keyboard.press('Enter');
    await opened.page.getByRole('heading', { name: heading, level: 1 }).waitFor();
    expect(await opened.page.getByRole('navigation', { name: 'Pages' }).getByRole('link').allTextContents()).toEqual(
      menu,
    );
    await opened.context.close();
  }
  const reader = await openDashboard(browser, url, await keyWith(key, ['READ']));
  await reader.page.goto(`${url}/webhooks`);
  await reader.page.getByText('It needs the scope MANAGE.').waitFor();
  // What the key may not do is not offered.
  await reader.page.goto(`${url}/users/${encodeURIComponent(ada.identity)}`);
  await reader.page.locator('.figure', { hasText: 'First seen' }).waitFor();
  expect(await reader.page.getByRole('button', { name: 'Erase…' }).count()).toBe(0);
  await reader.context.close();
  const present = await openDoor(browser, url);
  await present.page.getByLabel('API key or access token').fill(await keyWith(key, ['PRESENCE']));
  await present.page.keyboard.press('Enter');
  const onlineRow = present.page.locator('[data-identity="ada@example.com"]');
  await onlineRow.getByText('Ada', { exact: true }).waitFor();
  expect(await onlineRow.getByRole('link').count()).toBe(0);
  await present.context.close();
}, 60_000);

test('“Keep me signed in” is for all tabs of the browser, until one signs out; without it a new tab asks', async () => {
  const key = await projectWith(url, [{ user: ada }]);
  const { page, context } = await openDoor(browser, url);
  await page.getByText('A link in a new tab asks for it again.').waitFor();
  await page.getByLabel('API key or access token').fill(key);
  await page.keyboard.press('Enter');
  await page.getByRole('heading', { name: 'Overview' }).waitFor();
  const second = await context.newPage();
  await second.goto(`${url}/sessions`);
  await second.getByLabel('Keep me signed in on this browser').check();
  await second.getByText('Whoever uses this browser').waitFor();
  await second.getByLabel('API key or access token').fill(key);
  await second.keyboard.press('Enter');
  await second.getByRole('heading', { name: /^Sessions/ }).waitFor();
  const third = await context.newPage();
  await third.goto(`${url}/online`);
  await third.getByRole('heading', { name: /^Online now/ }).waitFor();
  await third.getByRole('button', { name: 'Sign out' }).click();
  await second.getByLabel('API key or access token').waitFor();
  expect(await second.evaluate(() => JSON.stringify([sessionStorage, localStorage]))).not.toContain('fs_');
  await context.close();
}, 60_000);

test('a range that contains nothing is said, at the field and in the empty list', async () => {
  const key = await projectWith(url, [{ user: ada }]);
  const { page, context } = await openDashboard(browser, url, key);
  await page.goto(`${url}/sessions?min=10&max=5`);
  await page.getByText('The minimum duration is larger than the maximum.').waitFor();
  await page.getByRole('button', { name: 'Filters' }).click();
  const most = page.getByLabel('Maximum duration (seconds)');
  expect(await most.getAttribute('aria-invalid')).toBe('true');
  await most.fill('20');
  await eventually(async () => (await most.getAttribute('aria-invalid')) === 'false');
  const day = encodeURIComponent('2026-01-31T00:00:00.000Z');
  await page.goto(`${url}/sessions?from=${day}&to=${day}`);
  await page.getByText('“Started from” is not before “Started before”.').waitFor();
  await page.goto(`${url}/events?from=${day}&to=${day}`);
  await page.getByText('The time of “From” is not before that of “Before”.').waitFor();
  await page.goto(`${url}/users?lastFrom=${day}&lastTo=${day}`);
  await page.locator('.state').getByText('“Last seen from” is not before “Last seen before”.').waitFor();
  await page.goto(`${url}/`);
  await page.getByRole('button', { name: 'Custom' }).click();
  await page.getByLabel('From', { exact: true }).fill('2026-01-31T10:00');
  await page.getByLabel('To', { exact: true }).fill('2026-01-31T09:00');
  await page.keyboard.press('Enter');
  await page.getByText('“From” is not before “To”.').waitFor();
  await page.keyboard.press('Escape');
  await eventually(() => page.evaluate(() => document.activeElement?.textContent === 'Custom'));
  await context.close();
}, 60_000);

test('a project that has events does not wait for a first one', async () => {
  const key = await projectWith(url, [{ user: ada }]);
  const { page, context } = await openDashboard(browser, url, key);
  await page.goto(`${url}/project`);
  await page.getByRole('heading', { name: 'Send events' }).waitFor();
  await page.getByText('The latest event came').waitFor();
  expect(await page.getByText('Waiting for an event').count()).toBe(0);
  await send(url, key, [{ type: 'page view', source: '/next', user: ben }]);
  await page.getByText('It works: an event has arrived').waitFor();
  await context.close();
}, 60_000);

test('titles name what a page shows, and rows show the identity under the name', async () => {
  const key = await projectWith(url, [{ user: ada }, { user: { identity: 'nameless' } }]);
  const { page, context } = await openDashboard(browser, url, key);
  expect(await page.title()).toBe('Overview – Footsteps');
  await page.locator('.rows').getByText('ada@example.com').waitFor();
  await page.getByRole('link', { name: 'Sessions', exact: true }).click();
  const row = page.locator('.session-row', { hasText: 'Ada' });
  await row.getByText('ada@example.com').waitFor();
  expect(
    await page.locator('.session-row', { hasText: 'nameless' }).locator('.muted', { hasText: 'nameless' }).count(),
  ).toBe(0);
  await eventually(async () => (await page.title()) === 'Sessions – Footsteps');
  await row.locator('.row-link').click();
  await eventually(async () => /^Ada, session of \d\d:\d\d – Footsteps$/.test(await page.title()));
  await page.getByRole('link', { name: 'Ada', exact: true }).first().click();
  await eventually(async () => (await page.title()) === 'Ada (ada@example.com) – Footsteps');
  await context.close();
}, 60_000);

test('on a phone the button to copy stands above the code', async () => {
  const key = await projectWith(url, [{ user: ada }]);
  const { page, context } = await openDashboard(browser, url, key, { size: 'phone' });
  await page.goto(`${url}/project`);
  const code = page.locator('.snippets .code-box');
  const button = (await code.getByRole('button').boundingBox())!;
  const text = (await code.locator('pre').boundingBox())!;
  expect(button.y + button.height).toBeLessThanOrEqual(text.y);
  await context.close();
}, 60_000);

test('200 conditions leave the table in sight, and each can be reached', async () => {
  const key = await projectWith(url, [{ type: 'page view', user: ada }]);
  const { page, context } = await openDashboard(browser, url, key, { size: 'phone' });
  const types = Array.from({ length: 199 }, (_, place) => `type=kind-${place}`);
  await page.goto(`${url}/sessions?type=page%20view&${types.join('&')}`);
  const row = page.locator('.session-row').first();
  await row.waitFor();
  expect((await row.boundingBox())!.y).toBeLessThan(844);
  await page.getByRole('button', { name: '190 more' }).click();
  await page.getByRole('button', { name: 'Remove Event type: kind-198' }).click();
  await page.waitForURL((address) => !address.search.includes('kind-198'));
  expect((await row.boundingBox())!.y).toBeLessThan(844);
  await context.close();
}, 60_000);

test('a long message is folded until its event is opened', async () => {
  const message = `Begin ${'x '.repeat(1_490)}end of it`;
  const key = await projectWith(url, [{ type: 'error', message, user: ada }]);
  const { page, context } = await openDashboard(browser, url, key);
  await page.locator('.wrong-link').click();
  const step = page.locator('.step.error');
  await step.getByText('Begin').waitFor();
  expect(await step.textContent()).not.toContain('end of it');
  expect((await step.boundingBox())!.height).toBeLessThan(160);
  await step.getByRole('button').first().click();
  await step.getByText('end of it').waitFor();
  await context.close();
}, 60_000);

test('keys: / searches, j and k step through rows, ? lists them, and they can be turned off', async () => {
  const key = await projectWith(
    url,
    [1, 2, 3].map((number) => ({ user: { identity: `user-${number}` }, occurredAt: ago(number) })),
  );
  const { page, context, problems } = await openDashboard(browser, url, key);
  await page.locator('.figure-value').first().waitFor();
  const focused = (): Promise<string> =>
    page.evaluate(() => {
      const row = document.activeElement?.closest('[data-index]');
      return row?.getAttribute('data-index') ?? document.activeElement?.getAttribute('type') ?? '';
    });
  await page.keyboard.press('/');
  await page.waitForURL(`${url}/sessions`);
  await eventually(async () => (await focused()) === 'search');
  await page.locator('.session-row').nth(2).waitFor();
  await page.keyboard.type('j/k?');
  expect(await page.getByRole('searchbox').inputValue()).toBe('j/k?');
  await page.getByRole('searchbox').fill('');
  await page.locator('.session-row').nth(2).waitFor();
  await page.evaluate(() => (document.activeElement as HTMLElement).blur());
  const walk: string[] = [];
  for (const press of ['j', 'j', 'k', 'j', 'j', 'j']) {
    await page.keyboard.press(press);
    walk.push(await focused());
  }
  expect(walk).toEqual(['0', '1', '0', '1', '2', '2']);
  await page.keyboard.press('Enter');
  await page.waitForURL(/sessions\/.+/);
  await page.keyboard.press('?');
  await page.getByRole('dialog', { name: 'Keys' }).waitFor();
  await page.getByLabel('Single keys are on').uncheck();
  await page.keyboard.press('Escape');
  await page.keyboard.press('/');
  await page.reload();
  await page.locator('.step').first().waitFor();
  await page.keyboard.press('?');
  await page.keyboard.press('/');
  expect(await page.getByRole('dialog').count()).toBe(0);
  expect(page.url()).toMatch(/sessions\/.+/);
  expect(problems).toEqual([]);
  await context.close();
}, 60_000);

test('Ctrl K jumps to a page, to a user by part of the name, and to a session by its id', async () => {
  const key = await createProject(url);
  const [session] = await send(url, key, [{ user: ada }, { user: ben }]);
  const { page, context, problems } = await openDashboard(browser, url, key);
  const jump = async (text: string, option: RegExp): Promise<void> => {
    await page.keyboard.press('Control+k');
    await page.getByRole('combobox', { name: /^Jump/ }).fill(text);
    await page.getByRole('option', { name: option }).waitFor();
  };
  await jump('proj', /^Project/);
  await page.keyboard.press('Enter');
  await page.waitForURL(`${url}/project`);
  await jump('BEN', /^Ben/);
  await page.keyboard.press('Enter');
  await page.waitForURL(`${url}/users/ben%40example.com`);
  await jump(session!, /^Session U/);
  await page.keyboard.press('Enter');
  await page.getByRole('heading', { name: /Ada/ }).waitFor();
  await jump('nobody of this name', /^Sessions of/);
  await page.keyboard.press('Escape');
  await page.getByRole('dialog').waitFor({ state: 'hidden' });
  await page.getByRole('button', { name: 'Jump to…' }).click();
  // The arrows choose.
  await page.keyboard.press('ArrowDown');
  await page.keyboard.press('Enter');
  await page.waitForURL(`${url}/online`);
  expect(problems).toEqual([]);
  await context.close();
}, 60_000);
