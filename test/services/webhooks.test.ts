import { Webhook as Verifier } from 'standardwebhooks';
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { createMemoryBus } from '../../src/adapters/memory-bus.js';
import { DELIVERIES_STAY, MOST_FAILURES, waitAfter } from '../../src/domain/webhook.js';
import { AppError } from '../../src/errors.js';
import type { Observation } from '../../src/observation.js';
import type { Services } from '../../src/schema/context.js';
import { createMaintenance } from '../../src/services/upkeep/maintenance.js';
import type { Outbound } from '../../src/services/webhooks/outbound.js';
import type { StoredQueries } from '../../src/services/webhooks/stored-query.js';
import { dropOldChanges } from '../../src/store/partitions.js';
import { beat, GAP } from '../../src/store/pulse.js';
import { takeDueWebhooks } from '../../src/store/webhooks/leases.js';
import { createTestDatabase, type TestDatabase } from '../support/database.js';
import { createExecutor, type Executor } from '../support/execute.js';
import { record } from '../support/ledger.js';
import { createStage, type Stage } from '../support/stage.js';
import { createTestWebhooks, startReceiver, untilReadable, type Receiver } from '../support/webhooks.js';

/** Webhooks on a real database, to a real receiver. The clock moves only when a test sets it. */

let db: TestDatabase;
beforeAll(async () => {
  db = await createTestDatabase();
});
afterAll(() => db.drop());

const QUERY =
  'subscription { changes(filter: { kinds: [EVENT] }) { cursor ... on EventChange { event { message user { identity } } } } }';
const SECOND = 1;
const MINUTE = 60;
const HOUR = 3_600;
const closers: (() => Promise<unknown>)[] = [];
afterEach(async () => {
  for (const close of closers.splice(0)) await close();
});

interface Scene {
  readonly stage: Stage;
  readonly executor: Executor;
  readonly receiver: Receiver;
  readonly observations: Observation[];
  readonly secrets: string[];
  /** Makes a webhook to the receiver. Resolves with its id. */
  make(more?: Record<string, unknown>): Promise<string>;
  /** What the webhook is now. */
  see(id: string): Promise<any>;
  /** Another server: it looks once, and delivers what it finds. */
  look(as?: Server): Promise<void>;
  server(more?: ServerOptions): Server;
  say(...messages: string[]): Promise<void>;
  /** The messages of events that have arrived, in order, with repeats. */
  told(): string[];
}
type Server = ReturnType<typeof createTestWebhooks>;
type ServerOptions = Partial<Parameters<typeof createTestWebhooks>[0]>;

async function scene(): Promise<Scene> {
  const stage = await createStage(db);
  const observations: Observation[] = [];
  const secrets: string[] = [];
  // Webhooks of other tests are no business of this one.
  await stage.database.query({ name: 'test.retire', text: 'DELETE FROM webhooks' });
  const executor = await createExecutor(stage, createMemoryBus());
  const receiver = await startReceiver(() => secrets);
  closers.push(() => receiver.close().then(() => expect(receiver.forged).toEqual([])));
  const services = (): Services => executor.services;
  const server = (more: ServerOptions = {}): Server => {
    const observe = (observation: Observation): void => void observations.push(observation);
    const made = createTestWebhooks({
      database: stage.database,
      clock: { now: () => stage.now() },
      observe,
      services,
      ...more,
    });
    closers.push(() => made.deliver.close());
    return made;
  };
  const own = server();
  let place = 0;
  return {
    stage,
    executor,
    receiver,
    observations,
    secrets,
    async make(more = {}) {
      const { createWebhook } = await executor.data(
        `mutation ($url: String!, $query: String!, $variables: JSONObject, $after: String, $name: String!) {
           createWebhook(url: $url, query: $query, variables: $variables, after: $after, name: $name) { secret webhook { id } } }`,
        { url: receiver.url, query: QUERY, name: 'A test', ...more },
      );
      secrets.splice(0, secrets.length, createWebhook.secret);
      return createWebhook.webhook.id;
    },
    see: async (id) =>
      (
        await executor.data(
          `query ($id: ID!) { node(id: $id) { ... on Webhook { id enabled disabledReason lag cursor
             deliveries(first: 100) { totalCount nodes { id at messageId attempt status error changes milliseconds } } } } }`,
          { id },
        )
      ).node,
    async look(as = own) {
      await untilReadable(stage.database);
      await as.deliver.runOnce();
    },
    server,
    async say(...messages) {
      place += 1;
      await stage.send(...messages.map((message) => ({ type: 'log', message, user: `user${place % 3}` })));
    },
    told: () => receiver.received.flatMap(({ results }) => results.map(({ data }) => data.changes.event.message)),
  };
}

