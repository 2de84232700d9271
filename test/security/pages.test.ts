import { connect, type Socket } from 'node:net';
import { gunzipSync } from 'node:zlib';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { post, startTestApp, type TestApp } from '../support/app.js';
import { createTestDatabase, type TestDatabase } from '../support/database.js';
import { record } from '../support/ledger.js';

/** What anybody gets without a key: pages, and how it is. */

let db: TestDatabase;
let app: TestApp;
beforeAll(async () => {
  db = await createTestDatabase();
  app = await startTestApp(db, { RATE_LIMIT_PER_ADDRESS: '0' });
});
afterAll(async () => {
  await app.close('test');
  await db.drop();
});

const MEGABYTE = 1024 * 1024;
const BROWSER = { Accept: 'text/html,application/xhtml+xml', 'Accept-Encoding': 'gzip, deflate, br' };
const page = (path: string, headers: Record<string, string> = {}, { url } = app) =>
  fetch(url + path, { headers: { ...BROWSER, ...headers } });
const statements = (name: string): number =>
  app.observations.filter((one) => one.kind === 'statement' && one.name === name).length;

describe('static answers', () => {
  test('GraphiQL is packed once, and known again by its tag', async () => {
    const first = await page('/graphql');
    expect([first.status, first.headers.get('content-encoding')]).toEqual([200, 'gzip']);
    expect(Number(first.headers.get('content-length'))).toBeLessThan(3 * MEGABYTE);
    const text = await first.text();
    expect(text).toContain('YogaGraphiQL');
    const plain = await page('/graphql', { 'Accept-Encoding': 'identity' });
    expect(await plain.text()).toBe(text);
    const known = await page('/graphql', { 'If-None-Match': first.headers.get('etag')! });
    expect([known.status, await known.text()]).toEqual([304, '']);
  });

  test('300 connections that ask for it and read nothing hold no page each', async () => {
    await (await page('/graphql')).arrayBuffer();
    const { port, hostname } = new URL(app.url);
    const before = process.memoryUsage.rss();
    const sockets: Socket[] = [];
    const answered: Promise<void>[] = [];
    for (let at = 0; at < 300; at += 1) {
      const socket = connect(Number(port), hostname);
      // The beginning of its answer is all it takes.
      answered.push(
        new Promise((resolve) => {
          socket.once('data', () => {
            socket.pause();
            resolve();
          });
        }),
      );
      // Not packed: the largest that there is.
      socket.write('GET /graphql HTTP/1.1\r\nHost: x\r\nAccept: text/html\r\n\r\n');
      sockets.push(socket);
    }
    await Promise.all(answered);
    const most = process.memoryUsage.rss() - before;
    for (const socket of sockets) socket.destroy();
    expect(most).toBeLessThan(256 * MEGABYTE);
    record('pages asked for and not read', sockets.length);
    record('pages not read: megabytes held', Math.round(most / MEGABYTE));
  }, 60_000);

  test('every page has a policy, and stands in no frame', async () => {
    for (const path of ['/', '/sessions', '/graphql', '/graphql/', '/nowhere']) {
      const { headers } = await page(path);
      const policy = headers.get('content-security-policy') ?? '';
      expect([path, headers.get('content-type')]).toEqual([path, 'text/html; charset=utf-8']);
      expect([path, policy]).toEqual([path, expect.stringContaining("frame-ancestors 'none'")]);
      expect([path, policy]).toEqual([path, expect.stringContaining("default-src 'none'")]);
      // No script but the page's own.
      expect(/script-src [^;]*unsafe/.test(policy)).toBe(false);
      expect(headers.get('x-content-type-options')).toBe('nosniff');
    }
  });

  test('GRAPHIQL=off gives no page, and GraphQL as ever', async () => {
    const off = await startTestApp(db, { GRAPHIQL: 'off' });
    const answer = await page('/graphql', {}, off);
    expect([answer.status, answer.headers.get('content-type')]).toEqual([401, expect.stringContaining('json')]);
    expect((await post(off.url, null, '{ project { name } }')).status).toBe(401);
    await off.close('test');
  });

  test('a packed page is what it was', async () => {
    const { port, hostname } = new URL(app.url);
    const socket = connect(Number(port), hostname);
    const chunks: Buffer[] = [];
    socket.on('data', (chunk: Buffer) => chunks.push(chunk));
    socket.write(
      'GET /graphql HTTP/1.1\r\nHost: x\r\nAccept: text/html\r\nAccept-Encoding: gzip\r\nConnection: close\r\n\r\n',
    );
    await new Promise((resolve) => socket.once('close', resolve));
    const all = Buffer.concat(chunks);
    const body = all.subarray(all.indexOf('\r\n\r\n') + 4);
    expect(gunzipSync(body).toString()).toBe(await (await page('/graphql', { 'Accept-Encoding': 'identity' })).text());
  });
});

describe('every request is charged to its address', () => {
  let guarded: TestApp;
  beforeAll(async () => {
    guarded = await startTestApp(db, {
      REDIS_URL: '',
      RATE_LIMIT_PER_ADDRESS: '15',
      TRUSTED_PROXIES: 'loopback',
    });
  });
  afterAll(() => guarded.close('test'));

  let addresses = 0;
  test.each([
    ['GraphiQL', '/graphql', {}],
    ['the dashboard', '/', {}],
    ['a page that is not there', '/nowhere', {}],
    ['a file', '/icon.svg', {}],
    ['nothing', '/nothing', { headers: { Accept: '*/*' } }],
    ['a preflight', '/graphql', { method: 'OPTIONS' }],
    ['a body of an unknown kind', '/graphql', { method: 'POST', body: 'x' }],
    ['metrics', '/metrics', {}],
    ['the collector’s preflight', '/api/v2/events', { method: 'OPTIONS' }],
    ['what the collector does not have', '/api/v2/nowhere', {}],
    ['an operation that is none', '/graphql', { headers: { Accept: '*/*' } }],
  ] as const)('%s', async (_name, path, init: RequestInit) => {
    // An address of its own.
    const address = `10.9.0.${(addresses += 1)}`;
    const ask = async (): Promise<number> => {
      const headers = { ...BROWSER, ...(init.headers as object), 'X-Forwarded-For': address };
      const answer = await fetch(guarded.url + path, { ...init, headers });
      await answer.arrayBuffer();
      return answer.status;
    };
    const statuses: number[] = [];
    for (let at = 0; at < 18; at += 1) statuses.push(await ask());
    expect(statuses[0]).not.toBe(429);
    expect(statuses.at(-1)).toBe(429);
    // How it is, is told all the same.
    const health = await fetch(`${guarded.url}/health/live`, { headers: { 'X-Forwarded-For': address } });
    expect(health.status).toBe(200);
  });
});

test('/health/ready asks the database once a second at most, for all who ask', async () => {
  const before = statements('health');
  const start = performance.now();
  const answers = await Promise.all(Array.from({ length: 300 }, () => fetch(`${app.url}/health/ready`)));
  expect(new Set(answers.map(({ status }) => status))).toEqual(new Set([200]));
  const seconds = (performance.now() - start) / 1_000;
  expect(statements('health') - before).toBeLessThanOrEqual(Math.ceil(seconds) + 1);
  record('questions to /health/ready', answers.length);
  record('statements they took', statements('health') - before);
});
