import { afterAll, beforeAll, expect, test } from 'vitest';
import { createDatabase } from '../../src/adapters/postgres/postgres.js';
import type { Database } from '../../src/store/database.js';
import { connect, createProject, eventually, listen, post, startTestApp, type TestApp } from '../support/app.js';
import { startOwnPostgres, type PostgresServer } from '../support/postgres.js';

/** Seconds: the shortest there may be. */
const PRESENCE_TIMEOUT = 2;

let postgres: PostgresServer;
let apps: TestApp[];
let database: Database;
beforeAll(async () => {
  postgres = await startOwnPostgres({ survivesKill: true });
  const db = { url: postgres.url } as Parameters<typeof startTestApp>[0];
  apps = [await startTestApp(db), await startTestApp(db)];
  database = createDatabase({ url: postgres.url, poolSize: 1, observe: () => {} });
});
afterAll(async () => {
  await Promise.all(apps.map((app) => app.close('test')));
  await database.close();
  await postgres.stop();
});

test('Postgres is away for longer than presenceTimeout: nobody who goes on speaking is told offline, and a ghost goes in time', async () => {
  const [app, other] = apps as [TestApp, TestApp];
  const key = await createProject(app.url, { presenceTimeout: PRESENCE_TIMEOUT, inactivityTimeout: 10 });
  const client = connect(other.url, key);
  const watch = listen(client, 'subscription { userPresence { kind users { identity status since } } }');
  await watch.until((heard) => heard.length === 1);
  const users = Array.from({ length: 50 }, (_, at) => ({ type: 'heartbeat', user: { identity: `user ${at}` } }));
  const ghost = { type: 'heartbeat', user: { identity: 'ghost' } };
  const send = async (events: object[]): Promise<boolean> => {
    const { data } = await post(
      app.url,
      key,
      'mutation ($events: [EventInput!]!) { ingestEvents(events: $events) { results { status } } }',
      { events },
    );
    return data?.ingestEvents !== undefined && data.ingestEvents !== null;
  };
  expect(await send([...users, ghost])).toBe(true);
  const since = await database.query({ name: 'test', text: 'SELECT identity, status_since FROM users ORDER BY 1' });
  expect(since).toHaveLength(51);

  await postgres.kill();
  const gone = performance.now();
  await eventually(() => performance.now() - gone > PRESENCE_TIMEOUT * 1000 + 1_500);
  await postgres.restart();
  const back = Date.now();
  const offline = () =>
    watch.heard
      .flatMap(({ users: changes }) => changes as { identity: string; status: string; since: string }[])
      .filter(({ status }) => status === 'OFFLINE');
  // They come again a moment after the closers have looked, and then as if nothing had been.
  const looks = (): number =>
    apps
      .flatMap(({ observations }) => observations)
      .filter((one) => one.kind === 'statement' && one.name === 'closer.due').length;
  const before = looks();
  await eventually(() => looks() > before + 10);
  let stopped = false;
  const speaking = (async () => {
    while (!stopped) {
      await send(users);
      const said = performance.now();
      await eventually(() => performance.now() - said > 300);
    }
  })();
  await eventually(() => offline().length > 0);
  await eventually(() => Date.now() - back > (PRESENCE_TIMEOUT + 3) * 1000);
  stopped = true;
  await speaking;
  expect(offline().map(({ identity }) => identity)).toEqual(['ghost']);
  const late = Date.parse(offline()[0]!.since) - back - PRESENCE_TIMEOUT * 1000;
  expect(late).toBeLessThan(2_000);
  expect(
    await database.query({
      name: 'test',
      text: `SELECT identity, status_since FROM users WHERE online_sessions > 0 ORDER BY 1`,
    }),
  ).toEqual(since.filter(({ identity }: any) => identity !== 'ghost'));
  watch.stop();
  await client.dispose();
});
