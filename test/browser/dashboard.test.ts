import { once } from 'node:events';
import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { Browser } from 'playwright-core';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { createProject, eventually, post, startTestApp } from '../support/app.js';
import {
  ago,
  openDashboard,
  openDoor,
  projectWith,
  send,
  sendFromAnotherProcess,
  createDashboardStage,
  type DashboardStage,
} from '../support/dashboard.js';
import { createTestDatabase } from '../support/database.js';
import { startOwnRedis } from '../support/redis.js';

const CHROME =
  'Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/141.0.0.0 Safari/537.36';
const FIREFOX = 'Mozilla/5.0 (X11; Linux x86_64; rv:143.0) Gecko/20100101 Firefox/143.0';

let stage: DashboardStage;
let url: string;
let browser: Browser;
beforeAll(async () => {
  stage = await createDashboardStage();
  ({ url, browser } = stage);
}, 300_000);
afterAll(() => stage?.close());

const request = (agent: string): object => ({ '@request': { user_agent: agent, client_ip_address: '203.0.113.7' } });
const ada = { identity: 'ada@example.com', name: 'Ada' };
const ben = { identity: 'ben@example.com', name: 'Ben' };

/** A visit of Ada an hour ago with an error in it, and one of Ben a minute ago. */
const TWO_VISITS = [
  { type: 'page view', source: '/pricing', occurredAt: ago(3_600), user: ada, version: '1.4.2', data: request(CHROME) },
  { type: 'page view', source: '/checkout', occurredAt: ago(3_420), user: ada },
  {
    type: 'error',
    message: 'Payment failed',
    source: '/checkout',
    occurredAt: ago(3_410),
    user: ada,
    data: { reason: 'card declined' },
  },
  { type: 'sessionend', occurredAt: ago(3_400), user: ada },
  { type: 'page view', source: '/docs', occurredAt: ago(60), user: ben, data: request(FIREFOX) },
];

test('sign-in: a wrong key gets a message; a valid key is kept in the tab and never in the address', async () => {
  const key = await createProject(url);
  const { page, context, outside, problems } = await openDoor(browser, url);
  await page.getByLabel('API key or access token').fill('fs_wrong');
  await page.getByRole('button', { name: 'Sign in' }).click();
  await page.getByText('This key is not valid').waitFor();
  await page.getByLabel('API key or access token').fill(key);
  // The message of the last try disappears while the next try is under way.
  let release!: () => void;
  const held = new Promise<void>((resolve) => (release = resolve));
  await page.route('**/graphql', (route) => held.then(() => route.continue()), { times: 1 });
  await page.keyboard.press('Enter');
  await page.getByText('Signing in…').waitFor();
  expect(await page.getByRole('alert').textContent()).toBe('');
  release();
  await page.getByRole('heading', { name: 'Overview' }).waitFor();
  expect(page.url()).not.toContain('fs_');
  await page.reload();
  await page.getByRole('heading', { name: 'Overview' }).waitFor();
  await page.getByRole('button', { name: 'Sign out' }).click();
  await page.getByLabel('API key or access token').waitFor();
  expect(await page.evaluate(() => JSON.stringify([sessionStorage, localStorage]))).not.toContain('fs_');
  expect(outside).toEqual([]);
  expect(problems).toEqual([]);
  await context.close();
}, 60_000);

test('an unknown address shows a message and a link to the overview', async () => {
  const { page, context, outside } = await openDashboard(browser, url, await createProject(url));
  await page.goto(`${url}/nothing/here`);
  await page.getByText('Page not found').waitFor();
  await page.getByRole('link', { name: 'Go to overview', exact: true }).click();
  await page.getByRole('heading', { name: 'Overview' }).waitFor();
  expect(outside).toEqual([]);
  await context.close();
}, 60_000);

