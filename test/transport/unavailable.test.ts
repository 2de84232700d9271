import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import pg from 'pg';
import type { Database } from '../../src/store/database.js';
import { connect, createProject, eventually, listen, post, startTestApp, type TestApp } from '../support/app.js';
import { createTestDatabase, type TestDatabase } from '../support/database.js';

/** What can be stored, but not just now, is never refused for good: every door says to come again. */

let db: TestDatabase;
let database: Database;
let app: TestApp;
let key: string;
beforeAll(async () => {
  db = await createTestDatabase();
  database = db.open();
  app = await startTestApp(db);
  await query(`CREATE FUNCTION fail() RETURNS trigger LANGUAGE plpgsql AS
    $$ BEGIN RAISE 'not now' USING ERRCODE = TG_ARGV[0]; END $$`);
});
afterAll(async () => {
  await app.close('test');
  await db.drop();
});
beforeEach(async () => {
  key = await createProject(app.url);
});

const query = <Row>(text: string, values: unknown[] = []) => database.query<Row>({ name: 'test', text, values });

const INGEST = 'mutation ($events: [EventInput!]!) { ingestEvents(events: $events) { results { status code } } }';
const event = (id: string) => ({ id, type: 'log', user: { identity: 'ada' } });

/** What each door says of an event: `later`, or what became of it. */
const doors: Record<string, (id: string) => Promise<string>> = {
  async 'GraphQL over HTTP'(id) {
    const answer = await post(app.url, key, INGEST, { events: [event(id)] });
    if (!answer.errors) return answer.data.ingestEvents.results[0].status;
    expect([answer.status, answer.headers.get('retry-after')]).toEqual([503, '1']);
    return answer.errors[0]!.extensions['code'] === 'UNAVAILABLE' ? 'later' : answer.text;
  },
  async 'a WebSocket'(id) {
    const client = connect(app.url, key);
    const heard = listen(client, INGEST, { events: [event(id)] });
    await heard.ended;
    await client.dispose();
    const [result] = heard.heard[0]?.results ?? [];
    if (result) return result.status;
    return JSON.stringify(heard.errors).includes('"code":"UNAVAILABLE"') ? 'later' : JSON.stringify(heard.errors);
  },
  async 'the collector'(id) {
    const response = await fetch(`${app.url}/api/v2/events`, {
      method: 'POST',
      headers: { Authorization: `Bearer ${key}`, 'Content-Type': 'application/json' },
      body: JSON.stringify([{ type: 'log', message: id, data: { '@user': { identity: 'ada' } } }]),
    });
    const text = await response.text();
    if (response.status === 202) return 'ACCEPTED';
    return response.status === 503 && response.headers.get('retry-after') === '1'
      ? 'later'
      : `${response.status} ${text}`;
  },
};

const NOT_NOW = [
  ['a full disk', '53100'],
  ['no memory', '53200'],
  ['a statement that took too long', '57014'],
  ['a deadlock', '40P01'],
  ['a lock that was not had', '55P03'],
  ['a server that only reads', '25006'],
] as const;

describe.each(Object.entries(doors))('%s', (_name, send) => {
  test.each(NOT_NOW)('says to come again after %s', async (_what, sqlState) => {
    // Of somebody known and of somebody new: the shortcut and the plan.
    await send('first');
    for (const table of ['events', 'sessions']) {
      await query(
        `CREATE TRIGGER fail BEFORE INSERT OR UPDATE ON ${table} FOR EACH ROW EXECUTE FUNCTION fail('${sqlState}')`,
      );
      expect(await send('again')).toBe('later');
      await query(`DROP TRIGGER fail ON ${table}`);
    }
    expect(await send('again')).toBe('ACCEPTED');
  });

  test('says to come again while the partition is detached, and has it made where it is gone', async () => {
    expect(await send('first')).toBe('ACCEPTED');
    const [partition] = await query<{ name: string; bound: string }>(
      `SELECT e.tableoid::regclass::text AS name, pg_get_expr(c.relpartbound, c.oid) AS bound
       FROM events e JOIN pg_class c ON c.oid = e.tableoid ORDER BY received_at DESC LIMIT 1`,
    );
    const { name, bound } = partition!;
    await query(`ALTER TABLE events DETACH PARTITION ${name}`);
    expect(await send('again')).toBe('later');
    await query(`ALTER TABLE events ATTACH PARTITION ${name} ${bound}`);
    expect(await send('again')).toBe('ACCEPTED');
    await query(`DROP TABLE ${name}`);
    expect(await send('once more')).toBe('ACCEPTED');
    expect(await query(`SELECT FROM ${name}`)).toHaveLength(1);
  });
});

test('whose events belong into a detached partition is told to come again, and nobody else', async () => {
  const [current] = await query<{ name: string }>(
    `SELECT inhrelid::regclass::text AS name FROM pg_inherits WHERE inhparent = 'event_keys'::regclass
     AND inhrelid::regclass::text = 'event_keys_' || to_char(now() AT TIME ZONE 'UTC', 'YYYYMMDD')`,
  );
  const { name } = current!;
  const [{ bound }] = (await query<{ bound: string }>(
    `SELECT pg_get_expr(relpartbound, oid) AS bound FROM pg_class WHERE relname = $1`,
    [name],
  )) as [{ bound: string }];
  await query(`ALTER TABLE event_keys DETACH PARTITION ${name}`);
  // Only events with an id are remembered there. Together, so that one transaction may hold both.
  const [withId, without] = await Promise.all([
    post(app.url, key, INGEST, { events: [event('with')] }),
    post(app.url, key, INGEST, { events: [{ type: 'log', user: { identity: 'bob', data: { plan: 'pro' } } }] }),
  ]);
  await query(`ALTER TABLE event_keys ATTACH PARTITION ${name} ${bound}`);
  expect(withId.errors?.[0]?.extensions['code']).toBe('UNAVAILABLE');
  expect(without.data?.ingestEvents.results).toEqual([{ status: 'ACCEPTED', code: null }]);
});

test('an erasure that loses a deadlock says to come again', async () => {
  await post(app.url, key, INGEST, { events: [event('first')] });
  const other = new pg.Client({ connectionString: db.url });
  await other.connect();
  // An erasure takes the events, then their session; this one the other way round.
  const locking = (table: string) =>
    other.query(
      `SELECT FROM ${table} WHERE project_id = (SELECT id FROM projects ORDER BY id DESC LIMIT 1) FOR UPDATE`,
    );
  // Postgres ends whoever looks for a deadlock first: the erasure, after a second.
  await other.query(`SET deadlock_timeout = '1min'`);
  await other.query('BEGIN');
  await locking('sessions');
  const erasing = post(app.url, key, 'mutation { eraseUser(identity: "ada") { sessions } }');
  await eventually(
    async () =>
      (await query(`SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'`))
        .length > 0,
  );
  await locking('events');
  const answer = await erasing;
  await other.end();
  expect([answer.status, answer.errors?.[0]?.extensions['code']]).toEqual([503, 'UNAVAILABLE']);
  const again = await post(app.url, key, 'mutation { eraseUser(identity: "ada") { sessions } }');
  expect(again.data).toEqual({ eraseUser: { sessions: 1 } });
});