test('what is stored arrives in the shape of the query, in order, signed', async () => {
  const { stage, make, say, look, told, receiver, see } = await scene();
  stage.at(10);
  await say('before');
  const id = await make();
  await look();
  expect(receiver.received).toEqual([]);
  await say('one', 'two');
  await say('three');
  expect((await see(id)).lag).toBe(0);
  stage.at(14);
  expect((await see(id)).lag).toBe(4);
  await look();
  expect(told()).toEqual(['one', 'two', 'three']);
  const [message] = receiver.received;
  expect(message).toMatchObject({ type: 'changes', timestamp: stage.time(10).toISOString() });
  expect(message!.headers['content-type']).toBe('application/json');
  expect(message!.headers['webhook-timestamp']).toBe(String(stage.time(14).getTime() / 1_000));
  expect(message!.results[0]).toEqual({
    data: { changes: { cursor: expect.any(String), event: { message: 'one', user: { identity: 'user2' } } } },
  });
  await look();
  expect(receiver.received).toHaveLength(1);
  expect(await see(id)).toMatchObject({
    lag: 0,
    enabled: true,
    disabledReason: null,
    deliveries: {
      totalCount: 1,
      nodes: [{ attempt: 1, status: 200, error: null, changes: 3, messageId: message!.id }],
    },
  });
});

test('changes that are too large to be read together come all the same', async () => {
  const { stage, make, look, told } = await scene();
  await make();
  const messages = Array.from({ length: 60 }, (_, at) => `large ${at}`);
  const data = { text: 'x'.repeat(200_000) };
  for (let from = 0; from < messages.length; from += 20)
    await stage.send(
      ...messages.slice(from, from + 20).map((message) => ({ type: 'log', message, data, user: 'ada' })),
    );
  await look();
  expect(told()).toEqual(messages);
});

test('a receiver that was down for an hour misses none', async () => {
  const { stage, make, say, look, told, receiver, see } = await scene();
  const id = await make();
  receiver.answers = [503];
  let said = 0;
  // Each minute something is stored and a server looks; and just before and at the times of the repeats.
  const repeats = [5, 35, 155, 755];
  const minutes = Array.from({ length: 61 }, (_, minute) => minute * MINUTE);
  for (const second of [...minutes, ...repeats, ...repeats.map((at) => at - 1)].toSorted((a, b) => a - b)) {
    stage.at(second);
    if (second % MINUTE === 0) await say(`message ${(said += 1)}`);
    await look();
  }
  const ids = new Set(receiver.received.map((message) => message.id));
  expect(ids.size).toBe(1);
  // At once, then after 5 s, 30 s, 2 min and 10 min; the next try is an hour later.
  expect(
    (await see(id)).deliveries.nodes.map((one: any) =>
      Math.round((Date.parse(one.at) - stage.time(0).getTime()) / 1_000),
    ),
  ).toEqual([755, 155, 35, 5, 0]);
  expect((await see(id)).lag).toBe(HOUR);
  receiver.answers = [200];
  receiver.received.length = 0;
  stage.at(755 + HOUR);
  await look();
  expect(told()).toEqual(Array.from({ length: said }, (_, at) => `message ${at + 1}`));
  expect(ids.has(receiver.received[0]!.id)).toBe(true);
  expect(receiver.received[0]!.results).toHaveLength(1);
  record('webhooks: changes that a receiver got after an hour away', said);
});