test('an access token signs in too; if a key is revoked meanwhile, the page returns to the sign-in', async () => {
  const key = await projectWith(url, TWO_VISITS);
  const made = await post(url, key, 'mutation { createAccessToken(scopes: [READ]) { token } }');
  const withToken = await openDashboard(browser, url, made.data.createAccessToken.token);
  await withToken.page.getByText('Payment failed').waitFor();
  await withToken.page.goto(`${url}/project`);
  await withToken.page.getByText('To see keys, to make keys and tokens').waitFor();
  await withToken.context.close();

  const second = await post(url, key, 'mutation { createApiKey(name: "x", scopes: [READ]) { key apiKey { id } } }');
  const { page, context } = await openDashboard(browser, url, second.data.createApiKey.key);
  await post(url, key, 'mutation ($id: ID!) { revokeApiKey(id: $id) { id } }', {
    id: second.data.createApiKey.apiKey.id,
  });
  await page.getByText('This key or token is no longer valid').waitFor();
  await context.close();

  // A page that asks nothing by itself notices it too.
  const third = await post(
    url,
    key,
    'mutation { createApiKey(name: "y", scopes: [READ, MANAGE]) { key apiKey { id } } }',
  );
  const { key: maker, apiKey } = third.data.createApiKey;
  const quiet = await openDashboard(browser, url, maker);
  await quiet.page.clock.install();
  await quiet.page.goto(`${url}/webhooks`);
  await quiet.page.getByText('No webhooks yet').waitFor();
  await post(url, key, 'mutation ($id: ID!) { revokeApiKey(id: $id) { id } }', { id: apiKey.id });
  await quiet.page.clock.fastForward(60_000);
  await quiet.page.getByText('This key or token is no longer valid').waitFor();
  await quiet.context.close();
}, 60_000);

test('the overview counts and compares, and updates itself when another process sends events', async () => {
  const key = await projectWith(url, [
    ...TWO_VISITS,
    { type: 'page view', occurredAt: ago(30 * 3_600), user: ada },
    { type: 'sessionend', occurredAt: ago(30 * 3_600 - 100), user: ada },
  ]);
  const { page, context } = await openDashboard(browser, url, key);
  const figure = (name: string) => page.locator('.figure', { hasText: name });
  await figure('Sessions').getByText('2', { exact: true }).waitFor();
  await figure('Sessions').getByText('+100%').waitFor();
  await figure('With errors').getByText('50%').waitFor();
  await page.getByRole('link', { name: /Payment failed/ }).waitFor();
  expect(await page.getByTestId('online-count').textContent()).toBe('1');

  await page.evaluate(() => Object.assign(globalThis, { stillTheSamePage: true }));
  await sendFromAnotherProcess(url, key, [
    { type: 'page view', source: '/', user: { identity: 'chiara@example.com', name: 'Chiara' } },
  ]);
  await figure('Sessions').getByText('3', { exact: true }).waitFor();
  await page.locator('.rows').getByText('Chiara', { exact: true }).waitFor();
  await eventually(async () => (await page.getByTestId('online-count').textContent()) === '2');
  expect(await page.evaluate(() => 'stillTheSamePage' in globalThis)).toBe(true);
  await context.close();
}, 60_000);

test('the overview shows how many were online at once, and the page of a user when the user was', async () => {
  const [chiara, dora] = ['chiara@example.com', 'dora@example.com'].map((identity) => ({ user: { identity } }));
  const key = await projectWith(url, [chiara!, dora!]);
  await send(url, key, [{ ...dora, type: 'sessionend' }]);
  const { page, context } = await openDashboard(browser, url, key);
  await eventually(async () => (await page.getByTestId('peak').textContent()) === '2');
  expect(await page.getByTestId('online-count').textContent()).toBe('1');
  // Others come while the page is open.
  await send(url, key, [{ user: { identity: 'eve' } }, { user: { identity: 'fay' } }]);
  await page.getByText('Peak 3, now').waitFor();

  await page.goto(`${url}/users/${encodeURIComponent(dora!.user.identity)}`);
  const days = page.locator('.online-days');
  await days.getByRole('img', { name: /^Online \d\d:\d\d–\d\d:\d\d$/ }).waitFor();
  expect(await days.getByRole('img', { name: 'Not online' }).count()).toBe(6);
  // She comes back, and the line is read again.
  await send(url, key, [dora!]);
  await eventually(async () => (await days.locator('.online-spell').count()) === 2);
  await context.close();
}, 60_000);

