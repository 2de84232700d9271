import { createClient, type Client } from 'graphql-ws';
import { expect, test } from 'vitest';
import WebSocket from 'ws';
import { createDatabase } from '../../src/adapters/postgres/postgres.js';
import { CreateProjectDocument } from '../generated/graphql.js';
import { eventually, OPERATOR_KEY, post, request } from '../support/app.js';
import { compareWithStored, pause, startLoad } from '../support/chaos-load.js';
import { record } from '../support/ledger.js';
import { freePort, startOwnPostgres } from '../support/postgres.js';
import { chooseSeed, diceOf } from '../support/random.js';
import { startOwnRedis } from '../support/redis.js';
import { projectIdOf } from '../support/rules.js';
import { startServer } from '../support/server.js';

const FIELDS = `__typename cursor
  ... on EventChange { event { id referenceId user { identity } } }
  ... on SessionChange { kind mergedId session { id } }
  ... on PresenceChange { identity onlineSessions }`;
const FILTER = '{ sessionChanges: [STARTED, UPDATED, ENDED, MERGED] }';
const CHANGES = `subscription ($after: String) { changes(after: $after, filter: ${FILTER}) { ${FIELDS} } }`;
const PAGE = `query ($after: String) { changes(first: 100, after: $after, filter: ${FILTER}) { nodes { ${FIELDS} } pageInfo { hasNextPage endCursor } } }`;

/** A consumer that goes on after its last cursor, at whichever server it reaches. */
function follow(url: () => string, key: string, from: string) {
  const heard: any[] = [];
  const fatal: unknown[] = [];
  let stopped = false;
  let client: Client | null = null;
  const running = (async () => {
    while (!stopped) {
      client = createClient({
        url: `${url().replace('http', 'ws')}/graphql`,
        webSocketImpl: WebSocket,
        connectionParams: { authorization: `Bearer ${key}` },
        retryAttempts: 0,
      });
      try {
        const told = client.iterate<any>({ query: CHANGES, variables: { after: heard.at(-1)?.cursor ?? from } });
        for await (const { data, errors } of told) {
          if (errors) fatal.push(errors);
          else heard.push(data.changes);
        }
      } catch (error) {
        const codes = Array.isArray(error) ? error.map(({ extensions }) => extensions?.code) : [];
        if (codes.some((code) => code !== 'UNAVAILABLE' && code !== 'OVERLOADED')) fatal.push(error);
      }
      await client.dispose();
      if (!stopped) await pause(100);
    }
  })();
  return {
    heard,
    fatal,
    drop: () => client?.terminate(),
    async stop() {
      stopped = true;
      client?.terminate();
      await running;
    },
  };
}

