import fc from 'fast-check';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { userIdOf } from '../../src/domain/identity.js';
import { createIngest } from '../../src/services/ingest/ingest.js';
import { lockDevices } from '../../src/store/ingest/ingest-reads.js';
import { createTestDatabase, type TestDatabase } from '../support/database.js';
import { createExecutor } from '../support/execute.js';
import { createStage, SENDER, toIncoming, type Stage, type StageEvent } from '../support/stage.js';

/** Rules 1 to 5, 18, 25 and 27, where events name the browser or machine that they come from. */

let db: TestDatabase;
beforeAll(async () => {
  db = await createTestDatabase();
});
afterAll(() => db.drop());

const PHONE = { deviceId: 'the-phone' };
const LAPTOP = { deviceId: 'the_laptop' };

/** Of each session whose it is, its device, and what is in it; in the order of starts. */
async function told(stage: Stage): Promise<string[]> {
  const users = await stage.database.query<{ id: string; identity: string }>({
    name: 'test.users',
    text: 'SELECT id, identity FROM users WHERE project_id = $1',
    values: [stage.projectId],
  });
  const owners = await stage.database.query<{ id: string; user_id: string | null }>({
    name: 'test.owners',
    text: 'SELECT id, user_id FROM sessions WHERE project_id = $1',
    values: [stage.projectId],
  });
  const identityOf = new Map(users.map(({ id, identity }) => [id, identity]));
  const ownerOf = new Map(
    owners.map(({ id, user_id }) => [id, user_id === null ? 'nobody' : identityOf.get(user_id)!]),
  );
  const sessions = await stage.sessions();
  const inOrder = sessions.toSorted((a, b) => a.start - b.start || ((a.device ?? '') < (b.device ?? '') ? -1 : 1));
  return inOrder.map(
    ({ id, device, start, last, end, reason, events }) =>
      `${ownerOf.get(id)} on ${device ?? 'nothing'}: ${start}..${last} ${end === null ? 'open' : reason}, ${events} events`,
  );
}

test('rules 2, 4 and 28: a user has a session on each device, and signing out on one leaves the other online', async () => {
  const stage = await createStage(db);
  await stage.send({ user: 'ada', ...PHONE }, { user: 'ada', ...LAPTOP }, { user: 'ada' });
  stage.at(10);
  expect(await stage.send({ type: 'sessionend', user: 'ada', ...PHONE })).toMatchObject([{ status: 'ACCEPTED' }]);
  stage.at(20);
  expect(await stage.beat({ identity: 'ada', ...LAPTOP })).toMatchObject({ acknowledged: true });
  // Rule 18: the end on the phone silences the phone alone.
  expect(await stage.beat({ identity: 'ada', ...PHONE })).toEqual({ acknowledged: false, sessionId: null });
  expect(await told(stage)).toEqual([
    'ada on nothing: 0..0 open, 1 events',
    'ada on the-phone: 0..10 CLIENT, 2 events',
    'ada on the_laptop: 0..20 open, 1 events',
  ]);
  expect(stage.edges().map(({ presence }) => presence.onlineSessions)).toEqual([3, 2]);
});

test('rule 3: a visitor reads five pages, signs in, reads two: one session of seven events, the user’s', async () => {
  const stage = await createStage(db);
  for (let page = 0; page < 5; page += 1) {
    stage.at(page * 10);
    await stage.send({ ...PHONE, source: `/${page}` });
  }
  expect(await told(stage)).toEqual(['nobody on the-phone: 0..40 open, 5 events']);
  expect(stage.edges()).toEqual([]);
  for (const at of [50, 60]) {
    stage.at(at);
    await stage.send({ user: 'ada', ...PHONE });
  }
  expect(await told(stage)).toEqual(['ada on the-phone: 0..60 open, 7 events']);
  expect(stage.edges().map(({ presence }) => presence.status)).toEqual(['ONLINE']);
});

