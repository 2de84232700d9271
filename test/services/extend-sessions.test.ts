import fc from 'fast-check';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { createShortcut, type Shortcut } from '../../src/services/ingest/extend-sessions.js';
import { createIngest } from '../../src/services/ingest/ingest.js';
import { createTestDatabase, type TestDatabase } from '../support/database.js';
import { createStage, SENDER, type Stage, type StageEvent } from '../support/stage.js';

/** The shortcut of ingest does what the plan would do, no more and no less. */

let db: TestDatabase;
beforeAll(async () => {
  db = await createTestDatabase();
});
afterAll(() => db.drop());

const withoutShortcut = {
  shortcut: {
    take: async (_database: unknown, events: readonly unknown[]) => ({
      outcomes: events.map(() => null),
      changes: { edges: [], sessions: [], events: [] },
    }),
    learn: () => {},
  },
};

/** As if two servers took turns: what each remembers of a user's session, the other has overtaken. */
function withTwoMemories(): { shortcut: Shortcut } {
  const memories = [createShortcut(), createShortcut()];
  let turn = 0;
  return {
    shortcut: {
      take: (...batch) => memories[(turn += 1) % 2]!.take(...batch),
      learn: (...planned) => memories[turn % 2]!.learn(...planned),
    },
  };
}

const without = (row: Record<string, unknown>, ...names: string[]) =>
  Object.fromEntries(Object.entries(row).filter(([name]) => !names.includes(name)));

/** Every row that ingest writes, without what chance gives: ids are told apart by their place. */
async function rows(stage: Stage): Promise<object> {
  const read = (text: string) =>
    stage.database.query<Record<string, unknown>>({ name: 'test.rows', text, values: [stage.projectId] });
  const sessions = await read(
    `SELECT s.*, u.identity FROM sessions s LEFT JOIN users u ON u.project_id = s.project_id AND u.id = s.user_id
     WHERE s.project_id = $1 ORDER BY u.identity, s.device_id, s.started_at, s.last_activity_at, s.key, s.ended_at, s.explicit_start, s.end_reason::text,
              s.online_until, s.event_count, s.event_types`,
  );
  const places = new Map(sessions.map(({ id }, at) => [id, at]));
  const events = await read('SELECT * FROM events WHERE project_id = $1 ORDER BY id');
  const users = await read(
    'SELECT identity, name, name_at, data, ends, end_devices, online_sessions, status_since FROM users WHERE project_id = $1 ORDER BY identity',
  );
  return {
    sessions: sessions.map(({ event_types, ...rest }) => ({
      ...without(rest, 'id', 'project_id', 'user_id', 'entry_event_id', 'exit_event_id'),
      types: (event_types as string[]).toSorted(),
    })),
    events: events
      .map(({ session_id, ...rest }) =>
        JSON.stringify({ ...without(rest, 'id', 'project_id', 'user_id'), session: places.get(session_id) }),
      )
      .toSorted(),
    users,
    devices: await read('SELECT id, ends FROM devices WHERE project_id = $1 ORDER BY id'),
    ids: await read(
      `SELECT k.received_on, k.session_id IS NULL AS nowhere, e.type, e.occurred_at FROM event_keys k
       LEFT JOIN events e ON e.project_id = k.project_id AND e.id = k.event_id WHERE k.project_id = $1 ORDER BY 4, 3, 2, 1`,
    ),
  };
}

const rarely = (...texts: string[]) =>
  fc.oneof({ weight: 12, arbitrary: fc.constant(undefined) }, { weight: 1, arbitrary: fc.constantFrom(...texts) });