test('up to 100 results in one message, fewer if they are large, and a repeat has never more than before', async () => {
  const { stage, make, say, look, told, receiver } = await scene();
  await make({
    query: 'subscription { changes(filter: { kinds: [EVENT] }) { ... on EventChange { event { message data } } } }',
  });
  receiver.answers = [500, 200];
  const messages = Array.from({ length: 130 }, (_, at) => `m${at}`);
  await say(...messages);
  await look();
  expect(receiver.received.map(({ results }) => results.length)).toEqual([100]);
  // More is stored before the repeat. It is in a later message: a receiver that knows the id passes over the whole message.
  await say('later');
  stage.at(5);
  await look();
  expect(receiver.received.map(({ results }) => results.length)).toEqual([100, 100, 31]);
  const [first, again, rest] = receiver.received;
  expect(again!.id).toBe(first!.id);
  expect(again!.body).toBe(first!.body);
  expect(rest!.id > first!.id).toBe(true);
  receiver.received.shift();
  expect(told()).toEqual([...messages, 'later']);
  receiver.received.length = 0;
  // Five of 250 KB do not fit into 1 MiB.
  await stage.send(
    ...Array.from({ length: 5 }, (_, at) => ({
      type: 'log',
      message: `large ${at}`,
      data: { text: 'x'.repeat(250_000) },
    })),
  );
  await look();
  expect(receiver.received.map(({ results }) => results.length)).toEqual([4, 1]);
});

test('changes that are not asked for move the cursor on, and cost no message', async () => {
  const { make, say, look, receiver, see } = await scene();
  const id = await make({
    query:
      'subscription ($types: [String!]) { changes(filter: { kinds: [EVENT], events: { types: $types } }) { cursor } }',
    variables: { types: ['error'] },
  });
  const { cursor } = await see(id);
  await say('one', 'two');
  await look();
  expect(receiver.received).toEqual([]);
  const after = await see(id);
  expect(after.cursor).not.toBe(cursor);
  expect(after.lag).toBe(0);
});

test('a webhook for which nothing has come for longer than the feed is kept delivers what comes then', async () => {
  const { stage, make, say, look, told, see } = await scene();
  const id = await make();
  await look();
  const { cursor } = await see(id);
  for (let second = 0; second <= 9 * 24 * HOUR; second += 12 * HOUR) {
    stage.at(second);
    await look();
  }
  expect(await see(id)).toMatchObject({ enabled: true, lag: 0, deliveries: { totalCount: 0 } });
  // It reads on once in 12 hours, and not each time that a server looks.
  const { cursor: after } = await see(id);
  expect(after).not.toBe(cursor);
  stage.at(9 * 24 * HOUR + 1);
  await look();
  expect((await see(id)).cursor).toBe(after);
  await say('late');
  await look();
  expect(told()).toEqual(['late']);
  expect((await see(id)).enabled).toBe(true);
});

test('it waits longer where Retry-After asks for it, an hour at most', async () => {
  const { stage, make, say, look, receiver } = await scene();
  await make();
  const later = (value: string) => (response: any) => response.writeHead(429, { 'Retry-After': value }).end();
  receiver.answers = [
    later('20'),
    later(new Date(stage.time(20 + 300).getTime()).toUTCString()),
    later('1'),
    later('99999999'),
  ];
  await say('one');
  const tries: number[] = [];
  let before = 0;
  for (let second = 0; second <= 20 + 300 + 120 + HOUR; second += 10) {
    stage.at(second);
    await look();
    if (receiver.received.length > before) tries.push(second);
    before = receiver.received.length;
  }
  expect(tries).toEqual([0, 20, 320, 440, 440 + HOUR]);
});

