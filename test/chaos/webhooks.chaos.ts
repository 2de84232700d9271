import { randomUUID } from 'node:crypto';
import { expect, test } from 'vitest';
import { CreateProjectDocument } from '../generated/graphql.js';
import { eventually, OPERATOR_KEY, post, request } from '../support/app.js';
import { attempt, newToll, pause } from '../support/chaos-load.js';
import { record } from '../support/ledger.js';
import { freePort, startOwnPostgres } from '../support/postgres.js';
import { chooseSeed, diceOf } from '../support/random.js';
import { startOwnRedis } from '../support/redis.js';
import { startServer } from '../support/server.js';
import { startReceiver, type Received } from '../support/webhooks.js';

const INGEST = `mutation ($events: [EventInput!]!) { ingestEvents(events: $events) { accepted duplicates } }`;
const QUERY = 'subscription { changes(filter: { kinds: [EVENT] }) { ... on EventChange { event { message } } } }';
const USERS = ['ada', 'bob', 'eve'];
const KILLS = 3;

test('three servers are killed while they deliver, and Redis too: everything arrives, in order for each user', async () => {
  const name = 'webhooks';
  const dice = diceOf(chooseSeed(name));
  const postgres = await startOwnPostgres();
  let redis = await startOwnRedis();
  const secrets: string[] = [];
  const receivers = [await startReceiver(() => secrets.slice(0, 1)), await startReceiver(() => secrets.slice(1, 2))];
  const ports = [await freePort(), await freePort(), await freePort()];
  const envs = ports.map((port) => ({
    PORT: String(port),
    DATABASE_URL: postgres.url,
    REDIS_URL: redis.url,
    OPERATOR_KEY,
    WEBHOOKS_TO: 'private',
    LOG_LEVEL: 'warn',
  }));
  const servers = await Promise.all(envs.map((env) => startServer(env)));
  const urlOf = (): string => servers[dice.below(servers.length)]!.url;
  try {
    const { createProject } = await request(urlOf(), OPERATOR_KEY, CreateProjectDocument, { name });
    const { key } = createProject;
    for (const { url } of receivers) {
      const { data } = await post(
        urlOf(),
        key,
        'mutation ($url: String!, $query: String!) { createWebhook(url: $url, query: $query) { secret } }',
        { url, query: QUERY },
      );
      secrets.push(data.createWebhook.secret);
    }
    // Each answer takes a moment, so that a server that dies has a message under way; some say no.
    const slowly = (status: number) => (response: any) => void pause(60).then(() => response.writeHead(status).end());
    receivers[0]!.answers = [slowly(200)];
    receivers[1]!.answers = [...Array.from({ length: 12 }, () => slowly(200)), slowly(503), slowly(200)];

    // What was acknowledged, for each user in order. A request without an answer is sent again, with the same id.
    const acknowledged: string[] = [];
    const toll = newToll();
    let over = false;
    const users = USERS.map(async (user) => {
      for (let count = 0; !over; count += 1) {
        const event = { id: randomUUID(), type: 'log', message: `${user} ${count}`, user: { identity: user } };
        while (!(await attempt(toll, urlOf(), key, INGEST, { events: [event] }))) await pause(50);
        acknowledged.push(event.message);
        await pause(40);
      }
    });
    const arrived = (messages: readonly Received[]): string[] => {
      const first = new Map(messages.map((message) => [message.id, message] as const).toReversed());
      return [...first.values()]
        .toSorted((a, b) => messages.indexOf(a) - messages.indexOf(b))
        .flatMap(({ results }) => results.map(({ data }) => data.changes.event.message));
    };
    const isFlowing = (): boolean => receivers.every(({ received }) => received.length > 4);
    await eventually(isFlowing, 20_000);
    // One after the other, so that leases of the dead run out together.
    for (let kill = 0; kill < KILLS; kill += 1) {
      await servers[kill]!.kill();
      if (kill === 1) {
        await redis.kill();
        redis = await startOwnRedis(redis.port);
      }
      servers[kill] = await startServer(envs[kill]!);
    }
    over = true;
    await Promise.all(users);
    const isWhole = (messages: readonly Received[]): boolean => new Set(arrived(messages)).size >= acknowledged.length;
    await eventually(() => receivers.every(({ received }) => isWhole(received)), 40_000);
    let all = 0;
    let again = 0;
    for (const { received, forged } of receivers) {
      expect(forged).toEqual([]);
      const messages = arrived(received);
      // By the ids of messages nothing comes twice.
      expect(messages.toSorted()).toEqual(acknowledged.toSorted());
      for (const user of USERS) {
        const of = (list: readonly string[]): string[] => list.filter((message) => message.startsWith(user));
        expect(of(messages)).toEqual(of(acknowledged));
      }
      all += messages.length;
      again += received.length - new Set(received.map(({ id }) => id)).size;
    }
    record(`${name}: changes that arrived`, all);
    record(`${name}: messages that came again`, again);
    expect(toll).toMatchObject({ hung: 0, unexpected: new Set() });
    record(`${name}: servers killed`, KILLS);
    record(`${name}: changes missing`, 0);
  } finally {
    await Promise.all(servers.map((server) => server.stop()));
    await Promise.all(receivers.map((receiver) => receiver.close()));
    await Promise.all([postgres.stop(), redis.kill()]);
  }
});