test('rule 3: two people on one machine have two sessions, and the second never gets what the first one did', async () => {
  const stage = await createStage(db);
  await stage.send({ ...LAPTOP }, { user: 'ada', ...LAPTOP });
  stage.at(10);
  await stage.send({ user: 'bob', ...LAPTOP });
  expect(await told(stage)).toEqual([
    'ada on the_laptop: 0..0 open, 2 events',
    'bob on the_laptop: 10..10 open, 1 events',
  ]);
  // What names the device alone belongs to the one heard last.
  stage.at(20);
  await stage.send({ ...LAPTOP });
  stage.at(30);
  await stage.send({ user: 'ada', ...LAPTOP });
  stage.at(40);
  await stage.send({ ...LAPTOP });
  expect(await told(stage)).toEqual([
    'ada on the_laptop: 0..40 open, 4 events',
    'bob on the_laptop: 10..20 open, 2 events',
  ]);
});

test('rule 3: who comes later than inactivityTimeout, or after the visitor’s own end, does not get the session', async () => {
  const stage = await createStage(db, { inactivityTimeout: 60 });
  await stage.send({ ...PHONE });
  await stage.send({ ...LAPTOP }, { type: 'sessionend', ...LAPTOP });
  stage.at(61);
  await stage.send({ user: 'ada', ...PHONE }, { user: 'ada', ...LAPTOP });
  expect(await told(stage)).toEqual([
    'nobody on the-phone: 0..0 INACTIVITY, 1 events',
    'nobody on the_laptop: 0..0 CLIENT, 2 events',
    'ada on the-phone: 61..61 open, 1 events',
    'ada on the_laptop: 61..61 open, 1 events',
  ]);
});

test('rule 3: an end that names the device alone ends the session that the device has, whoever’s it is', async () => {
  const stage = await createStage(db);
  await stage.send({ user: 'ada', ...PHONE });
  stage.at(10);
  await stage.send({ type: 'sessionend', ...PHONE });
  // Rule 18: both the user and the device have left.
  expect(await stage.beat({ identity: 'ada', ...PHONE })).toMatchObject({ acknowledged: false });
  expect(await stage.beat({ ...PHONE })).toMatchObject({ acknowledged: false });
  stage.at(20);
  await stage.send({ ...PHONE });
  expect(await told(stage)).toEqual([
    'ada on the-phone: 0..10 CLIENT, 2 events',
    'nobody on the-phone: 20..20 open, 1 events',
  ]);
  expect(await stage.beat({ ...PHONE }, true)).toMatchObject({ acknowledged: true });
});

test('rule 18: a heartbeat of a device alone lets the last session of nobody go on that fell silent or said goodbye a moment ago', async () => {
  const stage = await createStage(db, { inactivityTimeout: 300, presenceTimeout: 75 });
  const beatOf = (deviceId: string, t: number) => stage.send({ type: 'heartbeat', deviceId, t });
  await stage.send(...['silent-1', 'silent-2', 'closed-1', 'closed-2', 'leaving-1'].map((deviceId) => ({ deviceId })));
  stage.at(10);
  for (const deviceId of ['closed-1', 'closed-2']) await stage.beat({ deviceId }, true);
  await stage.send({ type: 'sessionend', deviceId: 'leaving-1' });
  stage.at(85);
  // A goodbye is taken back for P. After the end of the device the heartbeat is a straggler for as long.
  expect(await beatOf('closed-1', 85)).toMatchObject([{ code: 'HEARTBEAT' }]);
  expect(await beatOf('leaving-1', 85)).toMatchObject([{ code: 'NO_SESSION', sessionId: null }]);
  stage.at(86);
  expect(await beatOf('closed-2', 86)).toMatchObject([{ code: 'HEARTBEAT' }]);
  expect(await beatOf('leaving-1', 86)).toMatchObject([{ code: 'HEARTBEAT' }]);
  // The closer has ended two; of a heartbeat that was under way the time decides.
  stage.at(320);
  await stage.close();
  expect(await beatOf('silent-1', 300)).toMatchObject([{ code: 'HEARTBEAT' }]);
  expect(await beatOf('silent-2', 301)).toMatchObject([{ code: 'HEARTBEAT' }]);
  expect((await told(stage)).toSorted()).toEqual([
    'nobody on closed-1: 0..85 open, 1 events',
    'nobody on closed-2: 0..10 CLIENT, 1 events',
    'nobody on closed-2: 86..86 open, 0 events',
    'nobody on leaving-1: 0..10 CLIENT, 2 events',
    'nobody on leaving-1: 86..86 open, 0 events',
    'nobody on silent-1: 0..300 open, 1 events',
    'nobody on silent-2: 0..0 INACTIVITY, 1 events',
    'nobody on silent-2: 301..301 open, 0 events',
  ]);
  // Nobody's session has no presence to tell.
  expect(stage.edges()).toEqual([]);
});

