import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { once } from 'node:events';
import type { AddressInfo, Socket } from 'node:net';
import { Webhook as Verifier } from 'standardwebhooks';
import { createOutbound } from '../../src/adapters/outbound.js';
import { createRateCounter } from '../../src/adapters/redis/rate-counter.js';
import type { Clock } from '../../src/domain/clock.js';
import type { Observer } from '../../src/observation.js';
import type { Services } from '../../src/schema/context.js';
import { schema } from '../../src/schema/schema.js';
import { createRateLimits } from '../../src/services/access/rate-limits.js';
import { createReaders } from '../../src/services/access/reading-turns.js';
import { createFeedReader } from '../../src/services/feed/read-feed.js';
import { createDeliver, type Deliver } from '../../src/services/webhooks/deliver.js';
import type { Outbound } from '../../src/services/webhooks/outbound.js';
import { createRunWebhook } from '../../src/services/webhooks/run.js';
import { createSecretBox } from '../../src/services/webhooks/sign.js';
import type { StoredQueries } from '../../src/services/webhooks/stored-query.js';
import { createWebhooks, type Webhooks } from '../../src/services/webhooks/webhooks.js';
import type { PrismaDatabase, Queryable } from '../../src/store/database.js';
import { createNaming } from '../../src/store/database-name.js';
import { createStoredQueries } from '../../src/transport/graphql/stored-queries.js';
import { eventually } from './app.js';

/** The services of webhooks, as app.ts connects them; they may post to this machine. */
export function createTestWebhooks(deps: {
  database: PrismaDatabase;
  clock: Clock;
  observe?: Observer;
  services: () => Services;
  tokenSecret?: Uint8Array;
  outbound?: Outbound;
  /** Stands before the execution of queries. */
  around?: (queries: StoredQueries) => StoredQueries;
}): { webhooks: Webhooks; deliver: Deliver } {
  const { database, clock, observe = () => {}, services, tokenSecret = new Uint8Array(32), around = (it) => it } = deps;
  const feed = createFeedReader({ database, clock, naming: createNaming(database) });
  const rateLimits = createRateLimits({
    counter: createRateCounter({ redis: null, observe }),
    perKey: 0,
    perAddress: 0,
  });
  const readers = createReaders(database);
  const queries = around(createStoredQueries({ schema, services, feed, readers, rateLimits, observe }));
  const outbound = deps.outbound ?? createOutbound({ reach: 'private' });
  const delivery = { database, clock, observe, queries, outbound, secrets: createSecretBox(tokenSecret) };
  const deliver = createDeliver({ database, clock, observe, run: createRunWebhook(delivery) });
  // A test says when a server looks.
  const quiet = { ...deliver, lookSoon() {} };
  return { deliver, webhooks: createWebhooks({ ...delivery, feed, deliver: quiet }) };
}

/**
 * Resolves when every change that is stored can be read: no older transaction is under way, of any test on this Postgres.
 */
export async function untilReadable(database: Queryable): Promise<void> {
  const isReadable = async (): Promise<boolean> => {
    const [row] = await database.query<{ readable: boolean }>({
      name: 'test.readable',
      text: `SELECT coalesce(max(transaction) < pg_snapshot_xmin(pg_current_snapshot())::text::bigint, true) AS readable FROM changes`,
    });
    return row!.readable;
  };
  await eventually(isReadable);
}

/** A message that a receiver got. */
export interface Received {
  readonly id: string;
  readonly type: string;
  readonly timestamp: string;
  readonly results: any[];
  readonly headers: IncomingMessage['headers'];
  readonly body: string;
}

export interface Receiver {
  readonly url: string;
  /** Every message that arrived whole, whatever was answered. */
  readonly received: Received[];
  /** Those that one of the secrets had not signed. */
  readonly forged: Received[];
  /** What is answered to the next messages: a status, or what is done with the connection. The last stays. */
  answers: (number | ((response: ServerResponse, message: Received) => void))[];
  /** Messages that are being received or answered at this moment, and the most that were at a time. */
  readonly atOnce: { now: number; most: number };
  close(): Promise<void>;
}

/**
 * A real receiver on this machine. It compares each message with what the library of Standard Webhooks signs with each secret.
 * (The library's `verify` compares the time with its own clock, which tests do not set.)
 */
export async function startReceiver(secrets: () => readonly string[] = () => []): Promise<Receiver> {
  const received: Received[] = [];
  const sockets = new Set<Socket>();
  const atOnce = { now: 0, most: 0 };
  const forged: Received[] = [];
  const receiver: Omit<Receiver, 'url' | 'close'> = { received, forged, answers: [200], atOnce };
  const server: Server = createServer((request, response) => {
    atOnce.now += 1;
    atOnce.most = Math.max(atOnce.most, atOnce.now);
    response.on('close', () => (atOnce.now -= 1));
    const parts: Buffer[] = [];
    request.on('data', (part: Buffer) => parts.push(part));
    request.on('end', () => {
      const body = Buffer.concat(parts).toString();
      const { type, timestamp, data } = JSON.parse(body);
      const id = String(request.headers['webhook-id']);
      const signatures = String(request.headers['webhook-signature']).split(' ');
      const at = new Date(Number(request.headers['webhook-timestamp']) * 1_000);
      const isSigned = secrets().every((secret) => signatures.includes(new Verifier(secret).sign(id, at, body)));
      const message = { id, type, timestamp, results: data, headers: request.headers, body };
      received.push(message);
      const { answers } = receiver;
      if (!isSigned) forged.push(message);
      const answer = answers.length > 1 ? answers.shift()! : answers[0]!;
      if (typeof answer === 'number') response.writeHead(answer).end();
      else answer(response, message);
    });
  });
  server.on('connection', (socket: Socket) => {
    sockets.add(socket);
    socket.on('close', () => sockets.delete(socket));
    socket.on('error', () => {});
  });
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  return Object.assign(receiver, {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/hook`,
    async close() {
      for (const socket of sockets) socket.destroy();
      server.close();
      await once(server, 'close');
    },
  });
}