test('it gives up after three days of trying each hour, and goes on from where it stopped when it is enabled', async () => {
  const { stage, executor, make, say, look, told, receiver, see, observations } = await scene();
  const id = await make();
  receiver.answers = [500];
  await say('one');
  let second = 0;
  for (const wait of [0, 5, 30, 2 * MINUTE, 10 * MINUTE, HOUR]) {
    stage.at((second += wait));
    await look();
  }
  expect(receiver.received).toHaveLength(6);
  const waits = Array.from({ length: MOST_FAILURES }, (_, at) => waitAfter(at + 1, null)! / 1_000);
  expect(waits.slice(0, 6)).toEqual([5, 30, 2 * MINUTE, 10 * MINUTE, HOUR, HOUR]);
  expect(waits.slice(4).reduce((sum, wait) => sum + wait, 0)).toBe(3 * 24 * HOUR);
  // As after nearly three days of tries.
  await stage.database.query({
    name: 'test.failures',
    text: 'UPDATE webhooks SET failures = $1',
    values: [MOST_FAILURES - 1],
  });
  stage.at((second += HOUR));
  await look();
  expect((await see(id)).enabled).toBe(true);
  stage.at((second += HOUR));
  await look();
  expect(await see(id)).toMatchObject({
    enabled: false,
    disabledReason: 'FAILED',
    deliveries: { totalCount: 8 },
  });
  stage.at((second += HOUR));
  await look();
  expect(receiver.received).toHaveLength(8);
  expect(observations).toContainEqual(expect.objectContaining({ kind: 'webhook.disabled', reason: 'FAILED' }));
  const { project } = await executor.data('{ project { auditLog(first: 1) { nodes { action apiKeyId details } } } }');
  expect(project.auditLog.nodes).toMatchObject([
    { action: 'WEBHOOK_DISABLED', apiKeyId: null, details: { reason: 'FAILED' } },
  ]);

  receiver.answers = [200];
  receiver.received.length = 0;
  await say('two');
  await executor.data('mutation ($id: ID!) { updateWebhook(id: $id, enabled: true) { enabled disabledReason } }', {
    id,
  });
  await look();
  expect(told()).toEqual(['one', 'two']);
});

test('410 disables at once; nothing is sent while it is stopped by hand', async () => {
  const { executor, make, say, look, receiver, see, told } = await scene();
  const id = await make();
  receiver.answers = [410];
  await say('one');
  await look();
  expect(await see(id)).toMatchObject({
    enabled: false,
    disabledReason: 'GONE',
    deliveries: { nodes: [{ status: 410 }] },
  });
  receiver.answers = [200];
  const update =
    'mutation ($id: ID!, $enabled: Boolean, $after: String) { updateWebhook(id: $id, enabled: $enabled, after: $after) { enabled disabledReason } }';
  expect(await executor.data(update, { id, enabled: false })).toEqual({
    updateWebhook: { enabled: false, disabledReason: 'REQUESTED' },
  });
  await look();
  expect(receiver.received).toHaveLength(1);
  receiver.received.length = 0;
  const { changeCursor } = await executor.data('{ changeCursor }');
  await say('two');
  await executor.data(update, { id, enabled: true, after: changeCursor });
  await look();
  expect(told()).toEqual(['two']);
});

test('going back tells everything again, as new messages', async () => {
  const { executor, make, say, look, receiver, told, see } = await scene();
  const id = await make();
  const { cursor } = await see(id);
  await say('one');
  await look();
  await executor.data('mutation ($id: ID!, $after: String) { updateWebhook(id: $id, after: $after) { id } }', {
    id,
    after: cursor,
  });
  await look();
  expect(told()).toEqual(['one', 'one']);
  expect(receiver.received[0]!.id).not.toBe(receiver.received[1]!.id);
});

test('servers deliver one message of a webhook at a time, and another goes on within 30 seconds when one dies', async () => {
  const { stage, make, say, look, told, receiver, server } = await scene();
  await make();
  await say('one');
  // The first server dies while it waits for the answer: nothing of it is heard again.
  let sent!: () => void;
  const isSent = new Promise<void>((resolve) => (sent = resolve));
  const dying: Outbound = { refusal: () => null, post: () => (sent(), new Promise(() => {})) };
  const dead = server({ outbound: dying });
  closers.pop();
  void look(dead);
  await isSent;
  const [first, second] = [server(), server()];
  await Promise.all([look(first), look(second)]);
  expect(receiver.received).toEqual([]);
  stage.at(30);
  await Promise.all([look(first), look(second), look(first), look(second)]);
  expect(told()).toEqual(['one']);
  // All look at once, while more and more comes.
  for (let turn = 0; turn < 10; turn += 1) {
    await Promise.all([say(`a${turn}`), look(first), look(second)]);
  }
  await look(first);
  expect(told()).toEqual(['one', ...Array.from({ length: 10 }, (_, turn) => `a${turn}`)]);
  expect(receiver.atOnce.most).toBe(1);
});

