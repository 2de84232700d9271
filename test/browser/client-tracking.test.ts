import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { eventually, post, startTestApp } from '../support/app.js';
import { createClientStage, type ClientStage, type Visitor } from '../support/client-stage.js';

/** What a real browser does to a page, and what the server then has. */

let stage: ClientStage;
beforeAll(async () => {
  stage = await createClientStage(['--disable-back-forward-cache']);
});
afterEach(async () => {
  for (const context of stage.browser.contexts()) await context.close();
});
afterAll(() => stage.close());

const LOGIN = `client.identify('ada@example.com', { name: 'Ada' });`;
const until = (visitor: Visitor, count: number): Promise<void> =>
  eventually(async () => (await visitor.ask('{ events(first: 0) { totalCount } }')).events.totalCount >= count, 20_000);
const sources = async (visitor: Visitor): Promise<(string | null)[]> =>
  (await visitor.events()).map(({ source }) => source);
const values = async (visitor: Visitor): Promise<(number | null)[]> =>
  (await visitor.events()).map(({ value }) => value).toSorted((a, b) => a! - b!);
const upTo = (count: number): number[] => Array.from({ length: count }, (_, at) => at);
const TRACK = (from: number, to: number): string =>
  `for (let at = ${from}; at < ${to}; at += 1) client.track('step', { value: at });`;

test('pages that are loaded, and navigations within one, are page views of one session', async () => {
  const user = { identity: 'ada@example.com', name: 'Ada' };
  const visitor = await stage.visit({ options: { pageViews: true, version: '1.2.3', user } });
  const page = await visitor.open('/start');
  await page.evaluate(`history.pushState(null, '', '/one?secret=1'); history.replaceState({}, '', '/one?secret=2')`);
  await page.evaluate(`history.pushState(null, '', '/two')`);
  await page.evaluate('history.back()');
  await until(visitor, 4);
  await page.goto(`${stage.shop}/next`);
  await until(visitor, 5);
  expect(await sources(visitor)).toEqual(['/start', '/one', '/two', '/one', '/next']);
  const { sessions } = await visitor.ask(
    '{ sessions { nodes { version eventCount browser { name } user { identity name } events { nodes { message } } } } }',
  );
  expect(sessions.nodes).toMatchObject([{ version: '1.2.3', eventCount: 5, browser: { name: 'Chrome' }, user }]);
  expect(sessions.nodes[0].events.nodes[0].message).toBe('Shop /start');
});

test('a page that is left in the same moment loses nothing, and nothing comes twice', async () => {
  const visitor = await stage.visit({ options: { flushEvery: 60 }, script: LOGIN });
  const page = await visitor.open();
  await page.evaluate(`setTimeout(() => { ${TRACK(0, 1_000)}; document.title = 'left'; location.reload(); })`);
  await page.waitForFunction(`document.title === 'Shop /' && globalThis.client`);
  // The second page sends what the first has kept.
  await page.evaluate('client.flush()');
  expect(await values(visitor)).toEqual(upTo(1_000));
  await page.close();
});

test('10,000 events in one loop arrive, each once and in their order', async () => {
  const visitor = await stage.visit({ script: LOGIN });
  const page = await visitor.open();
  expect(await page.evaluate(`(async () => { ${TRACK(0, 10_000)}; return client.flush(); })()`)).toBe(0);
  const { events, sessions } = await visitor.ask(
    '{ events(first: 1) { totalCount nodes { value } } sessions { nodes { eventCount } } }',
  );
  expect([events.totalCount, events.nodes, sessions.nodes]).toEqual([
    10_000,
    [{ value: 9_999 }],
    [{ eventCount: 10_000 }],
  ]);
  expect(await page.evaluate(`Object.keys(localStorage).filter((key) => key.includes('event'))`)).toEqual([]);
  expect(await visitor.errors(page)).toEqual([]);
}, 60_000);

