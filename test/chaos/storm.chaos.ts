import { expect, test } from 'vitest';
import WebSocket from 'ws';
import { createDatabase } from '../../src/adapters/postgres/postgres.js';
import { CreateProjectDocument } from '../generated/graphql.js';
import { eventually, OPERATOR_KEY, post, request } from '../support/app.js';
import { compareWithStored, pause, startLoad } from '../support/chaos-load.js';
import { record } from '../support/ledger.js';
import { startOwnPostgres } from '../support/postgres.js';
import { viewPresence, type PresenceView } from '../support/presence-view.js';
import { chooseSeed, diceOf } from '../support/random.js';
import { startOwnRedis } from '../support/redis.js';
import { onlineIdentities, projectIdOf } from '../support/rules.js';
import { startServer, type ServerProcess } from '../support/server.js';

const CLIENTS = 5_000;
const NEWCOMERS = 500;
/** All newcomers start within this time. Milliseconds. */
const RUSH = 5_000;

const WATCH = `subscription ($identities: [String!]) {
  userPresence(identities: $identities) { kind users { identity status } }
}`;
const START = 'mutation ($events: [EventInput!]!) { ingestEvents(events: $events) { results { status } } }';
const BEAT = 'mutation ($input: HeartbeatInput!) { recordHeartbeat(input: $input) { acknowledged } }';

interface Update {
  kind: 'SNAPSHOT' | 'DIFF';
  users: { identity: string; status: string }[];
}

/** An open page: one socket, a subscription of a few friends, and the operation that the page sends when it opens. */
class Page {
  frames = 0;
  bytes = 0;
  refused = 0;
  readonly statuses = new Map<string, string[]>();
  private socket: WebSocket | null = null;

  constructor(
    private readonly url: string,
    private readonly key: string,
    private readonly identity: string,
    private readonly friends: readonly string[],
  ) {}

  /** Connects, with as many tries as needed. Resolves when the snapshot has arrived and the operation is answered. */
  async open(query: string, variables: Record<string, unknown>): Promise<void> {
    while (!(await this.tryOpen(query, variables))) {
      this.refused += 1;
      await pause(100);
    }
  }

  /** Cuts the connection, as a lost network does. */
  drop(): void {
    this.socket?.terminate();
    this.socket = null;
  }

  private tryOpen(query: string, variables: Record<string, unknown>): Promise<boolean> {
    return new Promise((resolve) => {
      const socket = new WebSocket(`${this.url.replace('http', 'ws')}/graphql`, 'graphql-transport-ws');
      this.socket = socket;
      let waitsFor = 2;
      const say = (message: object): void => socket.send(JSON.stringify(message));
      const fail = (): void => {
        resolve(false);
        socket.terminate();
      };
      socket.on('open', () => say({ type: 'connection_init', payload: { authorization: `Bearer ${this.key}` } }));
      socket.on('error', () => resolve(false));
      socket.on('close', () => resolve(false));
      socket.on('message', (data: Buffer) => {
        const text = data.toString();
        const message = JSON.parse(text) as {
          type: string;
          id?: string;
          payload?: { data?: { userPresence?: Update }; errors?: unknown };
        };
        if (message.type === 'ping') say({ type: 'pong' });
        if (message.type === 'connection_ack') {
          say({ id: 'watch', type: 'subscribe', payload: { query: WATCH, variables: { identities: this.friends } } });
          say({ id: 'say', type: 'subscribe', payload: { query, variables } });
        }
        if (message.type === 'error' || message.payload?.errors) fail();
        if (message.type !== 'next') return;
        const update = message.payload?.data?.userPresence;
        if (update) {
          this.frames += 1;
          this.bytes += text.length;
          for (const { identity, status } of update.users) {
            const seen = this.statuses.get(identity) ?? [];
            seen.push(status);
            this.statuses.set(identity, seen);
          }
        }
        if ((!update || update.kind === 'SNAPSHOT') && (waitsFor -= 1) === 0) resolve(true);
      });
    });
  }

  get who(): string {
    return this.identity;
  }
}

