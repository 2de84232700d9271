import { expect, test } from 'vitest';
import { createProject, post, startTestApp } from '../support/app.js';
import { startChromium } from '../support/chromium.js';
import { createTestDatabase } from '../support/database.js';

const USERS = 500;
interface Snapshot {
  readonly users: readonly { readonly identity: string }[];
}

const QUERY = 'subscription { userPresence { kind users { id identity status } } }';

test('a browser reads compressed messages, over a WebSocket and over an event stream', async () => {
  const db = await createTestDatabase();
  const app = await startTestApp(db, { REDIS_URL: '' });
  const key = await createProject(app.url);
  const events = Array.from({ length: USERS }, (_, at) => ({ type: 'view', user: { identity: `user ${at}` } }));
  await post(app.url, key, 'mutation ($events: [EventInput!]!) { ingestEvents(events: $events) { accepted } }', {
    events,
  });
  const browser = await startChromium();
  try {
    const page = await browser.newPage();
    await page.goto(app.url);
    const streaming = page.waitForResponse((response) => response.url().includes('access_token='));
    const { by, socket, stream } = await page.evaluate(
      async ([credential, query]) => {
        interface Result {
          readonly data: { readonly userPresence: Snapshot };
        }
        const opened = new WebSocket(`${location.origin.replace('http', 'ws')}/graphql`, 'graphql-transport-ws');
        const say = (message: object): void => opened.send(JSON.stringify(message));
        opened.addEventListener('open', () => {
          say({ type: 'connection_init', payload: { authorization: `Bearer ${credential}` } });
        });
        const overSocket = new Promise<Result>((resolve) => {
          opened.addEventListener('message', ({ data }: MessageEvent<string>) => {
            const { type, payload } = JSON.parse(data) as { type: string; payload: Result };
            if (type === 'connection_ack') say({ id: 'one', type: 'subscribe', payload: { query } });
            if (type === 'next') resolve(payload);
          });
        });
        const events = new EventSource(`/graphql?access_token=${credential}&query=${encodeURIComponent(query!)}`);
        const overStream = new Promise<Result>((resolve) => {
          events.addEventListener('next', ({ data }: MessageEvent<string>) => resolve(JSON.parse(data) as Result));
        });
        return {
          socket: (await overSocket).data.userPresence,
          stream: (await overStream).data.userPresence,
          by: opened.extensions,
        };
      },
      [key, QUERY],
    );
    expect((await streaming).headers()['content-encoding']).toBe('gzip');
    expect(by).toContain('permessage-deflate');
    const identities = ({ users }: Snapshot) => users.map(({ identity }) => identity).toSorted();
    expect(identities(socket)).toEqual(events.map(({ user }) => user.identity).toSorted());
    expect(identities(stream)).toEqual(identities(socket));
  } finally {
    await browser.close();
    await app.close('test');
    await db.drop();
  }
});