test('the chart shows its figures under the pointer, and a drag zooms in', async () => {
  const key = await projectWith(url, TWO_VISITS);
  const { page, context } = await openDashboard(browser, url, key);
  const over = page.locator('.u-over');
  await over.waitFor();
  const box = (await over.boundingBox())!;
  const middle = box.y + box.height / 2;
  // Ada's hour is the last one or the one before it.
  await page.mouse.move(box.x + box.width - 5, middle);
  await page.locator('.legend-key.sessions b').waitFor();
  await page.mouse.move(box.x + box.width * 0.7, middle);
  await page.mouse.down();
  await page.mouse.move(box.x + box.width * 0.85, middle, { steps: 5 });
  await page.mouse.up();
  await page.waitForURL(/\?from=.*&to=/);
  await page.getByRole('link', { name: 'Back to 24 hours' }).click();
  await page.waitForURL(`${url}/`);
  await page.getByRole('link', { name: '7 days' }).click();
  await page.waitForURL(/range=7d/);
  await page.getByRole('button', { name: 'Custom' }).click();
  await page.getByLabel('From').fill('2026-01-31T10:00');
  await page.getByLabel('To', { exact: true }).fill('2026-01-31T12:00');
  await page.getByRole('button', { name: 'Apply' }).click();
  await page.waitForURL(/from=2026-01-31T09%3A00%3A00.000Z&to=2026-01-31T11%3A00/);
  await page.getByText('No previous data').first().waitFor();
  await context.close();
}, 60_000);

test('online: users appear and disappear, with their devices and their last activity', async () => {
  const key = await projectWith(url, TWO_VISITS);
  const { page, context } = await openDashboard(browser, url, key);
  await page.getByRole('link', { name: 'Online', exact: true }).click();
  const benRow = page.locator('[data-identity="ben@example.com"]');
  await benRow.getByText('Firefox on Linux').waitFor();
  await benRow.getByText('/docs').waitFor();
  await sendFromAnotherProcess(url, key, [
    { type: 'search', message: 'tents', user: ben },
    { type: 'page view', source: '/jobs', user: ada, data: request(CHROME) },
  ]);
  await benRow.getByText('tents').waitFor();
  await page.locator('[data-identity="ada@example.com"]').getByText('Chrome on Windows').waitFor();
  await send(url, key, [{ type: 'sessionend', user: ben }]);
  await benRow.waitFor({ state: 'detached' });
  await page.locator('.card', { hasText: 'Recently left' }).getByText('Ben', { exact: true }).waitFor();
  await context.close();
}, 60_000);

test('sessions: every filter narrows the list and is in the address, as are order and search', async () => {
  const key = await projectWith(url, TWO_VISITS);
  const { page, context } = await openDashboard(browser, url, key);
  const rows = page.locator('.session-row');
  const shown = async (...names: string[]): Promise<void> => {
    await eventually(async () => {
      const texts = await rows.locator('.user-link').allTextContents();
      return JSON.stringify(texts) === JSON.stringify(names);
    });
  };
  await page.goto(`${url}/sessions`);
  await shown('Ben', 'Ada');
  await page.getByRole('button', { name: 'Duration' }).click();
  await page.waitForURL(/sort=longest/);
  await shown('Ada', 'Ben');
  await page.getByLabel('Order').selectOption('oldest');
  await shown('Ada', 'Ben');
  await page.getByLabel('Order').selectOption('newest');

  await page.getByLabel('Search for a user').fill('bE');
  await shown('Ben');
  await page.waitForURL(/q=bE/);
  await page.getByLabel('Search for a user').fill('');
  await shown('Ben', 'Ada');
  await page.getByRole('button', { name: 'Active', exact: true }).click();
  await shown('Ben');
  await page.getByRole('button', { name: 'All', exact: true }).click();
  await page.getByRole('button', { name: 'With errors' }).click();
  await shown('Ada');
  expect(new URL(page.url()).search).toBe('?errors=yes');

  // Each filter is opened by its address, as another user would open it.
  const hour = 3_600_000;
  const iso = (at: number): string => encodeURIComponent(new Date(at).toISOString());
  const addresses: [search: string, ...names: string[]][] = [
    ['user=ada@example.com', 'Ada'],
    ['type=error', 'Ada'],
    ['browser=Firefox', 'Ben'],
    ['system=Windows', 'Ada'],
    ['device=desktop&user=ben@example.com', 'Ben'],
    ['version=1.4.2', 'Ada'],
    ['address=203.0.113.7', 'Ben', 'Ada'],
    ['country=DE'],
    ['end=CLIENT', 'Ada'],
    ['bot=yes'],
    ['bot=no', 'Ben', 'Ada'],
    ['errors=no', 'Ben'],
    ['exit=/checkout', 'Ada'],
    ['userData={"plan":"pro"}'],
    ['min=100', 'Ada'],
    ['max=100', 'Ben'],
    [`from=${iso(Date.now() - hour / 2)}`, 'Ben'],
    [`to=${iso(Date.now() - hour / 2)}`, 'Ada'],
    [`activeFrom=${iso(Date.now() - 2 * hour)}&activeTo=${iso(Date.now() - hour / 2)}`, 'Ada'],
    [`data=${encodeURIComponent('{"@request":{"client_ip_address":"203.0.113.7"}}')}&status=ENDED`, 'Ada'],
  ];
  for (const [search, ...names] of addresses) {
    await page.goto(`${url}/sessions?${search}`);
    if (names.length > 0) await shown(...names);
    else await page.getByText('No sessions match').waitFor();
  }

  // Each filter is also set by hand: the panel writes the address.
  await page.goto(`${url}/sessions`);
  await page.getByRole('button', { name: 'Filters' }).click();
  await page.getByLabel('Browser', { exact: true }).fill('Chrome');
  await page.keyboard.press('Enter');
  await shown('Ada');
  await page.getByLabel('Left').check();
  await page.getByLabel('Data contains').fill('{"a": ');
  await page.getByText('Enter a valid JSON object.').waitFor();
  await page.getByLabel('Data contains').fill('');
  await page.getByLabel('Minimum duration (seconds)').fill('10');
  await page.waitForURL(/browser=Chrome&end=CLIENT&min=10/);
  await shown('Ada');
  await page.getByRole('button', { name: 'Clear all' }).click();
  await shown('Ben', 'Ada');
  expect(await page.getByLabel('Minimum duration (seconds)').inputValue()).toBe('');
  await context.close();
}, 120_000);

