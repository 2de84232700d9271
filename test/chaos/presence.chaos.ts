import { expect, test } from 'vitest';
import { createDatabase } from '../../src/adapters/postgres/postgres.js';
import { CreateProjectDocument } from '../generated/graphql.js';
import { eventually, OPERATOR_KEY, request } from '../support/app.js';
import { attempt, newToll, pause } from '../support/chaos-load.js';
import { record } from '../support/ledger.js';
import { freePort, startOwnPostgres } from '../support/postgres.js';
import { falseOfflines, viewPresence, type Beat, type PresenceView } from '../support/presence-view.js';
import { startProxy, type Proxy } from '../support/proxy.js';
import { chooseSeed, diceOf } from '../support/random.js';
import { startOwnRedis } from '../support/redis.js';
import { onlineIdentities, projectIdOf } from '../support/rules.js';
import { startServer, type ServerProcess } from '../support/server.js';

/** Seconds. */
const PRESENCE_TIMEOUT = 3;
const PATIENCE = (PRESENCE_TIMEOUT + 2) * 1000;
const BEAT = 'mutation ($input: HeartbeatInput!) { recordHeartbeat(input: $input) { acknowledged } }';

/** A server with three proxies: to its database, to its bus, and from its subscribers. */
interface Stand {
  server: ServerProcess;
  readonly env: Record<string, string>;
  readonly toPostgres: Proxy;
  readonly toRedis: Proxy;
  readonly fromSubscribers: Proxy;
}

/** A user who is online while heartbeats are sent. */
interface Person {
  readonly identity: string;
  there: boolean;
  readonly beats: Beat[];
}

async function openStand(postgres: number, redis: number): Promise<Stand> {
  const [toPostgres, toRedis, port] = await Promise.all([startProxy(postgres), startProxy(redis), freePort()]);
  const env = {
    PORT: String(port),
    DATABASE_URL: `postgresql://postgres@127.0.0.1:${toPostgres.port}/postgres`,
    REDIS_URL: `redis://127.0.0.1:${toRedis.port}`,
    OPERATOR_KEY,
    CLOSER_INTERVAL: '200ms',
    LOG_LEVEL: 'warn',
  };
  return { server: await startServer(env), env, toPostgres, toRedis, fromSubscribers: await startProxy(port) };
}

