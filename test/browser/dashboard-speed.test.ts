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

test('the files come packed, kept for ever where their names are hashed, and under a strict policy', async () => {
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
  expect((await fetch(`${url}/`, { method: 'POST' })).status).toBe(404);
});

test('the first load has less than 200 kB of script, packed', async () => {
  const page = await (await get('/')).text();
  const paths = [...page.matchAll(/"(\/assets\/[^"]+\.js)"/g)].map(([, path]) => path!);
  let bytes = 0;
  for (const path of paths) bytes += gzipSync(Buffer.from(await (await get(path)).arrayBuffer()), { level: 9 }).length;
  console.log(`${paths.length} script(s), ${(bytes / 1_000).toFixed(1)} kB with gzip`);
  expect(bytes).toBeGreaterThan(10_000);
  expect(bytes).toBeLessThan(200_000);
});

test('something useful is painted within a second', async () => {
  const key = await createProject(url);
  await send(url, key, [{ type: 'page view', occurredAt: ago(60), user: { identity: 'ada' } }]);
  const { page, context } = await openDashboard(browser, url, key);
  await page.reload();
  await page.locator('.figure-value').first().waitFor();
  const { painted, useful } = await page.evaluate(() => ({
    painted: performance.getEntriesByName('first-contentful-paint')[0]!.startTime,
    useful: performance.now(),
  }));
  console.log(`first paint after ${painted.toFixed(0)} ms, figures after at most ${useful.toFixed(0)} ms`);
  expect(painted).toBeLessThan(1_000);
  await context.close();
}, 60_000);

test('a list of 10,000 rows is scrolled through smoothly, and few of them are drawn', async () => {
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
    const end = (): boolean => document.body.innerText.includes('That is all of them.');
    while (!end()) {
      window.scrollTo(0, document.documentElement.scrollHeight);
      await new Promise(requestAnimationFrame);
    }
  });
  expect(await page.getByRole('table').getAttribute('aria-rowcount')).toBe('10001');
  // Up through 120,000 pixels of them, faster than a thumb.
  const frames = await page.evaluate(async () => {
    const lengths: number[] = [];
    let before = performance.now();
    let most = 0;
    while (window.scrollY > 0 && lengths.length < 400) {
      window.scrollBy(0, -300);
      const now = await new Promise<number>(requestAnimationFrame);
      lengths.push(now - before);
      before = now;
      most = Math.max(most, document.querySelectorAll('.session-row').length);
    }
    return { median: lengths.toSorted((a, b) => a - b)[Math.floor(lengths.length / 2)]!, count: lengths.length, most };
  });
  console.log(
    `${frames.count} frames, half of them within ${frames.median.toFixed(1)} ms; at most ${frames.most} rows drawn`,
  );
  expect(frames.most).toBeLessThan(120);
  expect(frames.median).toBeLessThan(35);
  await context.close();
}, 180_000);