test('5,000 pages lose their connection, come back and start within 5 s: no false edge, bounded frames, ingest goes on', async () => {
  const name = 'storm';
  const dice = diceOf(chooseSeed(name));
  const [postgres, redis] = await Promise.all([startOwnPostgres(), startOwnRedis()]);
  const env = { DATABASE_URL: postgres.url, REDIS_URL: redis.url, OPERATOR_KEY, LOG_LEVEL: 'warn' };
  const servers: ServerProcess[] = await Promise.all([startServer(env), startServer(env)]);
  const database = createDatabase({ url: postgres.url, poolSize: 2, observe: () => {} });
  const views: PresenceView[] = [];
  const pages: Page[] = [];
  try {
    const make = async (): Promise<{ key: string; projectId: string }> => {
      const { createProject } = await request(servers[0]!.url, OPERATOR_KEY, CreateProjectDocument, {
        name,
        settings: { presenceTimeout: 120, sessionStart: 'RESTART' },
      });
      return { key: createProject.key, projectId: projectIdOf(createProject.project.id) };
    };
    const [{ key, projectId }, other] = await Promise.all([make(), make()]);
    const people = Array.from({ length: CLIENTS }, (_, at) => `person ${at}`);
    const newcomers = Array.from({ length: NEWCOMERS }, (_, at) => `newcomer ${at}`);
    const page = (identity: string, at: number): Page => {
      const friends = [identity, ...Array.from({ length: 4 }, () => dice.pick(people))];
      return new Page(servers[at % 2]!.url, key, identity, [...new Set(friends)]);
    };
    pages.push(...people.map(page));

    // All clients connect, in groups that the server can handle easily.
    for (let at = 0; at < CLIENTS; at += 250) {
      const group = pages.slice(at, at + 250);
      await Promise.all(group.map((one) => one.open(BEAT, { input: { identity: one.who } })));
    }
    expect(await onlineIdentities(database, projectId)).toHaveLength(CLIENTS);
    for (const { url } of servers) for (let at = 0; at < 5; at += 1) views.push(viewPresence(() => url, key));
    await eventually(() => views.every(({ online }) => online.size === CLIENTS), 30_000);

    // Other clients have their connections open, as backends and pages do. A new connection waits behind those that came before
    // it: a server accepts few in a turn of the event loop (MoreDoors).
    const ask = (url: string): Promise<unknown> => post(url, other.key, '{ project { name } }');
    await Promise.all(servers.flatMap(({ url }) => Array.from({ length: 12 }, () => ask(url))));
    const load = startLoad({ url: () => dice.pick(servers).url, key: other.key, dice, clients: 3 });
    for (const one of pages) {
      one.drop();
      one.frames = 0;
      one.bytes = 0;
      one.statuses.clear();
    }
    const fresh = newcomers.map(page);
    const all = [...pages, ...fresh];
    pages.push(...fresh);
    const before = {
      frames: views.map(({ figures }) => figures.frames),
      bytes: views.map(({ figures }) => figures.bytes),
    };
    const rush = performance.now();
    await Promise.all(
      all.map(async (one) => {
        await pause(dice.below(RUSH));
        await one.open(START, { events: [{ type: 'session', user: { identity: one.who } }] });
      }),
    );
    const took = performance.now() - rush;
    await eventually(() => views.every(({ online }) => online.size === CLIENTS + NEWCOMERS), 10_000);
    await load.stop();

    const returned = new Set(people);
    const falseEdges = views.flatMap(({ edges }) => edges.filter(({ identity }) => returned.has(identity)));
    const falseStates = pages.flatMap(({ statuses }) =>
      [...statuses].filter(([identity, seen]) => returned.has(identity) && seen.includes('OFFLINE')),
    );
    const frames = views.map(({ figures }, at) => figures.frames - before.frames[at]!);
    const bytes = views.map(({ figures }, at) => figures.bytes - before.bytes[at]!);
    record(`${name}: pages`, all.length);
    record(`${name}: until all had started, ms`, Math.round(took));
    record(
      `${name}: connections refused and tried again`,
      all.reduce((sum, { refused }) => sum + refused, 0),
    );
    record(
      `${name}: edges checked`,
      views.reduce((sum, { edges }) => sum + edges.length, 0),
    );
    record(`${name}: false edges`, falseEdges.length);
    record(`${name}: false states on pages`, falseStates.length);
    record(`${name}: most frames of a watcher of everybody`, Math.max(...frames));
    record(`${name}: most bytes of a watcher of everybody`, Math.max(...bytes));
    record(`${name}: most frames of a page`, Math.max(...all.map((one) => one.frames)));
    record(`${name}: most bytes of a page`, Math.max(...all.map((one) => one.bytes)));
    record(`${name}: ingest requests answered meanwhile`, load.toll.answered);
    expect(falseEdges).toEqual([]);
    expect(falseStates).toEqual([]);
    // Each watcher gets each newcomer once.
    for (const { edges } of views) expect(edges.map(({ identity }) => identity).sort()).toEqual([...newcomers].sort());
    // At most one frame in 25 ms, with no more bytes than its newcomers need.
    expect(Math.max(...frames)).toBeLessThanOrEqual(Math.min(NEWCOMERS, took / 25 + 2));
    expect(Math.max(...bytes)).toBeLessThan(NEWCOMERS * 200);
    expect(Math.max(...all.map((one) => one.frames))).toBeLessThanOrEqual(1 + 1);
    expect(await onlineIdentities(database, projectId)).toHaveLength(CLIENTS + NEWCOMERS);
    // The other load did not suffer.
    expect(load.toll).toMatchObject({ hung: 0, cut: 0, causes: new Set(), unexpected: new Set() });
    expect(load.toll.answered).toBeGreaterThan(20);
    expect(load.contradictions).toEqual([]);
    const { lost, twice } = await compareWithStored(database, other.projectId, load);
    expect({ lost, twice }).toEqual({ lost: [], twice: [] });
  } finally {
    for (const one of pages) one.drop();
    await Promise.all(views.map((view) => view.stop()));
    await Promise.all(servers.map((server) => server.stop()));
    await database.close();
    await redis.kill();
    await postgres.stop();
  }
}, 240_000);
