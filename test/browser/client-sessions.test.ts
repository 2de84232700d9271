import type { Page } from 'playwright-core';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { eventually } from '../support/app.js';
import { createClientStage, type ClientStage, type Visitor } from '../support/client-stage.js';
import { startTabs } from '../support/tabs.js';

/** Heartbeats and goodbyes of real tabs, and what the server makes of them. */

let stage: ClientStage;
beforeAll(async () => {
  // Playwright switches the back/forward cache off.
  stage = await createClientStage(['--disable-back-forward-cache']);
});
afterEach(async () => {
  for (const context of stage.browser.contexts()) await context.close();
});
afterAll(() => stage.close());

const USER = { identity: 'ada@example.com', name: 'Ada' };
const isBeat = ({ variables }: any): boolean => variables.events?.some(({ type }: any) => type === 'heartbeat');
const beatsOf = ({ sent }: Visitor): any[] => sent.filter(isBeat);
const goodbyesOf = ({ sent }: Visitor): any[] => sent.filter(({ variables }) => variables.input?.close);
/** Seconds. Below one second, so that the server does not take them for heartbeats of two tabs (rule 21). */
const SHORT = 0.7;
const visit = (heartbeat = SHORT): Promise<Visitor> =>
  stage.visit({ options: { user: USER, useSessions: { heartbeat } } });
const isOnline = (visitor: Visitor, status: string): Promise<void> =>
  eventually(async () => {
    const { user } = await visitor.ask('{ user(identity: "ada@example.com") { presence { status } } }');
    return user?.presence.status === status;
  }, 60_000);
const sessions = async (visitor: Visitor): Promise<any[]> =>
  (await visitor.ask('{ sessions { nodes { status endReason user { name } } } }')).sessions.nodes;

/** Shows or hides a tab, for a page whose clock is set. (Playwright makes each tab believe that it is in front.) */
const show = (page: Page, state: 'visible' | 'hidden'): Promise<unknown> =>
  page.evaluate(`Object.defineProperty(document, 'visibilityState', { value: '${state}', configurable: true });
    document.dispatchEvent(new Event('visibilitychange'));`);

test('two tabs send one heartbeat; the first that closes says nothing, the last one ends the session', async () => {
  const visitor = await visit();
  const first = await visitor.open();
  const second = await visitor.open();
  await isOnline(visitor, 'ONLINE');
  await eventually(() => beatsOf(visitor).length >= 10, 30_000);
  const times = beatsOf(visitor).map(({ variables }) => Date.parse(variables.sentAt));
  // By the browser's own clock: of two tabs that do not know each other there would be twice as many. Now and then both find at the
  // same moment that it is time, and the storage that they share does not tell them of each other yet: then there is one more.
  expect(times.length - 1).toBeLessThanOrEqual((times.at(-1)! - times[0]!) / (SHORT * 900) + 2);

  await first.close({ runBeforeUnload: true });
  const beats = beatsOf(visitor).length;
  await eventually(() => beatsOf(visitor).length > beats + 1);
  expect(goodbyesOf(visitor)).toEqual([]);
  expect(await sessions(visitor)).toEqual([{ status: 'ACTIVE', endReason: null, user: { name: 'Ada' } }]);

  await second.close({ runBeforeUnload: true });
  await eventually(async () => (await sessions(visitor))[0].status === 'ENDED');
  expect(await sessions(visitor)).toEqual([{ status: 'ENDED', endReason: 'CLIENT', user: { name: 'Ada' } }]);
  await isOnline(visitor, 'OFFLINE');
}, 90_000);

test('what was tracked in the last moment arrives before the end, from a page of another origin', async () => {
  const visitor = await visit(30);
  const page = await visitor.open();
  await isOnline(visitor, 'ONLINE');
  await page.evaluate(`addEventListener('beforeunload', () => client.track('goodbye'))`);
  await page.close({ runBeforeUnload: true });
  await eventually(async () => (await sessions(visitor))[0].status === 'ENDED');
  expect((await visitor.events()).map(({ type }) => type)).toEqual(['goodbye']);
  expect(await sessions(visitor)).toMatchObject([{ endReason: 'CLIENT' }]);
});

test('a page that leads to another page of the site is one session', async () => {
  const visitor = await visit(30);
  const page = await visitor.open('/one');
  await isOnline(visitor, 'ONLINE');
  await page.evaluate(`client.track('step'); location.href = '/two'`);
  await page.waitForURL('**/two');
  await page.evaluate(`client.track('step'); client.flush()`);
  await eventually(async () => (await visitor.events()).length === 2);
  expect(await sessions(visitor)).toEqual([{ status: 'ACTIVE', endReason: null, user: { name: 'Ada' } }]);
});