test('a server that dies after the receiver took a message: it comes again under the same id', async () => {
  const { stage, make, say, look, receiver, server } = await scene();
  await make();
  await say('one', 'two');
  let taken!: () => void;
  const isTaken = new Promise<void>((resolve) => (taken = resolve));
  const real = server();
  const post: Outbound['post'] = async (message, signal) => {
    const answer = await (
      await import('../../src/adapters/outbound.js')
    )
      .createOutbound({ reach: 'private' })
      .post(message, signal);
    taken();
    void answer;
    return new Promise(() => {});
  };
  const dead = server({ outbound: { refusal: () => null, post } });
  closers.pop();
  void look(dead);
  await isTaken;
  await say('three');
  stage.at(30);
  await look(real);
  const ids = receiver.received.map(({ id }) => id);
  expect(ids[1]).toBe(ids[0]);
  expect(receiver.received.map(({ results }) => results.length)).toEqual([2, 2, 1]);
});

test('trouble of the server is never the fault of the receiver', async () => {
  const { stage, make, say, look, told, receiver, see, server } = await scene();
  const id = await make();
  await say('one');
  const troubles: [name: string, options: ServerOptions, error: RegExp][] = [
    [
      'the database does not answer',
      failing(() => Promise.reject(new AppError('UNAVAILABLE', 'No connection.'))),
      /^UNAVAILABLE/,
    ],
    [
      'the project has used up its points',
      failing(() => Promise.reject(new AppError('RATE_LIMITED', 'Wait.', { retryAfter: 7 }))),
      /^RATE_LIMITED/,
    ],
    ['a fault of its own', failing(() => Promise.reject(new TypeError('x is not a function'))), /^INTERNAL/],
    ['another TOKEN_SECRET', { tokenSecret: new Uint8Array(32).fill(1) }, /^The server cannot read the secret/],
    [
      'no sockets',
      {
        outbound: {
          refusal: () => null,
          post: async () => ({ kind: 'TROUBLE', why: 'The server could not connect (EMFILE).' }),
        },
      },
      /^The server could not/,
    ],
  ];
  let second = 0;
  for (const [name, options, error] of troubles) {
    for (let time = 0; time < 4; time += 1) {
      stage.at((second += HOUR));
      await look(server(options));
      const { enabled, deliveries } = await see(id);
      expect([name, enabled, deliveries.nodes[0].attempt, deliveries.nodes[0].status]).toEqual([name, true, 1, null]);
      expect(deliveries.nodes[0].error).toMatch(error);
    }
  }
  expect(receiver.received).toEqual([]);
  stage.at(second + HOUR);
  await look();
  expect(told()).toEqual(['one']);
});

/** A server whose queries end so. */
const failing = (make: StoredQueries['make']): ServerOptions => ({ around: (queries) => ({ ...queries, make }) });

test('an expired cursor and a query that is not valid any more disable the webhook, with a reason', async () => {
  const { stage, executor, make, say, look, receiver, see, told } = await scene();
  const id = await make();
  const update =
    'mutation ($id: ID!, $after: String, $enabled: Boolean) { updateWebhook(id: $id, after: $after, enabled: $enabled) { enabled } }';
  // As after a restore: the cursor is of another database.
  await stage.database.query({
    name: 'test.move',
    text: 'UPDATE webhooks SET cursor = $1',
    values: [
      Buffer.from(JSON.stringify(['changes', ['elsewhere', 1, 0, 0, stage.now().getTime(), null]])).toString(
        'base64url',
      ),
    ],
  });
  await say('one');
  await look();
  expect(await see(id)).toMatchObject({
    enabled: false,
    disabledReason: 'CURSOR_EXPIRED',
    deliveries: { nodes: [{ error: expect.stringMatching(/another database/) }] },
  });
  const { changeCursor } = await executor.data('{ changeCursor }');
  await executor.data(update, { id, after: changeCursor, enabled: true });
  await say('two');
  await look();
  expect(told()).toEqual(['two']);
  // As after an upgrade.
  stage.at(1);
  await stage.database.query({
    name: 'test.upgrade',
    text: `UPDATE webhooks SET query = 'subscription { changes { color } }'`,
  });
  await say('three');
  await look();
  expect(await see(id)).toMatchObject({
    enabled: false,
    disabledReason: 'QUERY_INVALID',
    deliveries: { nodes: [{ error: expect.stringMatching(/color/) }, {}, {}] },
  });
  expect(receiver.received).toHaveLength(1);
});

