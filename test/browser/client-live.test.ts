import type { Page } from 'playwright-core';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { eventually, post } from '../support/app.js';
import { createClientStage, type ClientStage, type Visitor } from '../support/client-stage.js';

/** Presence in a real page. */

let stage: ClientStage;
beforeAll(async () => {
  stage = await createClientStage(['--disable-back-forward-cache']);
});
afterEach(async () => {
  for (const context of stage.browser.contexts()) await context.close();
});
afterAll(() => stage.close());

const FOLLOW = `
  globalThis.some = client.presence({ identities: ['ada', 'ben'] });
  globalThis.all = client.presence();
  globalThis.count = client.onlineCount();
  globalThis.statuses = [];
  for (const one of [some, all, count]) one.subscribe(() => statuses.push(one.status));
  globalThis.isLive = () => [some, all, count].every(({ status }) => status === 'live');`;

/** Counts what a page opens: WebSockets, and event streams. */
function opens(page: Page): { sockets: number; streams: number } {
  const opened = { sockets: 0, streams: 0 };
  page.on('websocket', () => (opened.sockets += 1));
  page.on('request', (request) => {
    if (request.method() === 'GET' && request.url().endsWith('/graphql')) opened.streams += 1;
  });
  return opened;
}

const come = async (visitor: Visitor, ...identities: string[]): Promise<void> => {
  const events = identities.map((identity) => ({ user: { identity } }));
  const query = 'mutation ($events: [EventInput!]!) { ingestEvents(events: $events) { rejected } }';
  await post(stage.app.url, visitor.key, query, { events });
};

test.each([
  ['WebSocket', undefined],
  // A policy that lets requests through, and no WebSocket.
  ['event stream, where WebSockets are blocked', 'connect-src http:'],
])('one %s carries everything of a page', async (name, policy) => {
  const visitor = await stage.visit({ make: 'createClient', script: FOLLOW, ...(policy && { policy }) });
  const page = await visitor.context.newPage();
  const opened = opens(page);
  await page.goto(stage.shop);
  await page.waitForFunction('isLive()');
  await come(visitor, 'ada', 'cleo');
  await page.waitForFunction(`some.get('ada').status === 'ONLINE' && all.get().size === 2 && count.get() === 2`);
  expect(await page.evaluate(`some.get('ben').status`)).toBe('OFFLINE');
  if (name === 'WebSocket') expect(opened).toEqual({ sockets: 1, streams: 0 });
  else expect(opened.streams).toBe(1);
  expect(await page.evaluate('(async () => (await client.query("{ project { name } }")).project.name)()')).toMatch(
    /^Project /,
  );
  await visitor.context.close();
});

test('without a network a page is stale, shows who was there, and is right again afterwards', async () => {
  const visitor = await stage.visit({ make: 'createClient', script: FOLLOW });
  await come(visitor, 'ada');
  const page = await visitor.open();
  await page.waitForFunction('isLive()');
  await visitor.context.setOffline(true);
  // What is offline in Chromium keeps its WebSockets: the server ends it, as a dead network would.
  await page.evaluate(`dispatchEvent(new PageTransitionEvent('pagehide', { persisted: true }))`);
  expect(await page.evaluate(`[some.status, some.get('ada').status, all.get('ada').status]`)).toEqual([
    'stale',
    'ONLINE',
    'ONLINE',
  ]);
  await come(visitor, 'ben');
  await page.evaluate(`dispatchEvent(new PageTransitionEvent('pageshow', { persisted: true }))`);
  await visitor.context.setOffline(false);
  await page.waitForFunction(`isLive() && some.get('ben').status === 'ONLINE' && count.get() === 2`);
  await visitor.context.close();
});

test('a page with presence is kept in the back/forward cache, and is live again when it comes back', async () => {
  const visitor = await stage.visit({ make: 'createClient', script: FOLLOW });
  const page = await visitor.open('/one');
  await page.waitForFunction('isLive()');
  await page.evaluate(`addEventListener('pageshow', ({ persisted }) => {
    const stop = all.subscribe(() => all.get('ben') && client.track('seen', { value: Number(persisted) }));
  })`);
  await page.goto(`${stage.app.url}/nowhere`);
  await come(visitor, 'ben');
  await page.evaluate('setTimeout(() => history.back())');
  const seen = async () => (await visitor.events()).filter(({ type }) => type === 'seen');
  await eventually(async () => (await seen()).length > 0);
  expect((await seen())[0]).toMatchObject({ value: 1 });
  await visitor.context.close();
});
