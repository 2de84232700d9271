import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest';
import { createProject, post } from '../support/app.js';
import { call, look, postEvents } from '../support/collector.js';
import { createTestDatabase, type TestDatabase } from '../support/database.js';
import { openDoors, type Doors } from '../support/doors.js';

/** What anybody with a page's key says of events: it changes nothing else, grows nothing, shuts out nobody, and can be erased. */

let db: TestDatabase;
let doors: Doors;
let key: string;
beforeAll(async () => {
  db = await createTestDatabase();
  doors = await openDoors(db);
});
afterAll(async () => {
  await doors.close();
  await db.drop();
});
beforeEach(async () => {
  key = await createProject(doors.url);
});

const say = (reference: string, body: object) =>
  call(doors.url, `/api/v2/events/by-ref/${reference}/user-description`, {
    method: 'POST',
    key,
    body: JSON.stringify(body),
    headers: { 'Content-Type': 'application/json' },
  });
const sql = <Row>(text: string, values: unknown[] = []) =>
  doors.services.database.query<Row>({ name: 'test.sql', text, values });
const projectId = async (): Promise<string> => {
  const [row] = await sql<{ id: string }>('SELECT id FROM projects ORDER BY created_at DESC, id LIMIT 1');
  return row!.id;
};
const waiting = async (): Promise<string[]> =>
  (
    await sql<{ reference_id: string }>(
      'SELECT reference_id FROM user_descriptions WHERE project_id = $1 ORDER BY reference_id',
      [await projectId()],
    )
  ).map(({ reference_id }) => reference_id);

test('a description overwrites nothing of its event, and an event is described once, however often it is tried', async () => {
  await postEvents(doors.url, key, { type: 'error', reference_id: 'reference-0001', data: { price: 7, page: 'home' } });
  const first = { description: 'first', data: { price: 0, '@error': 'mine', '@user': { identity: 'eve' } } };
  expect((await say('reference-0001', first)).status).toBe(202);
  for (let at = 0; at < 5; at += 1) {
    const more = { description: `again ${at}`, data: { [`field${at}`]: 'x'.repeat(60_000) } };
    expect((await say('reference-0001', more)).status).toBe(202);
  }
  const { data } = (await look(doors.url, key)).events[0];
  expect(data).toMatchObject({ price: 7, page: 'home', '@user_description': first });
  expect(Object.keys(data).toSorted()).toEqual(['@submission_client', '@user_description', 'page', 'price']);
});

test('a description that waits is one, too, and has 64 KiB at most, its numbers as they are written out', async () => {
  expect((await say('reference-0002', { description: 'first' })).status).toBe(202);
  expect((await say('reference-0002', { description: 'second', data: { more: 'x'.repeat(1_000) } })).status).toBe(202);
  for (const data of [{ a: 'x'.repeat(65_536) }, { a: Array.from({ length: 300 }, () => 1e300) }]) {
    expect((await say('reference-0003', { description: 'large', data })).status).toBe(400);
  }
  await postEvents(doors.url, key, { type: 'error', reference_id: 'reference-0002' });
  await doors.services.userDescriptions.runOnce(new Date(0));
  expect((await look(doors.url, key)).events[0].data['@user_description']).toEqual({ description: 'first' });
  expect(await waiting()).toEqual([]);
});

test('junk of a key shuts out neither what comes after it nor what comes by another key', async () => {
  const id = await projectId();
  const another = randomUUID();
  const keep = (keyId: string, count: number) =>
    sql(
      `INSERT INTO user_descriptions (project_id, reference_id, key_id, received_at, data)
       SELECT $1, 'junk-' || $2::text || n, $2::uuid, now() - interval '1 day', '{}' FROM generate_series(1, $3::integer) n`,
      [id, keyId, count],
    );
  const [own] = await sql<{ id: string }>('SELECT id FROM api_keys WHERE project_id = $1', [id]);
  await keep(own!.id, 1_010);
  await keep(another, 1_010);
  expect((await say('reference-0004', { description: 'real' })).status).toBe(202);
  const names = await waiting();
  expect(names).toContain('reference-0004');
  expect(names.filter((name) => name.startsWith(`junk-${own!.id}`))).toHaveLength(999);
  expect(names.filter((name) => name.startsWith(`junk-${another}`))).toHaveLength(1_010);
});

test('whoever is erased leaves no words behind that wait for an event', async () => {
  const erase = (identity: string) =>
    post(doors.url, key, 'mutation ($identity: String!) { eraseUser(identity: $identity) { events } }', {
      identity,
    });
  await postEvents(doors.url, key, {
    type: 'error',
    reference_id: 'reference-0005',
    data: { '@user': { identity: 'ada' } },
  });
  await sql(
    `INSERT INTO user_descriptions (project_id, reference_id, received_at, data) VALUES ($1, 'reference-0005', now(), '{}')`,
    [await projectId()],
  );
  await say('reference-0006', { email_address: 'Ada@Example.com', description: 'by address' });
  await say('reference-0007', { description: 'by a value', data: { deep: [{ who: 'ada' }] } });
  await say('reference-0008', { description: 'of somebody else', data: { who: 'adam' } });
  expect(await waiting()).toHaveLength(4);
  for (const identity of ['ada', 'ada@example.com', 'nobody\0']) expect((await erase(identity)).errors).toBeUndefined();
  expect(await waiting()).toEqual(['reference-0008']);
});
