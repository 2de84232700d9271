import { createServer } from 'node:http';
import type { AddressInfo } from 'node:net';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { createProject, post, startTestApp } from '../support/app.js';
import { startChromium } from '../support/chromium.js';
import { createTestDatabase } from '../support/database.js';

const GRAPHQL_SSE = fileURLToPath(new URL('../../node_modules/graphql-sse/umd/graphql-sse.js', import.meta.url));

test('a page of another origin has more subscriptions on one stream than a browser has connections', async () => {
  const db = await createTestDatabase();
  const app = await startTestApp(db, { REDIS_URL: '' });
  const key = await createProject(app.url);
  const browser = await startChromium();
  const shop = createServer((_request, response) => {
    response.setHeader('Content-Type', 'text/html');
    response.end('<title>Shop</title>');
  });
  await new Promise<void>((resolve) => shop.listen(0, '127.0.0.1', resolve));
  try {
    const page = await browser.newPage();
    await page.goto(`http://127.0.0.1:${(shop.address() as AddressInfo).port}`);
    await page.addScriptTag({ path: GRAPHQL_SSE });
    await page.evaluate(
      ([url, credential]) => {
        const { graphqlSse } = globalThis as any;
        const headers = { Authorization: `Bearer ${credential}` };
        const client = graphqlSse.createClient({ url, headers, singleConnection: true });
        const heard: unknown[][] = [];
        Object.assign(globalThis, { heard });
        for (let at = 0; at < 10; at += 1) {
          const own: unknown[] = [];
          heard.push(own);
          const sink = {
            next: (result: unknown) => own.push(result),
            error: (error: unknown) => own.push(String(error)),
            complete: () => own.push('complete'),
          };
          const query = `subscription { userPresence(identities: ["user ${at}"]) { kind users { identity status } } }`;
          client.subscribe({ query }, sink);
        }
      },
      [`${app.url}/graphql`, key],
    );
    await page.waitForFunction('heard.every((own) => own.length === 1)', undefined, { timeout: 20_000 });
    const events = Array.from({ length: 10 }, (_, at) => ({ user: { identity: `user ${at}` } }));
    await post(app.url, key, 'mutation ($events: [EventInput!]!) { ingestEvents(events: $events) { accepted } }', {
      events,
    });
    await page.waitForFunction('heard.every((own) => own.length === 2)', undefined, { timeout: 20_000 });
    const heard = (await page.evaluate('heard')) as any[][];
    expect(heard.map(([, second]) => second.data.userPresence)).toEqual(
      events.map(({ user }) => ({ kind: 'DIFF', users: [{ ...user, status: 'ONLINE' }] })),
    );
  } finally {
    await browser.close();
    shop.close();
    await app.close('test');
    await db.drop();
  }
}, 60_000);
