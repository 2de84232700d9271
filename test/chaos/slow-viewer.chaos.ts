import { expect, test } from 'vitest';
import type { Queryable } from '../../src/store/database.js';
import { eventually } from '../support/app.js';
import { attempt, newToll, pause } from '../support/chaos-load.js';
import { keepOn, openCrowdStand } from '../support/crowd-stand.js';
import { CrowdView, wrongIn } from '../support/crowd-view.js';
import { record } from '../support/ledger.js';
import { onlineIdentities } from '../support/rules.js';
import { startSlowLine } from '../support/slow-line.js';

/** Bytes a second. */
const RATE = 1_000_000;
const ONLINE = 100_000;
/** Longer than what may wait in the line takes. Milliseconds. */
const PATIENCE = 30_000;
const INGEST = 'mutation ($events: [EventInput!]!) { ingestEvents(events: $events) { accepted } }';

/** A project with so many users online, written by SQL. */
async function seed(database: Queryable, projectId: string, count: number): Promise<void> {
  await database.query({
    name: 'test.seedUsers',
    text: `INSERT INTO users (project_id, id, identity, online_sessions, status_since, presence_version, presence_transaction)
           SELECT $1, md5('seeded ' || n)::uuid, 'somebody who is online, by a rather long name, number ' || n, 1, now(), 1,
             pg_current_xact_id()::text::bigint
           FROM generate_series(1, $2::integer) n`,
    values: [projectId, count],
  });
  await database.query({
    name: 'test.seedSessions',
    text: `INSERT INTO sessions (project_id, id, user_id, started_at, last_activity_at, online_until, live, due_at, event_count, event_types, data)
           SELECT $1, uuidv7(), md5('seeded ' || n)::uuid, now(), now(), now() + interval '1 day', true, now() + interval '1 day', 0, '{}', '{}'
           FROM generate_series(1, $2::integer) n`,
    values: [projectId, count],
  });
}

test('a viewer of 100,000 on a line of 1 MB/s, with 200 edges a second: gets all, stays live, and shows what the rows say', async () => {
  const name = 'slow line';
  const stand = await openCrowdStand(1);
  const { database, urls } = stand;
  const line = await startSlowLine(Number(new URL(urls[0]!).port), RATE);
  const toll = newToll();
  let view: CrowdView | null = null;
  let stopEdges = async (): Promise<void> => {};
  try {
    const { key, projectId } = await stand.makeProject('large');
    await seed(database, projectId, ONLINE);
    let came = 0;
    const latest = (): string => `comer ${came - 1}`;
    stopEdges = keepOn(50, async () => {
      const comers = Array.from({ length: 10 }, () => `comer ${came++}`);
      await attempt(toll, urls[0]!, key, INGEST, { events: comers.map((identity) => ({ user: { identity } })) });
    });
    const start = performance.now();
    const url = (): string => `http://127.0.0.1:${line.port}`;
    const slow = (view = new CrowdView({ url, key, resumes: true, fields: 'onlineSessions' }));
    await eventually(() => slow.isWhole, 90_000);
    record(`${name}: the whole snapshot after, ms`, Math.round(performance.now() - start));
    // Whatever is told from here on comes behind what waits in the line.
    const told = latest();
    await eventually(() => slow.online.has(told), PATIENCE);
    record(`${name}: live after, ms`, Math.round(performance.now() - start));
    await pause(8_000);
    const lately = latest();
    const asked = performance.now();
    await eventually(() => slow.online.has(lately), PATIENCE);
    record(`${name}: an edge then, ms`, Math.round(performance.now() - asked));
    await stopEdges();
    await eventually(
      async () => wrongIn(slow, new Set(await onlineIdentities(database, projectId)), null).length === 0,
      PATIENCE,
    );
    record(`${name}: edges meanwhile`, came);
    record(`${name}: bytes`, slow.figures.bytes);
    expect(slow.figures).toMatchObject({ connections: 1, snapshots: 1 });
    expect(slow.fatal).toEqual([]);
    expect([...toll.unexpected]).toEqual([]);
  } finally {
    await stopEdges();
    view?.stop();
    await line.close();
    await stand.close();
  }
}, 240_000);
