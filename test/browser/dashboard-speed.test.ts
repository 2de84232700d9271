import { gzipSync } from 'node:zlib';
import type { Browser } from 'playwright-core';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { createProject } from '../support/app.js';
import { ago, openDashboard, send, createDashboardStage, type DashboardStage } from '../support/dashboard.js';

let stage: DashboardStage;
let url: string;
let browser: Browser;
beforeAll(async () => {
  stage = await createDashboardStage();
  ({ url, browser } = stage);
}, 300_000);
afterAll(() => stage?.close());

const get = (path: string, headers: Record<string, string> = {}): Promise<Response> => fetch(url + path, { headers });

test('the files are compressed, cached for ever if their names have a hash, and have a strict content policy', async () => {
  for (const path of ['/', '/online', '/sessions', '/sessions/abc', '/users/a%40b', '/project']) {
    const response = await get(path);
    expect(response.status).toBe(200);
    expect(response.headers.get('content-type')).toBe('text/html; charset=utf-8');
    expect(response.headers.get('cache-control')).toBe('no-cache');
    expect(response.headers.get('x-content-type-options')).toBe('nosniff');
    expect(response.headers.get('referrer-policy')).toBe('no-referrer');
    expect(response.headers.get('content-security-policy')).toMatch(/default-src 'none'.*script-src 'self';/);
    expect(response.headers.get('content-security-policy')).not.toContain('unsafe');
  }
  const page = await get('/');
  const again = await get('/', { 'If-None-Match': page.headers.get('etag')! });
  expect([again.status, await again.text()]).toEqual([304, '']);
  const scripts = [...(await page.text()).matchAll(/(?:src|href)="(\/assets\/[^"]+\.(?:js|css|svg))"/g)].map(
    ([, path]) => path!,
  );
  expect(scripts.length).toBeGreaterThanOrEqual(3);
  for (const path of scripts) {
    for (const [asked, coding] of [
      ['gzip, deflate, br', 'br'],
      ['gzip', 'gzip'],
      ['identity', null],
      ['br;q=0, gzip;q=0.5', 'gzip'],
    ] as const) {
      const response = await get(path, { 'Accept-Encoding': asked });
      expect(response.status).toBe(200);
      expect(response.headers.get('content-encoding')).toBe(coding);
      expect(response.headers.get('cache-control')).toBe('public, max-age=31536000, immutable');
      expect(response.headers.get('vary')).toBe('Accept-Encoding');
    }
  }
  const head = await fetch(`${url}/`, { method: 'HEAD' });
  expect([head.status, await head.text()]).toEqual([200, '']);
  for (const path of ['/nowhere', '/assets/nothing.js', '/index.html.br', '/..%2fpackage.json', '/sessionsx']) {
    expect((await get(path)).status).toBe(404);
  }
  expect((await fetch(`${url}/`, { method: 'POST' })).status).toBe(405);
});

test('the first load has less than 200 kB of compressed script', async () => {
  const page = await (await get('/')).text();
  const paths = [...page.matchAll(/"(\/assets\/[^"]+\.js)"/g)].map(([, path]) => path!);
  let bytes = 0;
  for (const path of paths) bytes += gzipSync(Buffer.from(await (await get(path)).arrayBuffer()), { level: 9 }).length;
  console.log(`${paths.length} script(s), ${(bytes / 1_000).toFixed(1)} kB with gzip`);
  expect(bytes).toBeGreaterThan(10_000);
  expect(bytes).toBeLessThan(200_000);
});

test('the page shows its figures after the scripts that it names at once, and few requests', async () => {
  const key = await createProject(url);
  await send(url, key, [{ type: 'page view', occurredAt: ago(60), user: { identity: 'ada' } }]);
  const { page, context } = await openDashboard(browser, url, key);
  // The page that was open may still ask.
  await page.goto('about:blank');
  const asked: string[] = [];
  page.on('request', (request) => asked.push(new URL(request.url()).pathname));
  await page.goto(url);
  await page.locator('.figure-value').first().waitFor();
  const { painted, useful } = await page.evaluate(() => ({
    painted: performance.getEntriesByName('first-contentful-paint')[0]!.startTime,
    useful: performance.now(),
  }));
  console.log(`first paint after ${painted.toFixed(0)} ms, figures after at most ${useful.toFixed(0)} ms`);
  // How long it takes is printed and not judged: it is the machine's. It rests on how much is loaded before.
  const named = [...(await (await get('/')).text()).matchAll(/"(\/assets\/[^"]+\.js)"/g)].map(([, path]) => path);
  expect(asked.filter((path) => path.endsWith('.js')).toSorted()).toEqual(named.toSorted());
  // What is counted has a request each, so that nothing waits for what is slow.
  expect(asked.filter((path) => path === '/graphql').length).toBeLessThanOrEqual(12);
  await context.close();
}, 60_000);

test('a list of 10,000 rows scrolls smoothly, and only a few rows are drawn', async () => {
  const key = await createProject(url);
  const events = Array.from({ length: 10_000 }, (_, place) => ({
    type: 'page view',
    occurredAt: ago(20_000 - place),
    user: { identity: `user-${place}` },
  }));
  await send(url, key, events);
  const { page, context } = await openDashboard(browser, url, key);
  await page.goto(`${url}/sessions`);
  await page.locator('.title-count').getByText('10,000').waitFor();
  await page.evaluate(async () => {
    const end = (): boolean => document.body.innerText.includes('End of the list.');
    while (!end()) {
      window.scrollTo(0, document.documentElement.scrollHeight);
      await new Promise(requestAnimationFrame);
    }
  });
  expect(await page.getByRole('table').getAttribute('aria-rowcount')).toBe('10001');
  // Up through 120,000 pixels of them, faster than a thumb. A frame's work is the rows that it draws anew: those that came
  // into view, and no others. How long a frame takes is printed and not judged: it is the machine's.
  const frames = await page.evaluate(async () => {
    const lengths: number[] = [];
    let before = performance.now();
    let most = 0;
    let drawn = 0;
    const rowsOf = (node: Node): number =>
      node instanceof Element ? Number(node.matches('.session-row')) + node.querySelectorAll('.session-row').length : 0;
    new MutationObserver((changes) => {
      for (const { addedNodes } of changes) for (const node of addedNodes) drawn += rowsOf(node);
    }).observe(document.body, { childList: true, subtree: true });
    while (window.scrollY > 0 && lengths.length < 400) {
      window.scrollBy(0, -300);
      const now = await new Promise<number>(requestAnimationFrame);
      lengths.push(now - before);
      before = now;
      most = Math.max(most, document.querySelectorAll('.session-row').length);
    }
    const median = lengths.toSorted((a, b) => a - b)[Math.floor(lengths.length / 2)]!;
    return { median, count: lengths.length, most, drawn };
  });
  console.log(
    `${frames.count} frames, half of them within ${frames.median.toFixed(1)} ms; at most ${frames.most} rows there, ${frames.drawn} drawn`,
  );
  expect(frames.most).toBeLessThan(120);
  expect(frames.drawn).toBeGreaterThan(frames.count);
  expect(frames.drawn / frames.count).toBeLessThan(12);
  await context.close();
}, 300_000);