test('sessions: new ones are announced and the list does not move; rows update without moving', async () => {
  const many = Array.from({ length: 150 }, (_, place) => ({
    type: 'page view',
    occurredAt: ago(10_000 - place),
    user: { identity: `user-${place}` },
  }));
  const key = await projectWith(url, [...many, TWO_VISITS.at(-1)!]);
  const { page, context } = await openDashboard(browser, url, key);
  await page.goto(`${url}/sessions`);
  const first = page.locator('.session-row').first();
  await first.getByRole('link', { name: 'Ben', exact: true }).waitFor();
  expect(await first.locator('.cell-events').textContent()).toContain('1');
  const before = await first.locator('.ticking').textContent();
  await eventually(async () => (await first.locator('.ticking').textContent()) !== before);
  await sendFromAnotherProcess(url, key, [
    { type: 'page view', user: ben },
    ...['x', 'y', 'z'].map((name) => ({ type: 'page view', user: { identity: name } })),
  ]);
  await page.getByRole('button', { name: '3 new sessions' }).waitFor();
  await first.locator('.cell-events').getByText('2').waitFor();
  await first.getByRole('link', { name: 'Ben', exact: true }).waitFor();
  // The keyboard goes from row to row.
  await first.locator('.row-link').focus();
  await page.keyboard.press('ArrowDown');
  expect(await page.evaluate(() => document.activeElement?.closest('[data-index]')?.getAttribute('data-index'))).toBe(
    '1',
  );
  await page.getByRole('button', { name: '3 new sessions' }).click();
  await eventually(async () => (await first.locator('.user-link').textContent())!.length === 1);

  // Scrolling loads the rest, and going back restores the scroll position.
  const oldest = page.locator('.session-row', { has: page.getByRole('link', { name: 'user-0', exact: true }) });
  await eventually(async () => {
    await page.mouse.wheel(0, 4_000);
    return oldest.isVisible();
  });
  await oldest.locator('.row-link').click();
  await page.getByText('Footsteps', { exact: true }).last().waitFor();
  await page.goBack();
  await oldest.waitFor();
  expect(await oldest.evaluate((row) => row.getBoundingClientRect().top < window.innerHeight)).toBe(true);
  await context.close();
}, 60_000);