test('500 events of a minute without a network wait, and go when it is back', async () => {
  const visitor = await stage.visit({ script: LOGIN });
  const page = await visitor.context.newPage();
  await page.clock.install();
  await page.goto(stage.shop);
  await visitor.context.setOffline(true);
  await page.evaluate(TRACK(0, 250));
  await page.clock.runFor(100);
  await page.waitForFunction('errors.length > 0');
  // The rest of the minute by the clock of the page: it tries again and again.
  for (let from = 250; from < 500; from += 50) {
    await page.evaluate(TRACK(from, from + 50));
    await page.clock.runFor(12_000);
    await page.evaluate('client.flush()');
  }
  expect(await page.evaluate('errors.length')).toBeGreaterThan(5);
  expect(await visitor.events()).toEqual([]);
  const before = await page.evaluate<number>('Date.now()');
  await visitor.context.setOffline(false);
  await page.clock.runFor(1_000);
  await until(visitor, 500);
  expect(await values(visitor)).toEqual(upTo(500));
  expect(new Set(await visitor.errors(page))).toEqual(new Set(['NETWORK']));
  // Each has the time at which it was tracked, but for how long its request was on the way: the server corrects the client's clock.
  const times = (await visitor.events()).map(({ occurredAt }) => Date.parse(occurredAt));
  expect(Math.max(...times) - Math.min(...times)).toBeGreaterThanOrEqual(45_000);
  expect(before).toBeGreaterThan(Math.max(...times) - 60_000);
});

test('a server that restarts gets what was tracked meanwhile, also from a page that was closed meanwhile', async () => {
  const first = await startTestApp(stage.db, { REDIS_URL: '' });
  const PORT = new URL(first.url).port;
  const visitor = await stage.visit({ url: first.url, script: LOGIN });
  const page = await visitor.open();
  await page.evaluate(TRACK(0, 5));
  await until(visitor, 5);
  await first.close('test');
  await page.evaluate(TRACK(5, 10));
  await page.waitForFunction('errors.length > 0');
  await page.close();
  const later = await visitor.open();
  await later.evaluate(TRACK(10, 15));
  const second = await startTestApp(stage.db, { REDIS_URL: '', PORT });
  await until(visitor, 15);
  expect(await values(visitor)).toEqual(upTo(15));
  await visitor.context.close();
  await second.close('test');
});

test('a clock two hours off gives the right times', async () => {
  const visitor = await stage.visit({ script: LOGIN });
  const page = await visitor.context.newPage();
  const wrong = Date.now() - 7_200_000;
  await page.clock.install({ time: wrong });
  await page.goto(stage.shop);
  await page.evaluate(TRACK(0, 1));
  await page.clock.runFor(30_000);
  await page.evaluate(TRACK(1, 2));
  await page.clock.runFor(1_000);
  await until(visitor, 2);
  const [one, two] = (await visitor.events()).map(({ occurredAt }) => Date.parse(occurredAt));
  // The page's clock has jumped half a minute between the two.
  expect(two! - wrong).toBeGreaterThan(7_100_000);
  expect(Math.abs(one! - two!)).toBeLessThan(31_000);
  expect(await values(visitor)).toEqual([0, 1]);
});

test('with a revoked key nothing is lost: the next page, with another key, sends it', async () => {
  const visitor = await stage.visit({ script: LOGIN });
  const made = await visitor.ask('mutation { createApiKey(name: "page", scopes: [INGEST]) { key apiKey { id } } }');
  const { key, apiKey } = made.createApiKey;
  const page = await visitor.context.newPage();
  await page.addInitScript(
    `globalThis.other = ${JSON.stringify({ url: stage.app.url, key, name: 'other', flushEvery: 0.05 })}`,
  );
  await page.goto(stage.shop);
  const start = `globalThis.second = footsteps.createTracker({ ...other, onError: ({ code }) => errors.push(code) }); second.identify('ada');`;
  await page.evaluate(`${start} second.track('step', { value: 0 })`);
  await until(visitor, 1);
  await visitor.ask('mutation ($id: ID!) { revokeApiKey(id: $id) { id } }', { id: apiKey.id });
  await page.evaluate(`second.track('step', { value: 1 })`);
  await page.waitForFunction(`errors.includes('UNAUTHENTICATED')`);
  await page.evaluate(`second.track('step', { value: 2 })`);
  await page.reload();
  await page.evaluate(start.replace('...other', `...other, key: '${visitor.key}'`));
  await until(visitor, 3);
  expect(await values(visitor)).toEqual([0, 1, 2]);
  await page.close();
});