test('rules 3 and 18: a heartbeat of a device alone goes on with a user’s session too, and after the user’s sign-out is nobody’s', async () => {
  const stage = await createStage(db, { inactivityTimeout: 300, presenceTimeout: 75 });
  await stage.send({ ...PHONE }, { type: 'sessionend', ...PHONE });
  stage.at(100);
  await stage.send({ user: 'ada', ...PHONE });
  stage.at(410);
  await stage.close();
  expect(await stage.send({ type: 'heartbeat', ...PHONE, t: 400 })).toMatchObject([{ code: 'HEARTBEAT' }]);
  await stage.send({ type: 'sessionend', user: 'ada', ...PHONE });
  // The end names her, so it silences her heartbeats on the phone, and not those of the phone.
  expect(await stage.beat({ identity: 'ada', ...PHONE })).toMatchObject({ acknowledged: false });
  expect(await stage.beat({ ...PHONE })).toMatchObject({ acknowledged: true });
  expect(await told(stage)).toEqual([
    'nobody on the-phone: 0..0 CLIENT, 2 events',
    'ada on the-phone: 100..410 CLIENT, 2 events',
    'nobody on the-phone: 410..410 open, 0 events',
  ]);
});

test('rules 12 and 3: a start of a user in the visitor’s session supersedes it, and both are the user’s', async () => {
  const stage = await createStage(db, { sessionStart: 'RESTART' });
  await stage.send({ ...PHONE });
  stage.at(10);
  await stage.send({ type: 'session', user: 'ada', ...PHONE });
  expect(await told(stage)).toEqual([
    'ada on the-phone: 0..10 SUPERSEDED, 1 events',
    'ada on the-phone: 10..10 open, 1 events',
  ]);
});

test('rules 2 and 25: a device has 8 to 100 letters, digits, - and _; ids of a device are its own', async () => {
  const stage = await createStage(db);
  for (const deviceId of ['seven77', 'x'.repeat(101), 'a device', 'dévice-1', '']) {
    expect(await stage.send({ deviceId })).toMatchObject([{ status: 'REJECTED', code: 'INVALID_DEVICE_ID' }]);
    await expect(stage.beat({ identity: 'ada', deviceId })).rejects.toMatchObject({
      code: 'BAD_USER_INPUT',
      message: expect.stringContaining('deviceId'),
    });
  }
  const id = 'one';
  const outcomes = await stage.send(
    { id, ...PHONE },
    { id, ...LAPTOP },
    { id, user: 'ada', ...PHONE },
    { id },
    { id, ...PHONE, sessionKey: 'key-0001' },
    { id, user: 'ada' },
  );
  expect(outcomes.map(({ status }) => status)).toEqual([
    'ACCEPTED',
    'ACCEPTED',
    'ACCEPTED',
    'ACCEPTED',
    'DUPLICATE',
    'DUPLICATE',
  ]);
  await expect(stage.beat({ sessionKey: 'key-0001', ...PHONE })).rejects.toMatchObject({ code: 'BAD_USER_INPUT' });
});