test('session: its events with the pauses between them, highlighted errors, data on click, new events live', async () => {
  const key = await projectWith(url, TWO_VISITS);
  const { page, context, problems } = await openDashboard(browser, url, key);
  await page.getByRole('link', { name: /Payment failed/ }).click();
  await page.getByText('3 min 00 s without events').waitFor();
  for (const fact of ['Chrome 141.0.0.0', 'Windows', '1.4.2', '203.0.113.7'])
    await page.getByText(fact).first().waitFor();
  const step = page.locator('.step.error');
  await step.getByText('Payment failed').waitFor();
  await page.getByRole('button', { name: 'Next error' }).click();
  await step.locator('button:focus').waitFor();
  await page.keyboard.press('Enter');
  await step.locator('pre').getByText('card declined').waitFor();
  expect(await step.locator('time').first().getAttribute('title')).toMatch(/20\d\d.* at \d\d:\d\d:\d\d CES?T$|GMT/);

  await send(url, key, [{ type: 'page view', source: '/back-again', user: ada }]);
  await page.getByRole('link', { name: 'Ada', exact: true }).first().click();
  await page.locator('.session-row', { hasText: 'Active' }).locator('.row-link').click();
  await page.locator('.step').getByText('/back-again').waitFor();
  await page.getByText('Live', { exact: true }).waitFor();
  await sendFromAnotherProcess(url, key, [{ type: 'error', message: 'It broke', user: ada }]);
  await page.locator('.step.error').getByText('It broke').waitFor();
  await send(url, key, [{ type: 'sessionend', user: ada }]);
  await page.getByText('Ended after').waitFor();
  await page.locator('.card', { hasText: 'Other sessions' }).getByText('1 error').waitFor();
  expect(problems).toEqual([]);
  await context.close();
}, 60_000);

test('user: presence, first and last seen, erasure after a confirmation; the page works for any identity', async () => {
  const odd = 'a/b?c=d&e#f 50%41 ü';
  const key = await projectWith(url, [...TWO_VISITS, { type: 'page view', user: { identity: odd, name: 'Odd' } }]);
  const { page, context } = await openDashboard(browser, url, key);
  await page.goto(`${url}/sessions`);
  await page.getByRole('link', { name: 'Odd', exact: true }).click();
  await page.getByRole('heading', { name: odd }).waitFor();
  await page.getByText('Online', { exact: true }).last().waitFor();
  await page.reload();
  await page.getByRole('heading', { name: odd }).waitFor();
  await send(url, key, [{ type: 'sessionend', user: { identity: odd } }]);
  await page.getByText('Offline').waitFor();

  await page.goto(`${url}/users/ada%40example.com`);
  await page.locator('.figure', { hasText: 'First seen' }).locator('time').waitFor();
  await page.getByRole('button', { name: 'Erase…' }).click();
  await page.getByRole('button', { name: 'Cancel' }).click();
  await page.getByRole('button', { name: 'Erase…' }).click();
  await page.getByRole('button', { name: 'Erase permanently' }).click();
  await page.getByText('1 session and 4 events were deleted.').waitFor();
  await page.goto(`${url}/users/ada%40example.com`);
  await page.getByText('No user with this identity').waitFor();
  await context.close();
}, 60_000);

test('project: settings and origins are saved; keys are made, shown once and revoked; snippets contain the key', async () => {
  const key = await createProject(url);
  const { page, context, problems } = await openDashboard(browser, url, key);
  await page.getByRole('link', { name: 'Project', exact: true }).click();
  await page.getByLabel('Name', { exact: true }).fill('The shop');
  await page.getByLabel('Inactivity timeout').fill('120');
  await page.getByRole('button', { name: 'Save' }).first().click();
  await page.getByText('Saved.').waitFor();
  await page.getByLabel('Origins of the pages').fill('not an origin');
  await page.getByRole('button', { name: 'Save' }).last().click();
  await page.locator('.form .field-told').last().waitFor();
  await page.getByLabel('Origins of the pages').fill(`https://app.example.com\n${url}`);
  await page.getByRole('button', { name: 'Save' }).last().click();
  await eventually(async () => (await page.getByText('Saved.').count()) === 2);
  const { data } = await post(url, key, '{ project { name settings { inactivityTimeout allowedOrigins } } }');
  expect(data.project).toMatchObject({ name: 'The shop', settings: { inactivityTimeout: 120 } });
  expect(data.project.settings.allowedOrigins).toContain('https://app.example.com');

  await page.getByLabel('New key name').fill('reader');
  await page.locator('.make-key').getByLabel('READ Read sessions').check();
  await page.getByRole('button', { name: 'Create key', exact: true }).click();
  const made = await page.locator('.made-key pre').textContent();
  expect((await post(url, made, '{ sessions { nodes { id } } }')).status).toBe(200);
  await page.getByRole('button', { name: 'Revoke reader' }).click();
  await page.getByRole('alertdialog').getByRole('button', { name: 'Revoke' }).click();
  await page.getByText(/^Revoked/).waitFor();
  expect((await post(url, made, '{ sessions { nodes { id } } }')).status).toBe(401);

  await page.getByRole('button', { name: 'Create a key for sending events' }).click();
  await page.getByText('It is shown only once.', { exact: true }).waitFor();
  for (const client of ['Web page', 'npm', 'curl', 'Exceptionless JS', '.NET']) {
    await page.getByRole('tab', { name: client, exact: true }).click();
    expect(await page.getByRole('tabpanel').locator('pre').textContent()).toMatch(/fs_\w{32}/);
  }
  expect(problems).toEqual([]);
  await context.close();
}, 60_000);

