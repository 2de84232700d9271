import { createClient as createSseClient } from 'graphql-sse';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { print } from 'graphql';
import {
  IngestEventsDocument,
  RecordHeartbeatDocument,
  SessionsOfDocument,
  WatchPresenceDocument,
} from '../generated/graphql.js';
import { collect, connect, createProject, listen, OPERATOR_KEY, request } from '../support/app.js';
import { createTestDatabase, type TestDatabase } from '../support/database.js';
import { startServer, type ServerProcess } from '../support/server.js';
import { redisUrl } from '../support/redis.js';

/** Two servers as processes: one ingests, the subscribers are connected to the other. */

let db: TestDatabase;
let ingesting: ServerProcess;
let watched: ServerProcess;
beforeAll(async () => {
  db = await createTestDatabase();
  const env = {
    DATABASE_URL: db.url,
    REDIS_URL: redisUrl(),
    OPERATOR_KEY,
    LOG_LEVEL: 'warn',
    CLOSER_INTERVAL: '200ms',
  };
  [ingesting, watched] = await Promise.all([startServer(env), startServer(env)]);
});
afterAll(async () => {
  await Promise.all([ingesting.stop(), watched.stop()]);
  await db.drop();
});

const PRESENCE = print(WatchPresenceDocument);

test('a user is ONLINE at once, OFFLINE at the end of the session, and OFFLINE by itself after vanishing', async () => {
  const key = await createProject(ingesting.url, { presenceTimeout: 2, inactivityTimeout: 10 });
  const socket = listen(connect(watched.url, key), PRESENCE);
  const sse = createSseClient({ url: `${watched.url}/graphql`, headers: { Authorization: `Bearer ${key}` } });
  const stream = collect((sink) => sse.subscribe({ query: PRESENCE }, sink));
  const both = [socket, stream];
  await Promise.all(both.map((one) => one.until((heard) => heard.length > 0)));

  const delays: number[] = [];
  for (let round = 0; round < 20; round += 1) {
    const identity = `user ${round}`;
    const send = (type: string) =>
      request(ingesting.url, key, IngestEventsDocument, { events: [{ type, user: { identity } }] });
    for (const [type, status] of [
      ['log', 'ONLINE'],
      ['sessionend', 'OFFLINE'],
    ] as const) {
      await send(type);
      const answered = performance.now();
      await Promise.all(
        both.map((one) =>
          one.until((heard) =>
            heard.some(({ users }) => users.some((user: any) => user.identity === identity && user.status === status)),
          ),
        ),
      );
      delays.push(performance.now() - answered);
    }
  }
  delays.sort((a, b) => a - b);
  console.log(
    `heard after the answer, ${delays.length} edges on two watchers of another server: median ${delays[20]!.toFixed(1)} ms, slowest ${delays.at(-1)!.toFixed(1)} ms`,
  );

  // A client that vanishes after a heartbeat is offline after presenceTimeout; one that never sent any, after inactivityTimeout.
  const { recordHeartbeat } = await request(ingesting.url, key, RecordHeartbeatDocument, {
    input: { identity: 'vanished', close: false },
  });
  expect(recordHeartbeat.acknowledged).toBe(true);
  await request(ingesting.url, key, IngestEventsDocument, { events: [{ type: 'log', user: { identity: 'silent' } }] });
  const start = performance.now();
  const gone = (identity: string) =>
    Promise.all(
      both.map((one) =>
        one.until(
          (heard) => heard.at(-1).users.some((user: any) => user.identity === identity && user.status === 'OFFLINE'),
          20_000,
        ),
      ),
    );
  await gone('vanished');
  const vanished = performance.now() - start;
  const still = await request(watched.url, key, SessionsOfDocument, { identities: ['vanished'] });
  expect(still.sessions.nodes).toMatchObject([{ status: 'ACTIVE' }]);
  await gone('silent');
  const silent = performance.now() - start;
  console.log(
    `vanished: offline after ${(vanished / 1000).toFixed(1)} s (presenceTimeout 2 s), silent: after ${(silent / 1000).toFixed(1)} s (inactivityTimeout 10 s)`,
  );
  expect(vanished).toBeGreaterThan(1_800);
  expect(silent).toBeGreaterThan(9_500);
  const ended = await request(watched.url, key, SessionsOfDocument, { identities: ['silent'] });
  expect(ended.sessions.nodes).toMatchObject([{ status: 'ENDED', endReason: 'INACTIVITY' }]);
  for (const one of both) one.stop();
}, 60_000);