test('a token that is narrowed to users names one of them; then it takes the visitor’s session', async () => {
  const stage = await createStage(db);
  await stage.send({ ...PHONE });
  const narrow = { ...stage.caller, reach: { ...stage.caller.reach, userIds: [userIdOf(stage.projectId, 'ada')] } };
  const send = (...events: StageEvent[]) =>
    stage.ingest.ingestEvents(
      narrow,
      events.map((event) => toIncoming(event, stage.time)),
      SENDER,
    );
  expect(await send({ ...PHONE })).toMatchObject([{ status: 'REJECTED', code: 'FORBIDDEN_IDENTITY' }]);
  expect(await send({ user: 'ada', ...PHONE })).toMatchObject([{ status: 'ACCEPTED' }]);
  expect(await told(stage)).toEqual(['ada on the-phone: 0..0 open, 2 events']);
});

test('rule 27: the id of a visitor’s session that was merged goes on answering, and sessions are found by device', async () => {
  const stage = await createStage(db, { inactivityTimeout: 60 });
  const executor = await createExecutor(stage, stage.bus);
  stage.at(200);
  const [first] = await stage.send({ t: 0, user: 'ada', ...PHONE });
  const [later] = await stage.send({ t: 100, ...PHONE });
  expect(later!.sessionId).not.toBe(first!.sessionId);
  await stage.send({ t: 50, ...PHONE });
  expect(await told(stage)).toEqual(['ada on the-phone: 0..100 open, 3 events']);
  const found = await executor.data(
    `query ($id: ID!, $devices: [ID!]) {
       session(id: $id) { deviceId eventCount user { identity } }
       sessions(filter: { deviceIds: $devices }) { nodes { deviceId } } }`,
    {
      id: Buffer.from(`Session:${later!.sessionId}`).toString('base64'),
      devices: [PHONE.deviceId, 'another-device'],
    },
  );
  expect(found).toMatchObject({
    session: { ...PHONE, eventCount: 3, user: { identity: 'ada' } },
    sessions: { nodes: [PHONE] },
  });
});

test('rule 5: a user whose session is beyond the ten that began last on a device gets one session with the visitor', async () => {
  const stage = await createStage(db);
  await stage.send({ user: 'ada', ...PHONE });
  for (let at = 1; at <= 10; at += 1) {
    stage.at(at);
    const user = `guest ${at}`;
    await stage.send({ user, ...PHONE }, { type: 'sessionend', user, ...PHONE });
  }
  stage.at(20);
  await stage.send({ ...PHONE });
  expect((await told(stage)).filter((one) => one.includes('open'))).toEqual([
    'ada on the-phone: 0..0 open, 1 events',
    'nobody on the-phone: 20..20 open, 1 events',
  ]);
  stage.at(30);
  expect(await stage.send({ user: 'ada', ...PHONE, version: '2' })).toMatchObject([{ status: 'ACCEPTED' }]);
  expect((await told(stage)).filter((one) => one.includes('open'))).toEqual(['ada on the-phone: 0..30 open, 3 events']);
});

test('rule 3: what names the device alone is in the session heard last, an ended one too, on the shortcut as by the plan', async () => {
  for (const bySignOut of [true, false]) {
    const stage = await createStage(db);
    await stage.send({ user: 'ada', ...PHONE });
    stage.at(10);
    // From here on the server remembers Ada's session for the device.
    await stage.send({ ...PHONE });
    stage.at(20);
    await stage.send({ user: 'bob', ...PHONE });
    stage.at(50);
    if (bySignOut) await stage.send({ type: 'sessionend', user: 'bob', ...PHONE });
    else await stage.beat({ identity: 'bob', ...PHONE }, true);
    stage.at(55);
    // It lies before Bob's end; or it comes so soon after a closing heartbeat that he is still there (rule 18).
    await stage.send({ ...PHONE, ...(bySignOut && { t: 30 }) });
    expect(await told(stage)).toEqual([
      'ada on the-phone: 0..10 open, 2 events',
      bySignOut ? 'bob on the-phone: 20..50 CLIENT, 3 events' : 'bob on the-phone: 20..55 open, 2 events',
    ]);
    stage.at(56);
    if (bySignOut) await stage.send({ ...PHONE });
    if (bySignOut) expect((await told(stage))[0]).toBe('ada on the-phone: 0..56 open, 3 events');
  }
});

