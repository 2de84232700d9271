import { afterAll, beforeAll, expect, test } from 'vitest';
import { AppError } from '../../src/errors.js';
import { createEraseUser } from '../../src/services/projects/erase-user.js';
import { createTestDatabase, type TestDatabase } from '../support/database.js';
import { SENDER, createStage } from '../support/stage.js';

let db: TestDatabase;
beforeAll(async () => {
  db = await createTestDatabase();
});
afterAll(() => db.drop());

test('a batch takes the same statements, however many events and requests it joins', async () => {
  const stage = await createStage(db);
  const statements = () =>
    stage.observations.filter((observation) => observation.kind === 'statement').map(({ name }) => name);
  await stage.send({ user: 'first', t: 0, id: 'first' });
  stage.observations.length = 0;
  await stage.send({ user: 'user 0', t: 0, id: 'a' });
  const alone = statements();
  stage.observations.length = 0;
  const many = Array.from({ length: 500 }, (_, at) => ({ user: `user ${1 + (at % 100)}`, t: 0, id: `event ${at}` }));
  await Promise.all([
    stage.send(...many),
    stage.send({ user: 'other', t: 0, id: 'b' }),
    stage.send({ user: 'another', t: 0, id: 'c' }),
  ]);
  const batches = stage.observations.filter((observation) => observation.kind === 'batch.committed');
  // A batch for each lane; one more of each where a request comes after them, since its events take time to be described.
  expect(batches.length).toBeGreaterThanOrEqual(2);
  expect(batches.length).toBeLessThanOrEqual(4);
  expect(batches.reduce((sum, { events }) => sum + events, 0)).toBe(502);
  expect(statements().toSorted()).toEqual(batches.flatMap(() => alone).toSorted());
  expect(alone.length).toBeLessThanOrEqual(10);
});

test('events of one request and one instant stay in its order, whoever sent them, planned or not', async () => {
  const stage = await createStage(db);
  const many = Array.from({ length: 600 }, (_, at) => ({ user: `user ${at % 60}`, type: `${at}`, t: 1 }));
  for (const request of [many, many]) {
    const outcomes = await stage.send(...request);
    const ids = outcomes.map(({ eventId }) => eventId);
    expect(ids).toEqual(ids.toSorted());
  }
  const batches = stage.observations.filter((observation) => observation.kind === 'batch.committed');
  // A batch for each lane.
  expect(batches).toHaveLength(4);
  const planned = batches.map((batch) => batch.planned);
  expect(planned.slice(0, 2).reduce((sum, count) => sum + count)).toBe(600);
  expect(planned.slice(2)).toEqual([0, 0]);
});

test('no event, and more than 1,000, are refused whole', async () => {
  const stage = await createStage(db);
  await expect(stage.send()).rejects.toMatchObject({ code: 'BAD_USER_INPUT' });
  const many = Array.from({ length: 1001 }, () => ({ user: 'ada' }));
  await expect(stage.send(...many)).rejects.toMatchObject({ code: 'TOO_MANY_EVENTS' });
  expect(await stage.sessions()).toEqual([]);
  expect(await stage.send(...many.slice(1))).toHaveLength(1000);
});

test('a heartbeat names either the session or the user', async () => {
  const stage = await createStage(db);
  await expect(stage.beat({})).rejects.toBeInstanceOf(AppError);
  await expect(stage.beat({ identity: 'ada', sessionKey: 'the-key-1' })).rejects.toMatchObject({
    code: 'BAD_USER_INPUT',
  });
  await expect(stage.beat({ sessionKey: 'short' })).rejects.toMatchObject({ details: { field: 'input.sessionKey' } });
});

test('a narrowed token sends for its users alone', async () => {
  const stage = await createStage(db, {}, { identities: ['ada'] });
  await stage.ingest.ingestEvents(
    { ...stage.caller, reach: { projectId: stage.projectId, userIds: null } },
    [
      { sessionKey: 'key-of-bob', user: { identity: 'bob' } },
      { sessionKey: 'key-of-ada', user: { identity: 'ada' } },
      { sessionKey: 'key-nobodys' },
    ],
    SENDER,
  );
  const outcomes = await stage.send(
    { user: 'ada' },
    { user: 'bob' },
    {},
    { sessionKey: 'key-of-bob' },
    { sessionKey: 'key-of-bob', user: 'ada' },
    { sessionKey: 'key-of-ada' },
    { sessionKey: 'key-nobodys' },
    { sessionKey: 'key-not-there' },
  );
  expect(outcomes.map(({ code, status }) => code ?? status)).toEqual([
    'ACCEPTED',
    'FORBIDDEN_IDENTITY',
    'FORBIDDEN_IDENTITY',
    'FORBIDDEN_IDENTITY',
    // Her own session of that key (rule 1).
    'ACCEPTED',
    'ACCEPTED',
    'FORBIDDEN_IDENTITY',
    'FORBIDDEN_IDENTITY',
  ]);
  await expect(stage.beat({ identity: 'bob' })).rejects.toMatchObject({ code: 'FORBIDDEN' });
  const { sessionId } = await stage.beat({ sessionKey: 'key-of-bob' });
  expect(sessionId).toBe(outcomes[4]!.sessionId);
  expect(await stage.sessions('bob')).toMatchObject([{ key: 'key-of-bob', events: 1 }]);
});