test('a change by its owner is not overwritten by the run that is under way', async () => {
  const { executor, make, say, look, receiver, see, told } = await scene();
  const id = await make();
  const { cursor } = await see(id);
  await say('one');
  let done!: () => void;
  const isDone = new Promise<void>((resolve) => (done = resolve));
  receiver.answers = [
    (response) => {
      const answer = async (): Promise<void> => {
        await executor.data(
          'mutation ($id: ID!, $after: String, $name: String) { updateWebhook(id: $id, after: $after, name: $name) { id } }',
          { id, after: cursor, name: 'Again' },
        );
        response.writeHead(200).end();
        done();
      };
      void answer();
    },
    200,
  ];
  await look();
  await isDone;
  await look();
  expect(told()).toEqual(['one', 'one']);
  expect(receiver.atOnce.most).toBe(1);
  expect(await see(id)).toMatchObject({ enabled: true, lag: 0 });
});

test('a rotated secret signs beside the old one for a day', async () => {
  const { stage, executor, make, say, look, receiver, secrets } = await scene();
  const id = await make();
  const [old] = secrets as [string];
  const { rotateWebhookSecret } = await executor.data(
    'mutation ($id: ID!) { rotateWebhookSecret(id: $id) { secret webhook { id } } }',
    { id },
  );
  expect(rotateWebhookSecret.secret).toMatch(/^whsec_[A-Za-z0-9+/]{43}=$/);
  secrets.push(rotateWebhookSecret.secret);
  await say('one');
  // The receiver verifies with both.
  await look();
  expect(receiver.received).toHaveLength(1);
  stage.at(24 * HOUR);
  await say('two');
  secrets.splice(0);
  await look();
  const [, message] = receiver.received;
  const isSigned = (secret: string): boolean => {
    const { headers, body, id: messageId } = message!;
    const signature = new Verifier(secret).sign(
      messageId,
      new Date(Number(headers['webhook-timestamp']) * 1_000),
      body,
    );
    return String(headers['webhook-signature']).split(' ').includes(signature);
  };
  expect([isSigned(old), isSigned(rotateWebhookSecret.secret)]).toEqual([false, true]);
  // The secrets are not in the database.
  const [row] = await stage.database.query<{ text: string }>({
    name: 'test.row',
    text: 'SELECT w::text AS text FROM webhooks w',
  });
  for (const secret of [old, rotateWebhookSecret.secret as string]) {
    expect(row!.text).not.toContain(Buffer.from(secret.slice('whsec_'.length), 'base64').toString('hex'));
  }
});

test('a test sends a sample and says what came back', async () => {
  const { executor, make, say, receiver, see, stage } = await scene();
  await say('a sample');
  await untilReadable(stage.database);
  const id = await make();
  const run = 'mutation ($id: ID!) { testWebhook(id: $id) { status error changes attempt messageId } }';
  receiver.answers = [204, 302];
  const first = await executor.data(run, { id });
  expect(first.testWebhook).toMatchObject({
    status: 204,
    error: null,
    changes: 1,
    attempt: 1,
    messageId: receiver.received[0]!.id,
  });
  expect(receiver.received[0]).toMatchObject({
    type: 'test',
    results: [{ data: { changes: { event: { message: 'a sample' } } } }],
  });
  expect((await executor.data(run, { id })).testWebhook).toMatchObject({
    status: 302,
    error: expect.stringMatching(/redirect/),
  });
  expect((await see(id)).deliveries.totalCount).toBe(2);
});

