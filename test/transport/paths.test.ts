import { createClient } from 'graphql-ws';
import { afterAll, beforeAll, expect, test } from 'vitest';
import WebSocket from 'ws';
import { PLACES } from '../../src/dashboard/places.js';
import { createProject, listen, post, startTestApp, type TestApp } from '../support/app.js';
import { createTestDatabase, type TestDatabase } from '../support/database.js';

/** What a request finds by its path alone. */

let db: TestDatabase;
let app: TestApp;
let key: string;
beforeAll(async () => {
  db = await createTestDatabase();
  app = await startTestApp(db);
  key = await createProject(app.url);
});
afterAll(async () => {
  await app.close('test');
  await db.drop();
});

/** What a browser says that opens a page. */
const BROWSER = { Accept: 'text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8' };

test('GraphQL is at /graphql/ as it is at /graphql: POST, GET, event streams, GraphiQL and WebSockets', async () => {
  const url = `${app.url}/graphql/`;
  const authorized = { Authorization: `Bearer ${key}` };
  const query = '{ project { name } }';
  const expected = (await post(app.url, key, query)).data;
  const posted = await fetch(url, {
    method: 'POST',
    headers: { ...authorized, 'Content-Type': 'application/json' },
    body: JSON.stringify({ query }),
  });
  expect(await posted.json()).toMatchObject({ data: expected });
  const got = await fetch(`${url}?query=${encodeURIComponent(query)}`, { headers: authorized });
  expect(await got.json()).toMatchObject({ data: expected });

  const subscription = 'subscription { userPresence { kind } }';
  const stream = await fetch(`${url}?query=${encodeURIComponent(subscription)}`, {
    headers: { ...authorized, Accept: 'text/event-stream' },
  });
  expect([stream.status, stream.headers.get('content-type')]).toEqual([200, expect.stringContaining('event-stream')]);
  await stream.body!.cancel();

  const page = await fetch(url, { headers: BROWSER });
  expect(await page.text()).toBe(await (await fetch(`${app.url}/graphql`, { headers: BROWSER })).text());

  const client = createClient({
    url: url.replace('http', 'ws'),
    webSocketImpl: WebSocket,
    connectionParams: { authorization: `Bearer ${key}` },
    retryAttempts: 0,
  });
  await listen(client, subscription).until((heard) => heard[0]?.kind === 'SNAPSHOT');
  await client.dispose();
});

test('a WebSocket anywhere else is refused', async () => {
  const socket = new WebSocket(`${app.url.replace('http', 'ws')}/graphql/other`, 'graphql-transport-ws');
  const status = await new Promise((resolve) => {
    socket.on('unexpected-response', (_request, { statusCode }) => resolve(statusCode));
    socket.on('error', () => {});
    socket.on('open', () => resolve('opened'));
  });
  expect(status).toBe(400);
});

test('every place of the dashboard is the page, whoever asks; what is beside them is not', async () => {
  const page = await (await fetch(`${app.url}/`)).text();
  expect(page).toContain('<title>Footsteps</title>');
  for (const { path } of PLACES) {
    for (const address of path.endsWith('/*') ? [path.slice(0, -1), path.replace('*', 'a/b')] : [path]) {
      const found = await fetch(app.url + address);
      expect([address, found.status, await found.text()]).toEqual([address, 200, page]);
    }
  }
  for (const address of ['/user', '/online/', '/projects', '/sessions*', '/places.json', '/index.html.br'])
    expect([address, (await fetch(app.url + address)).status]).toEqual([address, 404]);
});

test('a browser that looks for a page that is not there is shown a page that says so; anybody else reads JSON', async () => {
  for (const path of ['/nothing', '/sessionss/1', '/graphql/other', '/health/nothing']) {
    const page = await fetch(`${app.url}${path}`, { headers: BROWSER });
    expect([page.status, page.headers.get('content-type')]).toEqual([404, 'text/html; charset=utf-8']);
    expect(await page.text()).toContain('<title>Footsteps</title>');
    // Even where it has the page already, since that is found elsewhere.
    const again = await fetch(`${app.url}${path}`, {
      headers: { ...BROWSER, 'If-None-Match': page.headers.get('etag')! },
    });
    expect(again.status).toBe(404);
    const head = await fetch(`${app.url}${path}`, { method: 'HEAD', headers: BROWSER });
    expect([head.status, await head.text()]).toEqual([404, '']);

    const other = await fetch(`${app.url}${path}`);
    expect([other.status, await other.json()]).toMatchObject([
      404,
      { errors: [{ extensions: { code: 'NOT_FOUND' } }] },
    ]);
    const sent = await fetch(`${app.url}${path}`, { method: 'POST', headers: BROWSER });
    expect([sent.status, await sent.json()]).toMatchObject([404, { errors: [{ extensions: { code: 'NOT_FOUND' } }] }]);
  }
});

test.each([
  ['/graphql', 'PATCH', 'GET, POST, PUT, DELETE'],
  ['/graphql?token=x', 'PATCH', 'GET, POST, PUT, DELETE'],
  ['/api/v2/events', 'GET', 'POST'],
  ['/api/v2/projects/config', 'PUT', 'GET'],
  ['/metrics', 'POST', 'GET, HEAD'],
  ['/schema.graphql', 'POST', 'GET, HEAD'],
  ['/', 'DELETE', 'GET, HEAD'],
  ['/sessions', 'OPTIONS', 'GET, HEAD'],
])('%s does not take %s, and says which methods it takes', async (path, method, allow) => {
  const refused = await fetch(app.url + path, { method, headers: { Authorization: `Bearer ${key}` } });
  expect([refused.status, refused.headers.get('allow')]).toEqual([405, allow]);
  expect(await refused.text()).toContain('METHOD_NOT_ALLOWED');
});