test('the screen that waits for a first event shows it when it arrives', async () => {
  const key = await createProject(url);
  const { page, context } = await openDashboard(browser, url, key);
  // There is nothing yet, which is not what no condition finds.
  for (const things of ['sessions', 'users', 'events']) {
    await page.goto(`${url}/${things}?sort=old`);
    await page.getByText(`No ${things} yet`).waitFor();
  }
  await page.goto(url);
  await page.getByText('Waiting for an event').waitFor();
  await sendFromAnotherProcess(url, key, [{ type: 'page view', source: '/hello', user: ada }]);
  await page.getByText('It works: an event has arrived').waitFor();
  await page.getByRole('link', { name: 'View session' }).waitFor();
  await page.getByRole('button', { name: 'Go to overview' }).click();
  await page.getByText('It works').waitFor({ state: 'detached' });
  await context.close();
}, 60_000);

test('the code that is shown first sends the first event, from a page of its own', async () => {
  const key = await createProject(url);
  const { page, context } = await openDashboard(browser, url, key);
  await page.getByRole('button', { name: 'Create a key for sending events' }).click();
  await page.getByText('It is shown only once.', { exact: true }).waitFor();
  const code = await page.getByRole('tabpanel').locator('pre').textContent();
  const server = createServer((_request, response) => {
    response.writeHead(200, { 'Content-Type': 'text/html' }).end(code);
  }).listen(0, '127.0.0.1');
  await once(server, 'listening');
  const other = await browser.newContext();
  const shop = await other.newPage();
  await shop.goto(`http://127.0.0.1:${(server.address() as AddressInfo).port}/`);
  await page.getByText('It works: an event has arrived').waitFor();
  const sources = async (): Promise<string[]> =>
    (await post(url, key, '{ events { nodes { type source user { name } } } }')).data.events.nodes.map(
      ({ type, source, user }: any) => `${type} ${source} ${user.name}`,
    );
  await eventually(async () => (await sources()).length === 2);
  expect((await sources()).toSorted()).toEqual(['page view / Ada', 'usage pricing Ada']);
  await other.close();
  server.close();
  await context.close();
}, 60_000);

test('a lost connection is shown; when it is back, the page shows what it missed', async () => {
  const otherDb = await createTestDatabase();
  const first = await startTestApp(otherDb);
  const port = new URL(first.url).port;
  const key = await projectWith(first.url, TWO_VISITS);
  const { page, context } = await openDashboard(browser, first.url, key);
  const figure = page.locator('.figure', { hasText: 'Sessions' }).first();
  await figure.getByText('2', { exact: true }).waitFor();
  await first.close('test');
  await page.getByText('Connection lost. Reconnecting…').waitFor();
  const elsewhere = await startTestApp(otherDb);
  await send(elsewhere.url, key, [{ type: 'page view', user: { identity: 'missed' } }]);
  const second = await startTestApp(otherDb, { PORT: port });
  await page.getByText('Connection lost').waitFor({ state: 'detached' });
  await figure.getByText('3', { exact: true }).waitFor();
  await context.close();
  await Promise.all([second.close('test'), elsewhere.close('test')]);
  await otherDb.drop();
}, 60_000);

test('if Redis is lost, the page goes on: what it shows stands on rows', async () => {
  const ownDb = await createTestDatabase();
  const redis = await startOwnRedis();
  const own = await startTestApp(ownDb, { REDIS_URL: redis.url });
  const key = await projectWith(own.url, TWO_VISITS);
  const { page, context } = await openDashboard(browser, own.url, key);
  const figure = page.locator('.figure', { hasText: 'Sessions' }).first();
  await figure.getByText('2', { exact: true }).waitFor();
  await redis.kill();
  await send(own.url, key, [{ type: 'page view', user: { identity: 'without Redis' } }]);
  await figure.getByText('3', { exact: true }).waitFor();
  const again = await startOwnRedis(redis.port);
  await send(own.url, key, [{ type: 'page view', user: { identity: 'with Redis again' } }]);
  await figure.getByText('4', { exact: true }).waitFor();
  await context.close();
  await own.close('test');
  await again.kill();
  await ownDb.drop();
}, 60_000);
