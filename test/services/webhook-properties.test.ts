import type { ServerResponse } from 'node:http';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { createMemoryBus } from '../../src/adapters/memory-bus.js';
import { createOutbound } from '../../src/adapters/outbound.js';
import type { Outbound } from '../../src/services/webhooks/outbound.js';
import { createTestDatabase, type TestDatabase } from '../support/database.js';
import { createExecutor } from '../support/execute.js';
import { record } from '../support/ledger.js';
import { diceOf } from '../support/random.js';
import { createStage } from '../support/stage.js';
import { createTestWebhooks, startReceiver, untilReadable, type Received } from '../support/webhooks.js';

/**
 * Whatever receivers and servers do: a receiver that does what a message says when it first gets its id has done everything, in
 * order, and nothing twice.
 */

let db: TestDatabase;
beforeAll(async () => {
  db = await createTestDatabase();
});
afterAll(() => db.drop());

/** Short, so that those who say nothing are given up at once. */
const outbound = createOutbound({ reach: 'private', answerWithin: 250 });
const LATER = 4 * 3_600;

/** What a receiver may do with a message that it has read. */
const MISDEEDS: ((response: ServerResponse) => void)[] = [
  (response) => response.writeHead(500).end(),
  (response) => response.writeHead(429, { 'Retry-After': '90' }).end(),
  (response) => response.writeHead(307, { Location: '/elsewhere' }).end(),
  (response) => response.socket!.destroy(),
  (response) => response.socket!.resetAndDestroy(),
  // It never answers.
  () => {},
  (response) => response.socket!.write('HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n'),
  (response) => response.socket!.write('HTTP/1.1 200 OK\r\nX-Half: '),
  (response) => response.socket!.end('no HTTP at all\r\n\r\n'),
  // It took the message, and its body breaks off.
  (response) => response.writeHead(200, { 'Content-Length': '10' }).write('x'),
];

test.each([1, 2, 3])(
  'receivers that drop, stall and answer wrongly, and servers that die: history %i',
  async (seed) => {
    const { below, pick } = diceOf(seed);
    const stage = await createStage(db);
    await stage.database.query({ name: 'test.retire', text: 'DELETE FROM webhooks' });
    const executor = await createExecutor(stage, createMemoryBus());
    const receiver = await startReceiver();
    const { database } = stage;
    const server = (post: Outbound['post'] = outbound.post) =>
      createTestWebhooks({
        database,
        clock: { now: () => stage.now() },
        services: () => executor.services,
        outbound: { ...outbound, post },
      }).deliver;
    const servers = [server(), server()];
    const { createWebhook } = await executor.data(
      'mutation ($url: String!, $query: String!) { createWebhook(url: $url, query: $query) { webhook { id } } }',
      {
        url: receiver.url,
        query: 'subscription { changes(filter: { kinds: [EVENT] }) { ... on EventChange { event { message } } } }',
      },
    );
    const said: string[] = [];
    let second = 0;
    let count = 0;
    let deaths = 0;
    for (let step = 0; step < 25; step += 1) {
      const events = Array.from({ length: below(4) === 0 ? 60 : below(4) }, () => {
        const user = `user${below(3)}`;
        return { type: 'log', user, message: `${user}: ${(count += 1)}` };
      });
      if (events.length > 0) await stage.send(...events);
      said.push(...events.map(({ message }) => message));

      const misdeed = MISDEEDS[below(2 * MISDEEDS.length)];
      receiver.answers = misdeed ? [misdeed, 200] : [200];
      stage.at((second += pick([1, 7, 45, 200, 4_000])));
      await untilReadable(database);
      if (below(6) === 0) {
        // A server dies: before its message is sent, or after the receiver had it.
        deaths += 1;
        const isAfter = below(2) === 0;
        let reached!: () => void;
        const isReached = new Promise<void>((resolve) => (reached = resolve));
        const dying = server(async (message, signal) => {
          if (isAfter) await outbound.post(message, signal);
          reached();
          return new Promise(() => {});
        });
        await Promise.race([dying.runOnce(), isReached]);
      }
      await Promise.all(servers.map((one) => (below(3) > 0 ? one.runOnce() : null)));
    }
    receiver.answers = [200];
    for (let turn = 0; turn < 4; turn += 1) {
      stage.at((second += LATER));
      await untilReadable(database);
      await servers[0]!.runOnce();
    }
    const first = new Map<string, Received>();
    for (const message of receiver.received) {
      const known = first.get(message.id);
      if (known) expect(message.body).toBe(known.body);
      else first.set(message.id, message);
    }
    const done: string[] = [...first.values()].flatMap(({ results }) =>
      results.map(({ data }) => data.changes.event.message),
    );
    expect(done.toSorted()).toEqual(said.toSorted());
    // Order is promised for each user.
    for (const user of ['user0', 'user1', 'user2']) {
      const of = (messages: readonly string[]): string[] => messages.filter((message) => message.startsWith(user));
      expect(of(done)).toEqual(of(said));
    }
    const { node } = await executor.data(
      'query ($id: ID!) { node(id: $id) { ... on Webhook { enabled lag deliveries(first: 100) { nodes { status } } } } }',
      { id: createWebhook.webhook.id },
    );
    expect(node).toMatchObject({ enabled: true, lag: 0 });
    expect(receiver.received.length).toBeGreaterThan(first.size);
    record('webhooks: messages of random histories, and their repeats', receiver.received.length);
    record('webhooks: servers that died in random histories', deaths);
    await Promise.all(servers.map((one) => one.close()));
    await receiver.close();
  },
);