test('three servers, kills of servers, Postgres and Redis; subscribers of the feed drop and come back: 0 missing, 0 repeated, in order', async () => {
  const name = 'feed';
  const dice = diceOf(chooseSeed(name));
  const postgres = await startOwnPostgres({ survivesKill: true });
  let redis = await startOwnRedis();
  const envs = [await freePort(), await freePort(), await freePort()].map((port) => ({
    PORT: String(port),
    DATABASE_URL: postgres.url,
    REDIS_URL: redis.url,
    OPERATOR_KEY,
    CLOSER_INTERVAL: '200ms',
    RATE_LIMIT_PER_KEY: '0',
    RATE_LIMIT_PER_ADDRESS: '0',
    LOG_LEVEL: 'warn',
  }));
  const servers = await Promise.all(envs.map((env) => startServer(env)));
  const database = createDatabase({ url: postgres.url, poolSize: 2, observe: () => {} });
  const urls = servers.map(({ url }) => url);
  const anyUrl = (): string => dice.pick(urls);
  try {
    const { createProject } = await request(urls[0]!, OPERATOR_KEY, CreateProjectDocument, {
      name,
      settings: { presenceTimeout: 2, inactivityTimeout: 10 },
    });
    const { key } = createProject;
    const projectId = projectIdOf(createProject.project.id);
    const first = await post(urls[0]!, key, '{ changeCursor }');
    const start: string = first.data.changeCursor;
    const consumers = Array.from({ length: 6 }, () => follow(anyUrl, key, start));
    const load = startLoad({ url: anyUrl, key, dice, clients: 3 });
    const worked = async (): Promise<void> => {
      const before = load.toll.answered;
      await eventually(() => load.toll.answered > before + 25, 60_000);
      dice.pick(consumers).drop();
    };
    let kills = 0;
    for (const what of ['server', 'redis', 'server', 'postgres', 'server']) {
      await worked();
      if (what === 'server') {
        const at = dice.below(3);
        await servers[at]!.kill();
        servers[at] = await startServer(envs[at]!);
      } else if (what === 'redis') {
        await redis.kill();
        await worked();
        redis = await startOwnRedis(redis.port);
      } else {
        await postgres.kill();
        await postgres.restart();
      }
      kills += 1;
    }
    await worked();
    await load.stop();
    // Sessions that go on are closed, and the last change of all is told.
    const marked = await eventuallyMarked(anyUrl, key);
    await eventually(
      () => consumers.every(({ heard }) => heard.some(({ event }) => event?.referenceId === marked)),
      60_000,
    );
    await Promise.all(consumers.map((one) => one.stop()));
    const whole: any[] = [];
    for (let after = start; ;) {
      const { data, errors } = await post(urls[0]!, key, PAGE, { after });
      expect(errors).toBeUndefined();
      whole.push(...data.changes.nodes);
      after = data.changes.pageInfo.endCursor;
      if (!data.changes.pageInfo.hasNextPage && whole.some(({ event }) => event?.referenceId === marked)) break;
    }
    const end = whole.findIndex(({ event }) => event?.referenceId === marked);
    const expected = whole.slice(0, end + 1).map(({ cursor }) => cursor as string);
    let missing = 0;
    let repeated = 0;
    for (const { heard, fatal } of consumers) {
      expect(fatal).toEqual([]);
      const told = heard.map(({ cursor }) => cursor as string);
      const known = new Set(told);
      missing += expected.filter((cursor) => !known.has(cursor)).length;
      repeated += told.length - known.size;
      // What has gone since, a session that was merged, stands in no replay any more. The rest has the same order.
      const later = new Set(expected);
      expect(told.filter((cursor) => later.has(cursor)).slice(0, expected.length)).toEqual(expected);
    }
    // What is told is what is stored: each event once.
    const { lost, twice, unknown } = await compareWithStored(database, projectId, load);
    expect({ lost, twice, unknown: unknown.filter((id) => id !== marked) }).toEqual({
      lost: [],
      twice: [],
      unknown: [],
    });
    const told = whole.flatMap(({ event }) => (event ? [event.id as string] : []));
    const rows = await database.query<{ count: number }>({
      name: 'test.events',
      text: 'SELECT count(*)::integer AS count FROM events WHERE project_id = $1',
      values: [projectId],
    });
    expect([told.length, new Set(told).size]).toEqual([rows[0]!.count, rows[0]!.count]);
    record(`${name}: kills`, kills);
    record(
      `${name}: changes told`,
      consumers.reduce((sum, { heard }) => sum + heard.length, 0),
    );
    record(`${name}: changes missing`, missing);
    record(`${name}: changes repeated`, repeated);
    expect({ missing, repeated }).toEqual({ missing: 0, repeated: 0 });
  } finally {
    await database.close();
    await Promise.all(servers.map((server) => server.kill()));
    await redis.kill();
    await postgres.stop();
  }
});

/** Stores an event with a reference of its own, and returns the reference. */
async function eventuallyMarked(url: () => string, key: string): Promise<string> {
  const reference = 'the end of all';
  await eventually(async () => {
    const { data } = await post(
      url(),
      key,
      'mutation ($events: [EventInput!]!) { ingestEvents(events: $events) { accepted duplicates } }',
      { events: [{ id: reference, referenceId: reference, type: 'log', user: { identity: 'the end' } }] },
    ).catch(() => ({ data: null }));
    return data !== null && data !== undefined;
  }, 60_000);
  return reference;
}