test('whoever comes back after an erasure is told later than it, also if the clock was turned back', async () => {
  const stage = await createStage(db);
  const deps = { database: stage.database, bus: stage.bus, clock: { now: () => stage.now() }, observe: () => {} };
  stage.at(300);
  await stage.beat({ identity: 'ada' });
  await createEraseUser(deps)(stage.caller, 'ada');
  stage.at(60);
  await stage.beat({ identity: 'ada' });
  const versions = stage.edges().map(({ version }) => version);
  expect(versions).toHaveLength(3);
  expect(versions).toEqual(versions.toSorted((a, b) => a - b));
});

test('eraseUser removes the user, their sessions and their events everywhere, and tells subscribers', async () => {
  const stage = await createStage(db);
  await stage.send(
    { user: 'ada', t: 0, message: 'secret' },
    { user: 'ada', sessionKey: 'hers-0001', t: 0 },
    { sessionKey: 'hers-0001', t: 0 },
    { user: 'bob', sessionKey: 'shared-01', t: 0 },
    { user: 'ada', sessionKey: 'shared-01', type: 'error', t: 0 },
    { user: 'bob', t: 0, id: 'kept' },
    { user: 'ada', t: 0, id: 'retried' },
  );
  const erase = createEraseUser({
    database: stage.database,
    bus: stage.bus,
    clock: { now: () => stage.now() },
    observe: () => {},
  });
  const reach = { projectId: stage.projectId, userIds: null };
  expect(await erase({ reach, keyId: null }, 'ada')).toMatchObject({
    sessions: 3,
    events: 5,
    cursor: expect.any(String),
  });
  expect(await stage.sessions()).toMatchObject([
    { key: 'shared-01', events: 1, errors: 0 },
    { key: null, events: 1 },
  ]);
  const [left] = await stage.database.query<{ rows: string }>({
    name: 'test',
    text: `SELECT string_agg(x.row, ' ') AS rows FROM (
             SELECT u::text AS row FROM users u WHERE project_id = $1 UNION ALL SELECT s::text FROM sessions s WHERE project_id = $1
             UNION ALL SELECT e::text FROM events e WHERE project_id = $1) x`,
    values: [stage.projectId],
  });
  expect(left!.rows).not.toMatch(/\bada\b/);
  expect(left!.rows).not.toContain('secret');
  expect(stage.edges().at(-1)).toMatchObject({
    presence: { identity: 'ada', status: 'OFFLINE', since: null, lastSeenAt: null },
  });
  expect(await erase({ reach, keyId: null }, 'ada')).toMatchObject({
    sessions: 0,
    events: 0,
    cursor: expect.any(String),
  });

  // A retry that was under way brings nothing back; the user may come again.
  const [retried] = await stage.send({ user: 'ada', t: 0, id: 'retried' });
  expect(retried).toMatchObject({ status: 'DUPLICATE' });
  stage.at(1);
  await stage.send({ user: 'ada', t: 1 });
  const versions = stage
    .edges()
    .filter(({ presence }) => presence.identity === 'ada')
    .map(({ version }) => version);
  expect(versions).toEqual(versions.toSorted((a, b) => a - b));
  expect(new Set(versions).size).toBe(3);
});

test('a change of many projects in one batch stays apart', async () => {
  const one = await createStage(db);
  const two = await createStage(db);
  const [a, b] = await Promise.all([
    one.ingest.ingestEvents(one.caller, [{ user: { identity: 'ada' }, id: 'same' }], SENDER),
    one.ingest.ingestEvents(two.caller, [{ user: { identity: 'ada' }, id: 'same' }], SENDER),
  ]);
  expect([a[0]!.status, b[0]!.status]).toEqual(['ACCEPTED', 'ACCEPTED']);
  expect(a[0]!.sessionId).not.toBe(b[0]!.sessionId);
});
