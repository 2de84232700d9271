import { expect, test } from 'vitest';
import type { Queryable } from '../../src/store/database.js';
import { eventually } from '../support/app.js';
import { attempt, newToll, pause } from '../support/chaos-load.js';
import { keepOn, openCrowdStand } from '../support/crowd-stand.js';
import { CrowdView, wrongIn } from '../support/crowd-view.js';
import { record } from '../support/ledger.js';
import { chooseSeed, diceOf } from '../support/random.js';
import { onlineIdentities } from '../support/rules.js';

/** Those whom it is about speak every three seconds. Seconds. */
const SETTINGS = { presenceTimeout: 15, inactivityTimeout: 600 };
/** How long Postgres, and then all servers, are away. Milliseconds. */
const AWAY = 40_000;
/** How long until every screen is right again after a fault is over; a machine with load needs some of it. Milliseconds. */
const PATIENCE = 30_000;
const SERVERS = 3;
const VIEWERS = 300;
/** One in so many watches over server-sent events, and the others over WebSockets. */
const STREAMS = 3;
const QUIET_VIEWERS = 12;
const STEADY = 1_000;
const FICKLE = 60;
/** Users that a gateway speaks for. */
const EACH = 100;

const INGEST = 'mutation ($events: [EventInput!]!) { ingestEvents(events: $events) { discarded } }';
const eventsOf = (type: string, identities: readonly string[]): object[] =>
  identities.map((identity) => ({ type, user: { identity } }));

/** When each user's status changed last by the rows: a false OFFLINE leaves its trace there, whoever saw it. */
const sinceOf = (database: Queryable, projectId: string): Promise<object[]> =>
  database.query({
    name: 'test.since',
    text: `SELECT identity, status_since AS since FROM users WHERE project_id = $1 AND online_sessions > 0 AND identity LIKE 'steady %' ORDER BY 1`,
    values: [projectId],
  });