test('rules 2 and 25: after a repeat of an event of another device, a device’s events are still in its own session', async () => {
  const stage = await createStage(db);
  await stage.send({ id: 'one', user: 'ada', ...PHONE });
  for (const of of [LAPTOP, {}]) {
    expect(await stage.send({ id: 'one', user: 'ada', ...of })).toMatchObject([{ status: 'DUPLICATE' }]);
    await stage.send({ user: 'ada', ...of });
  }
  expect((await told(stage)).toSorted()).toEqual([
    'ada on nothing: 0..0 open, 1 events',
    'ada on the-phone: 0..0 open, 1 events',
    'ada on the_laptop: 0..0 open, 1 events',
  ]);
});

test('an erasure locks devices in the order in which ingest locks them', async () => {
  const stage = await createStage(db);
  const executor = await createExecutor(stage, stage.bus);
  const devices = Array.from({ length: 40 }, (_, at) => `${'Zz_-'[at % 4]}device-${at}`);
  for (const deviceId of devices) await stage.send({ user: 'ada', deviceId });
  const inOrder = devices.toSorted((a, b) => (a < b ? -1 : 1));
  let erasure: Promise<unknown> | null = null;
  await stage.database.transaction(async (tx) => {
    for (const deviceId of inOrder) {
      await lockDevices(tx, [{ projectId: stage.projectId, deviceId }]);
      if (erasure) continue;
      erasure = executor.data('mutation { eraseUser(identity: "ada") { sessions } }');
      const waiting = {
        name: 'test.waiting',
        text: `SELECT 1 FROM pg_stat_activity
               WHERE datname = current_database() AND wait_event_type = 'Lock' AND query LIKE '%devices d%'`,
      };
      await expect.poll(() => stage.database.query(waiting), { timeout: 30_000 }).toHaveLength(1);
    }
  });
  expect(await erasure).toMatchObject({ eraseUser: { sessions: 40 } });
});

test("an erasure leaves no id of sessions that were merged while they were nobody's", async () => {
  const stage = await createStage(db);
  const executor = await createExecutor(stage, stage.bus);
  stage.at(2_000);
  // Four sessions of nobody, made one by the late events between them, from the last to the first.
  const ids: (string | null)[] = [];
  for (const t of [500, 1_000, 1_500, 2_000]) ids.push((await stage.send({ t, ...PHONE }))[0]!.sessionId);
  for (const t of [1_750, 1_250, 750]) await stage.send({ t, ...PHONE });
  const merged = () =>
    stage.database.query<{ id: string }>({
      name: 'test.merged',
      text: 'SELECT id FROM merged_sessions WHERE project_id = $1 ORDER BY id',
      values: [stage.projectId],
    });
  expect((await merged()).map(({ id }) => id)).toEqual(expect.arrayContaining(ids.slice(1)));
  await stage.send({ user: 'ada', ...PHONE });
  const globalId = Buffer.from(`Session:${ids[3]}`).toString('base64');
  const find = 'query ($id: ID!) { node(id: $id) { ... on Session { user { identity } } } }';
  expect(await executor.data(find, { id: globalId })).toEqual({ node: { user: { identity: 'ada' } } });
  await executor.data('mutation { eraseUser(identity: "ada") { sessions } }');
  expect((await merged()).filter(({ id }) => ids.includes(id))).toEqual([]);
  expect(await executor.data(find, { id: globalId })).toEqual({ node: null });
});