test('a server that says when to come again is asked again then, and not before', async () => {
  const visitor = await stage.visit({ script: LOGIN });
  const page = await visitor.context.newPage();
  await page.clock.install();
  await page.goto(stage.shop);
  await visitor.ask('mutation { updateProject(settings: { rateLimit: 60 }) { id } }');
  await Promise.allSettled(Array.from({ length: 60 }, () => visitor.ask('{ project { name } }')));
  const told = page.waitForResponse((response) => response.status() === 429);
  while (!(await page.evaluate('errors.length'))) {
    await page.evaluate(TRACK(0, 1));
    await page.clock.runFor(100);
    await page.evaluate('new Promise((resolve) => queueMicrotask(resolve))');
  }
  const wait = Number((await told).headers()['retry-after']);
  expect(wait).toBeGreaterThan(5);
  const before = visitor.sent.length;
  await page.evaluate(TRACK(1, 2));
  await page.clock.runFor((wait - 2) * 1_000);
  expect(visitor.sent.length).toBe(before);
  const again = page.waitForRequest('**/graphql');
  await page.clock.runFor(3_000);
  await again;
  expect(visitor.sent.length).toBe(before + 1);
});

test('a server that asks for a pause of months gets one of an hour', async () => {
  const visitor = await stage.visit({ script: LOGIN });
  const page = await visitor.context.newPage();
  await page.clock.install();
  await page.route('**/graphql', (route) => {
    const error = { message: 'Too many.', extensions: { code: 'RATE_LIMITED' } };
    const headers = {
      'Retry-After': '9999999',
      'Access-Control-Allow-Origin': '*',
      'Access-Control-Expose-Headers': 'Retry-After',
    };
    return route.fulfill({ status: 429, headers, json: { errors: [error] } });
  });
  await page.goto(stage.shop);
  await page.evaluate(TRACK(0, 1));
  await page.clock.runFor(100);
  await page.waitForFunction('errors.length > 0');
  await page.clock.runFor(3_590_000);
  expect([visitor.sent.length, await visitor.errors(page)]).toEqual([1, ['RATE_LIMITED']]);
  const again = page.waitForRequest('**/graphql');
  await page.clock.runFor(10_000);
  await again;
  await page.waitForFunction('errors.length === 2');
});

test('a token that has run out is replaced, and nothing is lost', async () => {
  const visitor = await stage.visit();
  const page = await visitor.context.newPage();
  let tokens = 0;
  await page.exposeFunction('newToken', async () => {
    tokens += 1;
    const made = await post(
      stage.app.url,
      visitor.key,
      `mutation { createAccessToken(scopes: [INGEST], identities: ["ada"], expiresIn: ${tokens === 1 ? 1 : 600}) { token } }`,
    );
    return made.data.createAccessToken.token as string;
  });
  await page.goto(stage.shop);
  await page.evaluate(
    `globalThis.second = footsteps.createTracker({ url: '${stage.app.url}', token: newToken, name: 'other', flushEvery: 0.05 });
    second.identify('ada'); second.track('step', { value: 0 });`,
  );
  await until(visitor, 1);
  let count = 1;
  while (tokens < 2) {
    await page.evaluate(`second.track('step', { value: ${count} }); second.flush()`);
    count += 1;
  }
  await page.evaluate('second.flush()');
  expect(await values(visitor)).toEqual(upTo(count));
  expect(tokens).toBe(2);
  await page.close();
});

test('storage that is full or forbidden costs nothing of what is sent', async () => {
  const visitor = await stage.visit({ script: LOGIN });
  const page = await visitor.open();
  await page.evaluate(`
    for (let size = 1 << 20; size > 0; size >>= 1) try { for (let at = 0; ; at += 1) localStorage.setItem(size + ' ' + at, 'x'.repeat(size)); } catch {}
    ${TRACK(0, 100)}`);
  await until(visitor, 100);
  // A page in such a frame has no storage at all.
  await page.evaluate(`
    const frame = document.createElement('iframe');
    frame.sandbox = 'allow-scripts';
    frame.srcdoc = document.documentElement.innerHTML + '<script>' + ${JSON.stringify(TRACK(100, 200))} + '</' + 'script>';
    document.body.append(frame);`);
  await until(visitor, 200);
  expect(await values(visitor)).toEqual(upTo(200));
  expect(await visitor.errors(page)).toEqual([]);
});