const request = fc.record({
  at: fc.integer({ min: 0, max: 2_000 }),
  close: fc.boolean(),
  events: fc.array(
    fc.record({
      who: fc.constantFrom<{ user?: string; deviceId?: string }>(
        { user: 'ada' },
        { user: 'ada' },
        { user: 'bob' },
        { user: 'bob' },
        { user: 'ada', deviceId: 'device-1' },
        { deviceId: 'device-1' },
        { deviceId: 'device-2' },
      ),
      ago: fc.oneof(
        { weight: 4, arbitrary: fc.constant(0) },
        { weight: 1, arbitrary: fc.integer({ min: 0, max: 700 }) },
      ),
      type: fc.constantFrom(
        'log',
        'log',
        'log',
        'error',
        'heartbeat',
        'heartbeat',
        'session',
        'sessionend',
        'log',
        'log',
        'log',
      ),
      name: rarely('Ada', 'Bob'),
      version: rarely('1.0.0', '1.0.1'),
      hasSource: fc.nat(3).map((n) => n === 0),
      sessionKey: rarely('key-00000001'),
      id: fc.oneof(
        { weight: 3, arbitrary: fc.constant(undefined) },
        { weight: 1, arbitrary: fc.integer({ min: 0, max: 12 }).map((number) => `id ${number}`) },
      ),
      request: rarely(
        'Mozilla/5.0 (X11; Linux x86_64; rv:130.0) Gecko/20100101 Firefox/130.0',
        'curl/8',
        'Googlebot/2.1',
      ),
    }),
    { minLength: 1, maxLength: 4 },
  ),
});

const settings = fc.record({
  sessionStart: fc.constantFrom('RESTART' as const, 'RESUME' as const),
  inactivityTimeout: fc.constantFrom(300, 300, 60, 20),
  presenceTimeout: fc.constantFrom(75, 75, 20, 400),
});

test('whatever is sent: the same outcomes, rows and edges with the shortcut and without', async () => {
  let taken = 0;
  await fc.assert(
    fc.asyncProperty(settings, fc.array(request, { minLength: 2, maxLength: 8 }), async (project, requests) => {
      const seen: object[] = [];
      for (const more of [{}, withTwoMemories(), withoutShortcut]) {
        const stage = await createStage(db, project, {}, more);
        const said: unknown[] = [];
        let now = 0;
        for (const { at, close, events } of requests) {
          // Mostly a little later, at times beyond the timeouts.
          now += at > 1_900 ? at : 1 + (at % 60);
          stage.at(now);
          if (close) await stage.close();
          const outcomes = await stage.send(
            ...events.map(({ who, type, ago, hasSource, request: userAgent, ...rest }): StageEvent => ({
              ...(Object.fromEntries(Object.entries(rest).filter(([, value]) => value !== undefined)) as StageEvent),
              ...who,
              type,
              t: now - ago,
              // Events of one instant have one source, because chance decides the order of their ids.
              ...(hasSource && { source: `/${now - ago}` }),
              ...(userAgent && { data: { '@request': { user_agent: userAgent } } }),
            })),
          );
          said.push(
            outcomes.map(({ status, code, sessionId, eventId }) => [
              status,
              code,
              sessionId !== null,
              eventId !== null,
            ]),
          );
        }
        taken += stage.observations.filter((one) => one.kind === 'batch.committed' && one.planned < one.events).length;
        // Each user's in their order; which user comes first is a matter of hashes.
        const presences = stage.edges().map(({ presence }) => presence);
        const edges = ['ada', 'bob'].map((user) => presences.filter(({ identity }) => identity === user));
        seen.push({ said, edges, rows: await rows(stage) });
      }
      expect(seen[0]).toEqual(seen[2]);
      expect(seen[1]).toEqual(seen[2]);
    }),
    { numRuns: 150 },
  );
  // It was not idle: some 100.
  expect(taken).toBeGreaterThan(50);
}, 240_000);

test('a hundred events at once, of one user, by two servers: every one counted, one session', async () => {
  const stage = await createStage(db);
  await stage.send({ user: 'ada' });
  stage.at(1);
  await Promise.all(
    Array.from({ length: 100 }, (_, at) => stage.send({ user: 'ada', type: at % 10 === 0 ? 'error' : 'log' })),
  );
  expect(await stage.sessions('ada')).toMatchObject([{ start: 0, last: 1, events: 101, errors: 10 }]);
  const planned = stage.observations.flatMap((one) => (one.kind === 'batch.committed' ? [one.planned] : []));
  // The first, and the first error: a type the session did not hold before.
  expect(planned.filter((count) => count > 0).length).toBeLessThanOrEqual(3);
});