test('an erased user leaves no device behind that nobody else has used', async () => {
  const stage = await createStage(db);
  const executor = await createExecutor(stage, stage.bus);
  await stage.send({ ...PHONE }, { user: 'ada', ...PHONE }, { user: 'ada', ...LAPTOP }, { user: 'bob', ...LAPTOP });
  await executor.data('mutation { eraseUser(identity: "ada") { sessions events } }');
  expect(await told(stage)).toEqual(['bob on the_laptop: 0..0 open, 1 events']);
  expect(
    await stage.database.query({
      name: 'test.devices',
      text: `SELECT id FROM devices WHERE project_id = $1`,
      values: [stage.projectId],
    }),
  ).toEqual([{ id: LAPTOP.deviceId }]);
});

const INACTIVITY = 300;

/** Sessions worked out from the times alone: a gap longer than the timeout parts two; all but the last have ended. */
function expected(events: readonly StageEvent[]): string[] {
  const groups: StageEvent[][] = [];
  for (const event of events.toSorted((a, b) => a.t! - b.t!)) {
    const current = groups.at(-1);
    if (current && event.t! - current.at(-1)!.t! <= INACTIVITY) current.push(event);
    else groups.push([event]);
  }
  return groups.map((group, at) => {
    const user = group.some((event) => event.user) ? 'ada' : 'nobody';
    const stored = group.filter(({ type }) => type !== 'heartbeat').length;
    const end = at === groups.length - 1 ? 'open' : 'INACTIVITY';
    return `${user} on the-phone: ${group[0]!.t}..${group.at(-1)!.t} ${end}, ${stored} events`;
  });
}

/** What one user and a visitor do on one device, the order in which it arrives, and where the requests begin. */
const arrival = fc
  .array(
    fc.record({
      gap: fc.oneof(fc.integer({ min: 0, max: 299 }), fc.constantFrom(300, 301), fc.integer({ min: 302, max: 900 })),
      type: fc.constantFrom('log', 'usage', 'heartbeat'),
      isUser: fc.boolean(),
      rank: fc.nat(),
      isCut: fc.boolean(),
    }),
    { minLength: 1, maxLength: 12 },
  )
  .map((steps) => {
    let t = 0;
    const events = steps.map(({ gap, type, isUser, rank, isCut }) => {
      const event: StageEvent = { type, t: (t += gap), ...PHONE, ...(isUser && { user: 'ada' }) };
      return { event, rank, isCut };
    });
    const requests: StageEvent[][] = [[]];
    for (const { event, isCut } of events.toSorted((a, b) => a.rank - b.rank)) {
      if (isCut && requests.at(-1)!.length > 0) requests.push([]);
      requests.at(-1)!.push(event);
    }
    return { events: events.map(({ event }) => event), requests };
  });

for (const [how, numRuns] of [
  ['one after the other', 25],
  ['at once, to two servers', 25],
] as const) {
  test(`rule 27: any order and grouping of a device’s events gives the same sessions; requests ${how}`, async () => {
    await fc.assert(
      fc.asyncProperty(arrival, async ({ events, requests }) => {
        const stage = await createStage(db, { presenceTimeout: 86_400 });
        const { bus, database } = stage;
        const other = createIngest({ database, bus, clock: { now: () => stage.now() }, observe: () => {} });
        stage.at(86_400);
        const send = (request: readonly StageEvent[], at: number) =>
          (at % 2 ? other : stage.ingest).ingestEvents(
            stage.caller,
            request.map((event) => toIncoming(event, stage.time)),
            SENDER,
          );
        if (how === 'one after the other') for (const [at, request] of requests.entries()) await send(request, at);
        else await Promise.all(requests.map(send));
        expect(await told(stage)).toEqual(expected(events));
      }),
      { numRuns: Number(process.env['MODEL_RUNS'] ?? numRuns) },
    );
  });
}