test('what a user did is never sent under the name of another', async () => {
  const visitor = await stage.visit();
  const page = await visitor.open();
  await visitor.context.setOffline(true);
  await page.evaluate(`
    client.track('step', { value: 0 });
    client.identify('ada'); client.track('step', { value: 1 });
    client.reset(); client.track('step', { value: 2 });
    client.identify('ben'); client.track('step', { value: 3 });`);
  await visitor.context.setOffline(false);
  await until(visitor, 4);
  await until(visitor, 5);
  const events = await visitor.events();
  expect(events.map(({ type, value, user }) => [type, value, user?.identity])).toEqual([
    ['step', 0, undefined],
    ['step', 1, 'ada'],
    ['sessionend', null, 'ada'],
    ['step', 2, undefined],
    ['step', 3, 'ben'],
  ]);
  // Who signs in is the visitor from before; after a sign-out somebody else begins.
  const [first, second, , third, fourth] = events.map(({ session }) => session!.id);
  expect([first === second, third === fourth, second === third]).toEqual([true, true, false]);
  const device = await page.evaluate('client.deviceId');
  await page.evaluate(`client.reset({ newDevice: true }); client.track('step', { value: 4 })`);
  await until(visitor, 7);
  expect((await visitor.events()).at(-1)).toMatchObject({ value: 4, user: null });
  expect(await page.evaluate('client.deviceId')).not.toBe(device);
});

test('errors that nobody has caught are events with their stack', async () => {
  const visitor = await stage.visit({ options: { errors: true }, script: LOGIN });
  const page = await visitor.open('/broken');
  await page.evaluate(
    `setTimeout(() => { throw new TypeError('no price') }); void Promise.reject(new Error('no stock'));`,
  );
  await until(visitor, 2);
  const { events } = await visitor.ask('{ events(filter: { types: ["error"] }) { nodes { message source data } } }');
  expect(events.nodes.map(({ message }: any) => message).toSorted()).toEqual(['no price', 'no stock']);
  const [{ source, data }] = events.nodes.filter(({ message }: any) => message === 'no price');
  expect([source, data['@simple_error'].type, data['@simple_error'].stack_trace]).toEqual([
    '/broken',
    'TypeError',
    expect.stringContaining('TypeError: no price'),
  ]);
});

test('who has opted out, or asks by their browser not to be tracked, leaves nothing', async () => {
  const quiet = await stage.visit({
    options: { pageViews: true, respectGlobalPrivacyControl: true, useSessions: {} },
    before: `Object.defineProperty(navigator, 'globalPrivacyControl', { value: true })`,
    script: LOGIN,
  });
  const silent = await quiet.open();
  const visitor = await stage.visit({ options: { useSessions: {} }, script: LOGIN });
  const page = await visitor.open();
  await page.evaluate(`client.track('step', { value: 0 }); client.optOut(); client.track('step', { value: 1 });`);
  expect(await page.evaluate('Object.keys(localStorage)')).toEqual(['footsteps:out']);
  await page.reload();
  await page.evaluate(`client.track('step', { value: 2 }); client.flush()`);
  await page.evaluate(`client.optIn(); client.track('step', { value: 3 }); client.flush()`);
  expect(await values(visitor)).toEqual([3]);
  for (const one of [silent, page])
    expect(await one.context().cookies(stage.app.url)).toMatchObject([{ name: 'visit' }]);
  expect(await silent.evaluate('Object.keys(localStorage)')).toEqual([]);
  expect(quiet.sent).toEqual([]);
});

test('all tabs obey at once who opts out in one of them, and nothing from before is sent later', async () => {
  const visitor = await stage.visit({ options: { flushEvery: 60 }, script: LOGIN });
  const [first, second] = [await visitor.open(), await visitor.open()];
  const isOut = (out: boolean): Promise<unknown> =>
    Promise.all([first, second].map((page) => page.waitForFunction(`client.isOptedOut === ${out}`)));
  await first.evaluate(TRACK(0, 10));
  await second.evaluate(TRACK(10, 20));
  await first.evaluate('client.optOut()');
  await isOut(true);
  await second.evaluate(TRACK(20, 30));
  expect(await second.evaluate('[client.deviceId, Object.keys(localStorage)]')).toEqual([null, ['footsteps:out']]);
  await second.evaluate('client.optIn()');
  await isOut(false);
  await first.evaluate(TRACK(30, 35));
  await second.evaluate(TRACK(35, 40));
  // Out and in again within a moment.
  await first.evaluate('client.optOut(); client.optIn()');
  const device: string = await first.evaluate('client.deviceId');
  await second.waitForFunction(`client.deviceId === '${device}'`);
  await second.evaluate(TRACK(40, 50));
  for (const page of [first, second]) expect(await page.evaluate('client.flush()')).toBe(0);
  expect(await values(visitor)).toEqual(upTo(10).map((at) => 40 + at));
  expect(await first.evaluate('client.deviceId')).toBe(await second.evaluate('client.deviceId'));
  expect([await visitor.errors(first), await visitor.errors(second)]).toEqual([[], []]);
});