test('hidden tabs fall silent after two heartbeats, and speak at once when one is shown again', async () => {
  const visitor = await visit(30);
  const page = await visitor.context.newPage();
  await page.clock.install();
  await page.goto(stage.shop);
  /** Lets so many seconds pass for the page, ten at a time. Resolves with the number of heartbeats in them. */
  async function pass(seconds: number): Promise<number> {
    const before = beatsOf(visitor).length;
    for (let passed = 0; passed < seconds; passed += 10) {
      await page.clock.runFor(10_000);
      await page.evaluate('client.flush()');
    }
    return beatsOf(visitor).length - before;
  }
  // Every 30 to 32 seconds, looked at every ten.
  const seen = await pass(300);
  expect(seen).toBeGreaterThanOrEqual(8);
  expect(seen).toBeLessThanOrEqual(11);
  await show(page, 'hidden');
  expect(await pass(300)).toBeLessThanOrEqual(2);
  expect(await pass(300)).toBe(0);
  await show(page, 'visible');
  await page.clock.runFor(100);
  await page.evaluate('client.flush()');
  expect(await pass(0)).toBe(0);
  expect(beatsOf(visitor).length).toBeGreaterThan(seen);
  const before = beatsOf(visitor).length;
  // What is sent otherwise takes the place of a heartbeat.
  for (let at = 0; at < 6; at += 1) {
    await page.evaluate(`client.track('step')`);
    await pass(20);
  }
  expect(beatsOf(visitor).length).toBe(before);
}, 60_000);

test('in a real window: a tab behind another falls silent, and its user is online again at once when it is shown', async () => {
  const visitor = await visit();
  await visitor.ask('mutation { updateProject(settings: { presenceTimeout: 5 }) { id } }');
  const tabs = await startTabs();
  try {
    const shop = await tabs.open(stage.shop, await visitor.context.cookies());
    await isOnline(visitor, 'ONLINE');
    expect(await shop.evaluate('document.visibilityState')).toBe('visible');
    // Another page comes to the front.
    const other = await tabs.open(`${stage.app.url}/nowhere`);
    await eventually(async () => (await shop.evaluate('document.visibilityState')) === 'hidden');
    // Nothing is heard for five seconds.
    await isOnline(visitor, 'OFFLINE');
    expect(await sessions(visitor)).toEqual([{ status: 'ACTIVE', endReason: null, user: { name: 'Ada' } }]);
    await shop.show();
    await isOnline(visitor, 'ONLINE');
    // A hidden tab of two, of which the other is seen, is silent: the other one speaks.
    const second = await tabs.open(stage.shop, await visitor.context.cookies());
    await eventually(async () => (await shop.evaluate('document.visibilityState')) === 'hidden');
    await other.close();
    const beats = async (): Promise<string> => second.evaluate(`localStorage.getItem('footsteps:heard')`);
    const before = await beats();
    await eventually(async () => (await beats()) !== before);
    await isOnline(visitor, 'ONLINE');
    // The last tab that is closed ends the session, also if it was hidden before.
    await second.close();
    await shop.close();
    await eventually(async () => (await sessions(visitor))[0].status === 'ENDED');
    expect(await sessions(visitor)).toEqual([{ status: 'ENDED', endReason: 'CLIENT', user: { name: 'Ada' } }]);
  } finally {
    await tabs.close();
  }
}, 120_000);

test('a page in the back/forward cache says no goodbye, and goes on when it comes back', async () => {
  const visitor = await visit();
  const page = await visitor.open('/one');
  await isOnline(visitor, 'ONLINE');
  await page.evaluate(
    `addEventListener('pageshow', ({ persisted }) => client.track('back', { value: Number(persisted) }))`,
  );
  await page.goto(`${stage.app.url}/nowhere`);
  await page.evaluate('setTimeout(() => history.back())');
  await eventually(async () => (await visitor.events()).length > 0);
  expect(await visitor.events()).toMatchObject([{ type: 'back', value: 1 }]);
  const beats = beatsOf(visitor).length;
  await eventually(() => beatsOf(visitor).length > beats);
  expect(goodbyesOf(visitor)).toEqual([]);
  expect(await sessions(visitor)).toEqual([{ status: 'ACTIVE', endReason: null, user: { name: 'Ada' } }]);
});

test('a visitor who signs in is one session with their name, and two devices of a user are two', async () => {
  const visitor = await stage.visit({ options: { pageViews: true, useSessions: {} } });
  const page = await visitor.open('/before');
  await eventually(async () => (await visitor.events()).length === 1);
  expect(await sessions(visitor)).toEqual([{ status: 'ACTIVE', endReason: null, user: null }]);
  await page.evaluate(`client.identify('ada@example.com', { name: 'Ada' })`);
  await isOnline(visitor, 'ONLINE');
  expect(await sessions(visitor)).toEqual([{ status: 'ACTIVE', endReason: null, user: { name: 'Ada' } }]);

  // Another browser.
  const context = await stage.browser.newContext({
    storageState: { cookies: await visitor.context.cookies(), origins: [] },
  });
  const phone = await context.newPage();
  await phone.goto(stage.shop);
  await phone.evaluate(`client.identify('ada@example.com', { name: 'Ada' })`);
  const online = async (): Promise<number> =>
    (await visitor.ask('{ presence { nodes { identity onlineSessions } } }')).presence.nodes[0]?.onlineSessions;
  await eventually(async () => (await online()) === 2);
  await phone.close({ runBeforeUnload: true });
  await eventually(async () => (await online()) === 1, 20_000);
  await isOnline(visitor, 'ONLINE');
});