test('rule 25: an id takes the shortcut once, and its repeats are answered with the first, whose it is', async () => {
  const stage = await createStage(db);
  await stage.send({ user: 'ada' }, { user: 'bob' });
  const planned = () =>
    stage.observations.flatMap((one) => (one.kind === 'batch.committed' ? [one.planned] : [])).at(-1);
  stage.at(1);
  const [ada, bob, beat] = await stage.send(
    { user: 'ada', id: 'one' },
    { user: 'bob', id: 'one' },
    { user: 'bob', id: 'beat', type: 'log' },
  );
  expect([ada, bob, beat].map((one) => one!.status)).toEqual(['ACCEPTED', 'ACCEPTED', 'ACCEPTED']);
  expect(planned()).toBe(0);
  expect(ada!.sessionId).not.toBe(bob!.sessionId);
  stage.at(2);
  // Of those that are stored, and within one batch; whoever has no repeat takes the shortcut beside them.
  const again = await stage.send(
    { user: 'ada', id: 'one' },
    { user: 'bob', id: 'two' },
    { user: 'ada', id: 'three' },
    { user: 'ada', id: 'three' },
  );
  expect(again).toMatchObject([
    { status: 'DUPLICATE', eventId: ada!.eventId, sessionId: ada!.sessionId },
    { status: 'ACCEPTED', sessionId: bob!.sessionId },
    { status: 'ACCEPTED', sessionId: ada!.sessionId },
    { status: 'DUPLICATE', eventId: again[2]!.eventId, sessionId: ada!.sessionId },
  ]);
  stage.at(3);
  expect(await stage.send({ user: 'bob', id: 'two' })).toMatchObject([
    { status: 'DUPLICATE', eventId: again[1]!.eventId, sessionId: bob!.sessionId },
  ]);
  expect(await stage.sessions('ada')).toMatchObject([{ events: 3 }]);
  expect(await stage.sessions('bob')).toMatchObject([{ events: 4 }]);
});

test('rule 25: of one id that two servers take at once, one is stored', async () => {
  const stage = await createStage(db);
  const other = createIngest({
    database: db.open(),
    bus: stage.bus,
    clock: { now: () => stage.now() },
    observe: () => {},
  });
  const users = ['ada', 'bob', 'cid', 'dan'];
  const events = (id: string) => users.map((identity) => ({ id, user: { identity }, occurredAt: stage.now() }));
  for (const ingest of [stage.ingest, other]) await ingest.ingestEvents(stage.caller, events('first'), SENDER);
  for (let round = 0; round < 20; round += 1) {
    stage.at(1 + round);
    const answers = await Promise.all(
      [stage.ingest, other].map((ingest) => ingest.ingestEvents(stage.caller, events(`round ${round}`), SENDER)),
    );
    for (const at of users.keys()) {
      const [one, another] = answers.map((outcomes) => outcomes[at]!);
      expect([one!.status, another!.status].toSorted()).toEqual(['ACCEPTED', 'DUPLICATE']);
      expect([another!.eventId, another!.sessionId]).toEqual([one!.eventId, one!.sessionId]);
    }
  }
  expect(await stage.sessions('ada')).toMatchObject([{ events: 21 }]);
});

test('presence that has lapsed comes back with its edge, whichever comes first, the event or the closer', async () => {
  const stage = await createStage(db);
  await stage.beat({ identity: 'ada' });
  stage.at(100);
  await stage.close();
  await stage.send({ user: 'ada' });
  expect(stage.edges().map(({ presence }) => presence.status)).toEqual(['ONLINE', 'OFFLINE', 'ONLINE']);
  // Not looked at by the closer in time: nobody was told that she had gone.
  stage.at(200);
  await stage.send({ user: 'ada' });
  await stage.close();
  expect(stage.edges()).toHaveLength(3);
  expect(await stage.sessions('ada')).toMatchObject([{ start: 0, last: 200, end: null }]);
});