test('queries, URLs and cursors that cannot work are refused when they are given', async () => {
  const { stage, executor, make, receiver } = await scene();
  const problems = async (query: string, variables = {}): Promise<string[]> =>
    (
      await executor.data(
        'query ($query: String!, $variables: JSONObject) { webhookProblems(query: $query, variables: $variables) }',
        { query, variables },
      )
    ).webhookProblems;
  expect(await problems(QUERY)).toEqual([]);
  const wrong = [
    '',
    'subscription {',
    '{ changeCursor }',
    'mutation { eraseUser(identity: "x") { events } }',
    'subscription { onlineCount }',
    'subscription { userPresence { kind } }',
    'subscription { eventIngested { id } }',
    'subscription { changes { color } }',
    'subscription { changes @skip(if: true) { cursor } }',
    'subscription { ...F } fragment F on Subscription { eventIngested { id } }',
    'subscription A { changes { cursor } } subscription B { changes { cursor } }',
    'subscription ($f: ChangeFilter!) { changes(filter: $f) { cursor } }',
    'subscription { changes(filter: { events: { sessionIds: ["nonsense"] } }) { cursor } }',
    `subscription { changes { cursor } } # ${'x'.repeat(17_000)}`,
    `subscription { changes ${'{ ... on EventChange { event { session { events(first: 100) { nodes { session '.repeat(3)}{ id } ${'} } } } } }'.repeat(3)} }`,
  ];
  for (const query of wrong) {
    expect([query.slice(0, 60), (await problems(query)).length > 0]).toEqual([query.slice(0, 60), true]);
  }
  await expect(make({ query: wrong[4] })).rejects.toMatchObject({
    originalError: { code: 'BAD_USER_INPUT', details: { field: 'query' } },
  });
  expect(
    await problems(
      'subscription ($f: ChangeFilter) { ...F } fragment F on Subscription { changes(filter: $f) { cursor } }',
      { f: { kinds: ['EVENT'] } },
    ),
  ).toEqual([]);
  expect(
    (
      await problems('subscription ($f: ChangeFilter) { changes(filter: $f) { cursor } }', {
        f: { kinds: ['NONSENSE'] },
      })
    )[0],
  ).toMatch(/NONSENSE/);
  for (const url of [
    'nonsense',
    'ftp://example.com/',
    'http://user:secret@127.0.0.1/',
    `${receiver.url}?${'x'.repeat(2_048)}`,
    'http://169.254.169.254/',
  ]) {
    await expect(make({ url })).rejects.toMatchObject({
      originalError: { code: 'BAD_USER_INPUT', details: { field: 'url' } },
    });
  }
  await expect(make({ after: 'nonsense' })).rejects.toMatchObject({ originalError: { code: 'INVALID_CURSOR' } });
  const names = Array.from({ length: 20 }, (_, at) => `Webhook ${at}`);
  for (const [at, name] of names.entries()) {
    stage.at(at);
    await make({ name });
  }
  await expect(make()).rejects.toMatchObject({ originalError: { code: 'TOO_MANY_WEBHOOKS' } });
  const { project } = await executor.data('{ project { webhooks { name } } }');
  expect(project.webhooks.map(({ name }: { name: string }) => name)).toEqual(names);
});

test('a project has four places of a server; the receivers of others do not wait for its own', async () => {
  const first = await scene();
  const release: (() => void)[] = [];
  first.receiver.answers = [(response) => void release.push(() => response.writeHead(200).end())];
  for (let at = 0; at < 6; at += 1) await first.make();
  // Each has its own secret.
  first.secrets.splice(0);
  await first.say('one');
  const running = first.look();
  await until(() => release.length === 4);
  // Those of another project come in beside them, though they are due later.
  const taken = await takeDueWebhooks(first.stage.database, {
    now: first.stage.now(),
    places: 10,
    ofProject: 4,
    had: [{ projectId: first.stage.projectId, count: 4 }],
  });
  expect(taken).toEqual([]);
  first.receiver.answers = [200];
  for (const answer of release) answer();
  await running;
  expect(first.told()).toHaveLength(6);
  expect(first.receiver.atOnce.most).toBe(4);
});

test('one message at a time, however often the webhook is changed meanwhile', async () => {
  const { stage, executor, make, say, look, server, receiver, told } = await scene();
  const id = await make();
  let answer = (): void => {};
  receiver.answers = [(response) => void (answer = () => response.writeHead(200).end()), 200];
  await say('one');
  const running = look();
  await until(() => receiver.received.length === 1);
  const change = (enabled: boolean): Promise<unknown> =>
    executor.data('mutation ($id: ID!, $enabled: Boolean) { updateWebhook(id: $id, enabled: $enabled) { id } }', {
      id,
      enabled,
    });
  for (const enabled of [true, true, false, true]) {
    await change(enabled);
    await look(server());
    expect(receiver.received).toHaveLength(1);
  }
  answer();
  await running;
  // The run has noticed, so that nobody waits for the end of its lease.
  await look();
  expect(told()).toEqual(['one', 'one']);
  expect(receiver.atOnce.most).toBe(1);
  expect(stage.now()).toEqual(stage.time(0));
});