test('300 viewers over a restart of Redis, storms, Postgres and then all servers away for 40 s: each screen is as the rows, nobody is falsely offline, quiet ones stay live', async () => {
  const name = 'crowd';
  const dice = diceOf(chooseSeed(name));
  const stand = await openCrowdStand(SERVERS);
  const { database, urls } = stand;
  const views: { view: CrowdView; identities: readonly string[] | null }[] = [];
  const quiet: CrowdView[] = [];
  const toll = newToll();
  const working: (() => Promise<void>)[] = [];
  try {
    const [crowd, still] = await Promise.all([
      stand.makeProject('crowd', SETTINGS),
      stand.makeProject('quiet', SETTINGS),
    ]);
    const steady = Array.from({ length: STEADY }, (_, at) => `steady ${at}`);
    const fickle = Array.from({ length: FICKLE }, (_, at) => `fickle ${at}`);
    const url = (): string => dice.pick(urls);
    const say = (key: string, events: object[]) => attempt(toll, url(), key, INGEST, { events });

    // Who is steady speaks every three seconds, whether it is heard or not.
    for (let first = 0; first < STEADY; first += EACH) {
      const beats = eventsOf('heartbeat', steady.slice(first, first + EACH));
      working.push(keepOn(3_000, () => say(crowd.key, beats)));
    }
    working.push(keepOn(3_000, () => say(still.key, eventsOf('heartbeat', ['ada', 'ben', 'chiara']))));
    await eventually(async () => (await onlineIdentities(database, crowd.projectId)).length === STEADY, PATIENCE);
    const first = await sinceOf(database, crowd.projectId);

    let falseEdges = 0;
    const onEdge = (identity: string, status: string): void => {
      if (status === 'OFFLINE' && identity.startsWith('steady')) falseEdges += 1;
    };
    for (let at = 0; at < VIEWERS; at += 1) {
      const identities = at % 5 === 0 ? Array.from({ length: 50 }, () => dice.pick([...steady, ...fickle])) : null;
      const options = {
        url,
        key: crowd.key,
        streams: at % STREAMS === 0,
        inflates: at % 4 < 2,
        resumes: at % 2 === 0,
        onEdge,
      };
      views.push({
        view: new CrowdView(identities ? { ...options, identities: [...new Set(identities)] } : options),
        identities: identities && [...new Set(identities)],
      });
    }
    let quietEdges = 0;
    for (let at = 0; at < QUIET_VIEWERS; at += 1)
      quiet.push(
        new CrowdView({
          url,
          key: still.key,
          streams: at % STREAMS === 0,
          resumes: at % 2 === 0,
          onEdge: (identity) => {
            if (identity !== 'dora') quietEdges += 1;
          },
        }),
      );

    let compared = 0;
    /** Until every screen shows what the rows say; answers how long that took. */
    async function untilRight(what: string): Promise<number> {
      const start = performance.now();
      let wrong: string[] = [];
      try {
        await eventually(async () => {
          const online = new Set(await onlineIdentities(database, crowd.projectId));
          wrong = views.flatMap(({ view, identities }, at) =>
            [...(view.isWhole ? [] : ['has not all']), ...wrongIn(view, online, identities)].map(
              (one) => `${at} ${one}`,
            ),
          );
          wrong.push(...quiet.filter(({ isWhole, online: { size } }) => !isWhole || size !== 3).map(() => 'quiet'));
          return wrong.length === 0;
        }, PATIENCE);
      } catch {
        throw new Error(
          `After ${what} screens were wrong for longer than ${PATIENCE} ms: ${wrong.slice(0, 20).join(', ')}`,
        );
      }
      compared += views.length + quiet.length;
      return performance.now() - start;
    }
    await untilRight('the beginning');

    const story: Record<string, () => Promise<void>> = {
      'Redis restarts': () => stand.restartRedis(),
      'three storms': async () => {
        for (let storm = 0; storm < 3; storm += 1) {
          for (const { view } of views) view.cut();
          await eventually(() => views.every(({ view: { isWhole } }) => isWhole), PATIENCE);
        }
      },
      'Postgres is away': () => stand.postgresAway(AWAY),
      'all servers are away': () => stand.serversAway(AWAY),
    };
    for (const [what, happen] of Object.entries(story)) {
      const before = views.reduce((sum, { view: { figures } }) => sum + figures.snapshots, 0);
      // Somebody comes or leaves all the time, as far as it can be said.
      const stopTurns = keepOn(100, () =>
        say(crowd.key, eventsOf(dice.pick(['log', 'sessionend']), [dice.pick(fickle)])),
      );
      await happen();
      await pause(1_000);
      await stopTurns();
      record(`${name}: right again after ${what}, ms`, Math.round(await untilRight(what)));
      record(
        `${name}: snapshots sent to ${VIEWERS} viewers as ${what}`,
        views.reduce((sum, { view: { figures } }) => sum + figures.snapshots, 0) - before,
      );
      expect({ what, since: await sinceOf(database, crowd.projectId) }).toEqual({ what, since: first });
    }

    // Those who have been told nothing for minutes are told at once.
    await eventually(async () => (await say(still.key, eventsOf('log', ['dora']))) !== null);
    await eventually(() => quiet.every(({ online }) => online.has('dora')), PATIENCE);
    const sum = (read: (view: CrowdView) => number): number => views.reduce((all, { view }) => all + read(view), 0);
    record(`${name}: screens compared with the rows`, compared);
    record(
      `${name}: connections`,
      sum(({ figures }) => figures.connections),
    );
    record(
      `${name}: of them with a cursor`,
      sum(({ figures }) => figures.resumptions),
    );
    record(
      `${name}: subscriptions refused and tried again`,
      sum(({ figures }) => figures.refused),
    );
    record(
      `${name}: bytes to ${VIEWERS} viewers`,
      sum(({ figures }) => figures.bytes),
    );
    record(`${name}: false OFFLINE shown, of ${STEADY} users to ${VIEWERS} viewers`, falseEdges);
    record(`${name}: edges shown to those who watch where nothing happens`, quietEdges);
    expect(falseEdges).toBe(0);
    expect(quietEdges).toBe(0);
    expect([...views.map(({ view }) => view), ...quiet].flatMap(({ fatal }) => fatal)).toEqual([]);
    expect([...toll.unexpected]).toEqual([]);
  } finally {
    await Promise.all(working.map((stop) => stop()));
    for (const one of [...views.map(({ view }) => view), ...quiet]) one.stop();
    await stand.close();
  }
}, 300_000);