test('servers, Postgres, Redis and subscribers are killed, cut off, slowed and partitioned: presence is right again in time', async () => {
  const name = 'presence';
  const dice = diceOf(chooseSeed(name));
  const postgres = await startOwnPostgres({ survivesKill: true });
  let redis = await startOwnRedis();
  const stands = await Promise.all([0, 1].map(() => openStand(postgres.port, redis.port)));
  const database = createDatabase({ url: postgres.url, poolSize: 2, observe: () => {} });
  const views: PresenceView[] = [];
  let stopping = false;
  const people: Person[] = Array.from({ length: 40 }, (_, at) => ({
    identity: `${at < 20 ? 'steady' : 'fickle'} ${at}`,
    there: true,
    beats: [],
  }));
  const working: Promise<void>[] = [];
  try {
    const { createProject } = await request(stands[0]!.server.url, OPERATOR_KEY, CreateProjectDocument, {
      name,
      settings: { presenceTimeout: PRESENCE_TIMEOUT, inactivityTimeout: 60 },
    });
    const { key } = createProject;
    const projectId = projectIdOf(createProject.project.id);
    for (const { fromSubscribers } of stands) {
      const url = `http://127.0.0.1:${fromSubscribers.port}`;
      for (let at = 0; at < 3; at += 1) views.push(viewPresence(() => url, key));
      views.push(
        viewPresence(
          () => url,
          key,
          people.filter((_, at) => at % 3 === 0).map(({ identity }) => identity),
        ),
      );
    }
    const toll = newToll();

    async function beat(person: Person): Promise<void> {
      while (!stopping) {
        if (person.there) {
          const sent = Date.now();
          const variables = { input: { identity: person.identity } };
          const answer = await attempt(toll, dice.pick(stands).server.url, key, BEAT, variables);
          if (answer) person.beats.push({ sent, answered: Date.now() });
          await pause(answer ? 500 + dice.below(300) : 50);
        } else await pause(50);
      }
    }
    working.push(...people.map(beat));

    const stand = (): Stand => dice.pick(stands);
    const moment = (): Promise<void> => pause(300 + dice.below(2_500));
    const hurt = async (proxy: Proxy, how: 'blackhole' | 'refuse' | 'cut' | 'delay'): Promise<void> => {
      if (how === 'delay') proxy.delay = 50 + dice.below(400);
      else proxy[how]();
      await moment();
      proxy.heal();
    };
    const story = {
      'Redis killed': async () => {
        await redis.kill();
        await moment();
        redis = await startOwnRedis(redis.port);
      },
      'Redis out of reach of one server': () => hurt(stand().toRedis, 'blackhole'),
      'Redis refuses one server': () => hurt(stand().toRedis, 'refuse'),
      'Redis slow': () => hurt(stand().toRedis, 'delay'),
      'Postgres killed': async () => {
        await postgres.kill();
        await moment();
        await postgres.restart();
      },
      'Postgres and Redis killed': async () => {
        await Promise.all([postgres.kill(), redis.kill()]);
        redis = await startOwnRedis(redis.port);
        await moment();
        await postgres.restart();
      },
      'Postgres out of reach of one server': () => hurt(stand().toPostgres, 'blackhole'),
      'Postgres cut off from one server': () => hurt(stand().toPostgres, 'cut'),
      'Postgres refuses one server': () => hurt(stand().toPostgres, 'refuse'),
      'Postgres slow': () => hurt(stand().toPostgres, 'delay'),
      'subscribers cut': () => hurt(stand().fromSubscribers, 'cut'),
      'subscribers out of reach': () => hurt(stand().fromSubscribers, 'blackhole'),
      'server killed': async () => {
        const hit = stand();
        await hit.server.kill();
        await moment();
        hit.server = await startServer(hit.env);
      },
    };
    const kinds = Object.keys(story) as (keyof typeof story)[];
    const rounds = [...kinds, ...Array.from({ length: 5 }, () => dice.pick(kinds))];
    let compared = 0;
    let slowest = 0;
    for (const kind of rounds) {
      // Some users leave silently, some come, and a fault happens at the same time.
      for (const person of people.slice(20)) person.there = dice.below(2) === 0;
      await story[kind]();
      const whole = performance.now();
      const there = people
        .filter((person) => person.there)
        .map(({ identity }) => identity)
        .sort();
      await eventually(async () => {
        const truth = await onlineIdentities(database, projectId);
        if (JSON.stringify(truth) !== JSON.stringify(there)) return false;
        return views.every(
          (view) => JSON.stringify([...view.online].sort()) === JSON.stringify(truth.filter((one) => view.shows(one))),
        );
      }, PATIENCE).catch(async () => {
        const truth = await onlineIdentities(database, projectId);
        const differs = (online: Iterable<string>, right: readonly string[]): string[] => {
          const shown = new Set(online);
          return [
            ...[...shown].filter((one) => !right.includes(one)).map((one) => `ghost ${one}`),
            ...right.filter((one) => !shown.has(one)).map((one) => `missing ${one}`),
          ];
        };
        throw new Error(
          `After "${kind}" presence was wrong for longer than ${PATIENCE} ms. In Postgres: ${differs(truth, there).join(', ')}; ` +
            `on screens: ${views
              .map((view) =>
                differs(
                  view.online,
                  truth.filter((one) => view.shows(one)),
                ).join(', '),
              )
              .join(' | ')}`,
        );
      });
      compared += views.length;
      slowest = Math.max(slowest, performance.now() - whole);
    }
    stopping = true;
    await Promise.all(working);

    // No user became OFFLINE while an acknowledged heartbeat of the user still counted.
    const edges = views.flatMap((view) => view.edges);
    const beatsOf = new Map(people.map(({ identity, beats }) => [identity, beats]));
    const falseEdges = falseOfflines(edges, (identity) => beatsOf.get(identity)!, PRESENCE_TIMEOUT);
    record(`${name}: faults`, rounds.length);
    record(
      `${name}: heartbeats acknowledged`,
      people.reduce((sum, { beats }) => sum + beats.length, 0),
    );
    record(`${name}: heartbeats not answered well`, toll.sent - toll.answered);
    record(`${name}: slowest UNAVAILABLE, ms`, toll.slowest);
    record(`${name}: screens compared with Postgres`, compared);
    record(`${name}: slowest to be right again, ms`, Math.round(slowest));
    record(
      `${name}: connections of subscribers`,
      views.reduce((sum, { figures }) => sum + figures.connections, 0),
    );
    record(`${name}: edges checked`, edges.length);
    record(`${name}: false edges`, falseEdges.length);
    expect(falseEdges).toEqual([]);
    expect(views.flatMap(({ fatal }) => fatal)).toEqual([]);
    expect([...toll.unexpected]).toEqual([]);
    expect(toll.hung).toBe(0);
  } finally {
    stopping = true;
    await Promise.all(working);
    await Promise.all(views.map((view) => view.stop()));
    await Promise.all(stands.map(({ server }) => server.stop()));
    await Promise.all(
      stands.flatMap(({ toPostgres, toRedis, fromSubscribers }) =>
        [toPostgres, toRedis, fromSubscribers].map((proxy) => proxy.close()),
      ),
    );
    await database.close();
    await redis.kill();
    await postgres.stop();
  }
}, 240_000);