/** Resolves when the condition is true. */
async function until(condition: () => boolean): Promise<void> {
  while (!condition()) await new Promise((resolve) => setTimeout(resolve, 5));
}

test('deliveries stay for 7 days; nothing in them, in the audit log or in the observations tells the secret or the URL', async () => {
  const { stage, executor, make, say, look, observations, secrets, receiver, see } = await scene();
  const id = await make({ url: `${receiver.url}?token=in-the-url` });
  receiver.answers = [500, 200];
  await say('one');
  await look();
  const { project } = await executor.data('{ project { auditLog { nodes { action details } } } }');
  const told = JSON.stringify([observations, project, (await see(id)).deliveries]);
  expect(project.auditLog.nodes[0]).toMatchObject({
    action: 'WEBHOOK_CREATED',
    details: { url: new URL(receiver.url).origin },
  });
  expect(told).not.toContain('in-the-url');
  expect(told).not.toContain(secrets[0]!.slice(6));
  const maintenance = createMaintenance({
    database: stage.database,
    clock: { now: () => stage.now() },
    observe: () => {},
  });
  await maintenance.runOnce(new Date(stage.time(0).getTime() + DELIVERIES_STAY - SECOND * 1_000));
  expect((await see(id)).deliveries.totalCount).toBe(1);
  await maintenance.runOnce(new Date(stage.time(0).getTime() + DELIVERIES_STAY + SECOND * 1_000));
  expect((await see(id)).deliveries.totalCount).toBe(0);
  await maintenance.close();
  await executor.data('mutation ($id: ID!) { deleteWebhook(id: $id) }', { id });
  expect((await executor.data('query ($id: ID!) { node(id: $id) { id } }', { id })).node).toBeNull();
});

test('a time in which no server was there costs a webhook nothing, however long; a time in which one was counts', async () => {
  const { stage, make, say, look, told, see } = await scene();
  const DAY = 24 * HOUR;
  const run = (text: string, values: unknown[] = []) => stage.database.query({ name: 'test.pulse', text, values });
  /** A server is there from now to then. */
  const serve = async (until: number): Promise<void> => {
    await beat(stage.database, GAP, stage.now());
    stage.at(until);
    await run('UPDATE pulse SET beat_at = $1', [stage.now()]);
  };
  /** Maintenance may come before the beat that ends an outage, and after it. */
  const maintain = (): Promise<void> => dropOldChanges(stage.database, stage.now());
  try {
    const id = await make();
    // It has taken everything, and has nothing to move its place on.
    await serve(HOUR);
    await look();
    stage.at(40 * DAY);
    await maintain();
    await serve(40 * DAY + HOUR);
    await look();
    await say('one');
    await look();
    await say('two');
    // Six of the seven days, around two outages.
    await serve(43 * DAY);
    stage.at(60 * DAY);
    await maintain();
    await serve(63 * DAY);
    await maintain();
    stage.at(100 * DAY);
    await serve(100 * DAY + HOUR);
    await maintain();
    await look();
    expect(told()).toEqual(['one', 'two']);
    await say('three');
    await serve(107 * DAY + 3 * HOUR);
    await look();
    expect(told()).toEqual(['one', 'two']);
    expect(await see(id)).toMatchObject({ enabled: false, disabledReason: 'CURSOR_EXPIRED' });
    expect(await run('SELECT FROM long_outages')).toHaveLength(3);
    stage.at(140 * DAY);
    await run('UPDATE pulse SET beat_at = $1', [stage.now()]);
    await maintain();
    expect(await run('SELECT FROM long_outages')).toEqual([]);
  } finally {
    await run('UPDATE pulse SET beat_at = NULL');
    await run('DELETE FROM long_outages');
  }
});