test('two clients of one page, of whatever names, leave the entries of each other alone', async () => {
  const visitor = await stage.visit({ options: { name: 'shop' } });
  const page = await visitor.open();
  await page.evaluate(`
    for (const name of ['shop.event', 'shop:event', 'shop%3Aevent', 'sho']) {
      const other = footsteps.createTracker({ url: '${stage.app.url}', key: '${visitor.key}', name, flushEvery: 60 });
      other.track(name, { value: 1 });
    }
    ${TRACK(0, 1)}`);
  await until(visitor, 1);
  await page.evaluate('client.optOut()');
  const names = await page.evaluate<string[]>(`Object.keys(localStorage).filter((key) => !/:(tab|heard)/.test(key))`);
  expect(names.map((name) => name.replace(/event\.[\da-f-]{36}$/, 'event')).toSorted()).toEqual([
    'sho:device',
    'sho:event',
    'shop%253Aevent:device',
    'shop%253Aevent:event',
    'shop%3Aevent:device',
    'shop%3Aevent:event',
    'shop.event:device',
    'shop.event:event',
    'shop:out',
  ]);
});

test('events that wait for the token of their user take no more room than there is', async () => {
  const visitor = await stage.visit();
  const page = await visitor.context.newPage();
  await page.exposeFunction('newToken', async (identity: string) => {
    const mint = 'mutation ($for: [String!]) { createAccessToken(scopes: [INGEST], identities: $for) { token } }';
    return (await post(stage.app.url, visitor.key, mint, { for: [identity] })).data.createAccessToken.token as string;
  });
  await page.goto(stage.shop);
  const start = (identity: string): string => `
    globalThis.second = footsteps.createTracker({ url: '${stage.app.url}', token: () => newToken('${identity}'), name: 'other',
      flushEvery: 0.05, useSessions: false, onError: ({ code }) => errors.push(code) });`;
  // Two thirds of the room.
  await page.evaluate(`${start('ada')}
    for (let value = 0; value < 350; value += 1)
      second.track('step', { value, user: { identity: 'ben' }, message: 'x'.repeat(7_500) });`);
  await page.waitForFunction('errors.length === 350');
  await page.waitForFunction('second.flush().then((count) => count === 0)');
  await page.context().setOffline(true);
  await page.evaluate(`
    for (let value = 350; value < 700; value += 1)
      second.track('step', { value, user: { identity: 'ben' }, message: 'x'.repeat(7_500) });`);
  const kept: string[] = await page.evaluate(
    `Object.keys(localStorage).filter((key) => key.startsWith('other:event')).map((key) => localStorage.getItem(key))`,
  );
  expect(kept.reduce((sum, json) => sum + json.length, 0)).toBeLessThanOrEqual(4_000_000);
  expect(await page.evaluate(`errors.includes('QUEUE_FULL')`)).toBe(true);
  const left = kept.map((json) => JSON.parse(json).value).toSorted((one, other) => one - other);
  expect(left).toEqual(upTo(left.length).map((at) => 700 - left.length + at));
  await page.context().setOffline(false);
  await page.reload();
  await page.evaluate(start('ben'));
  await until(visitor, left.length);
  expect(await values(visitor)).toEqual(left);
}, 60_000);

test('a bad event is dropped alone, and told', async () => {
  const visitor = await stage.visit({ script: LOGIN });
  const page = await visitor.open();
  await page.evaluate(`
    ${TRACK(0, 10)}
    client.track('step', { value: 'a text' });
    client.track('step', { message: 'x'.repeat(20000) });
    const ring = {}; ring.self = ring;
    client.track('step', { data: ring });
    ${TRACK(10, 20)}`);
  await until(visitor, 21);
  await page.evaluate('client.flush()');
  // The ring is left out of its event.
  expect((await values(visitor)).toSorted((a, b) => (a ?? -1) - (b ?? -1))).toEqual([null, ...upTo(20)]);
  expect((await visitor.errors(page)).toSorted()).toEqual(['BAD_EVENT', 'BAD_USER_INPUT', 'TOO_LARGE']);
});