test('a network that is gone for long: who cannot know says so at once, everybody else goes on', async () => {
  const name = 'partition';
  const postgres = await startOwnPostgres({ survivesKill: true });
  const redis = await startOwnRedis();
  const stands = await Promise.all([0, 1].map(() => openStand(postgres.port, redis.port)));
  const [near, far] = [stands[0]!, stands[1]!];
  const database = createDatabase({ url: postgres.url, poolSize: 2, observe: () => {} });
  const views: PresenceView[] = [];
  try {
    const { createProject } = await request(near.server.url, OPERATOR_KEY, CreateProjectDocument, {
      name,
      settings: { presenceTimeout: PRESENCE_TIMEOUT, inactivityTimeout: 60 },
    });
    const { key } = createProject;
    const projectId = projectIdOf(createProject.project.id);
    for (const { server } of stands) views.push(viewPresence(() => server.url, key));
    const toll = newToll();
    const beat = (url: string, identity: string, close = false) =>
      attempt(toll, url, key, BEAT, { input: { identity, close } });
    const shown = (): boolean[] => views.map(({ online }) => online.has('ada'));
    const missing = async ({ server }: Stand): Promise<string[]> =>
      ((await (await fetch(`${server.url}/health/ready`)).json()) as { missing?: string[] }).missing ?? [];

    await eventually(() => views.every(({ figures }) => figures.snapshots > 0));
    // Without the bus, the far server finds the change in Postgres: it is shown there too, only later.
    far.toRedis.blackhole();
    const left = performance.now();
    expect(await beat(near.server.url, 'ada')).not.toBeNull();
    await eventually(() => shown().every(Boolean), PATIENCE);
    record(`${name}: heard without Redis after, ms`, Math.round(performance.now() - left));
    await eventually(async () => (await missing(far)).includes('redis'), PATIENCE);
    record(`${name}: silence of Redis noticed after, ms`, Math.round(performance.now() - left));
    expect(await missing(near)).toEqual([]);
    expect(await beat(far.server.url, 'ada')).not.toBeNull();
    await eventually(() => !shown().some(Boolean), PATIENCE + PRESENCE_TIMEOUT * 1000);
    far.toRedis.heal();
    await eventually(async () => (await missing(far)).length === 0, PATIENCE);

    // Without Postgres nothing is known: waiting requests are answered with an error, and later ones at once.
    far.toPostgres.blackhole();
    const asked = performance.now();
    const answers = await Promise.all(Array.from({ length: 30 }, () => beat(far.server.url, 'bob')));
    expect(answers.filter((answer) => answer !== null)).toEqual([]);
    record(`${name}: silence of Postgres noticed after, ms`, Math.round(performance.now() - asked));
    expect(performance.now() - asked).toBeLessThan(8_000);
    const again = newToll();
    for (let ask = 0; ask < 20; ask += 1)
      await attempt(again, far.server.url, key, BEAT, { input: { identity: 'bob' } });
    record(`${name}: slowest answer from then on, ms`, again.slowest);
    expect(again).toMatchObject({ unavailable: 20, hung: 0, cut: 0 });
    expect(again.slowest).toBeLessThan(1_000);
    expect(await beat(near.server.url, 'ada')).not.toBeNull();
    await eventually(() => views[0]!.online.has('ada'), PATIENCE);
    far.toPostgres.heal();
    await eventually(async () => (await beat(far.server.url, 'ada')) !== null, PATIENCE);
    await eventually(async () => {
      const truth = JSON.stringify(await onlineIdentities(database, projectId));
      return views.every(({ online }) => JSON.stringify([...online].sort()) === truth);
    }, PATIENCE);
    expect([...toll.unexpected, ...again.unexpected]).toEqual([]);
    expect(toll.hung).toBe(0);
    expect(views.flatMap(({ fatal }) => fatal)).toEqual([]);
  } finally {
    await Promise.all(views.map((view) => view.stop()));
    await Promise.all(stands.map(({ server }) => server.stop()));
    await Promise.all(
      stands.flatMap(({ toPostgres, toRedis, fromSubscribers }) =>
        [toPostgres, toRedis, fromSubscribers].map((proxy) => proxy.close()),
      ),
    );
    await database.close();
    await redis.kill();
    await postgres.stop();
  }
});
