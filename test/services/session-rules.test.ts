import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { createIngest } from '../../src/services/ingest/ingest.js';
import { createTestDatabase, type TestDatabase } from '../support/database.js';
import { sessionsThatMiscount, sessionsThatOverlap } from '../support/rules.js';
import { SENDER, createStage, toIncoming, type SeenSession, type StageEvent } from '../support/stage.js';

/** The numbered rules of sessions, each played on a real database. Times are seconds; inactivity 300, presence 75. */

let db: TestDatabase;
beforeAll(async () => {
  db = await createTestDatabase();
});
afterAll(() => db.drop());

const codes = (outcomes: readonly { status: string; code: string | null }[]): string[] =>
  outcomes.map(({ status, code }) => code ?? status);

const span = ({ start, last, end, reason }: SeenSession) => ({ start, last, end, reason });

describe('which session an event belongs to', () => {
  test('rule 1: an event with a key belongs to the session of that key', async () => {
    const stage = await createStage(db);
    stage.at(60);
    const [first, second] = await stage.send(
      { sessionKey: 'tab-00000001', user: 'ada', t: 0 },
      { sessionKey: 'tab-00000001', user: 'ada', t: 50 },
    );
    expect(first!.sessionId).toBe(second!.sessionId);
    expect(await stage.sessions()).toMatchObject([{ key: 'tab-00000001', start: 0, last: 50, events: 2 }]);
  });

  test('rule 1: a start without a key is named by its reference', async () => {
    const stage = await createStage(db);
    await stage.send({ type: 'session', referenceId: 'reference-1', user: 'ada' });
    expect(await stage.sessions()).toMatchObject([{ key: 'reference-1' }]);
    const [wrong] = await stage.send({ type: 'session', referenceId: 'no key', user: 'ada' });
    expect(wrong).toMatchObject({ status: 'REJECTED', code: 'INVALID_SESSION_KEY' });
  });

  test('rule 1: the same key with another identity is a session of its own; a key alone goes where it was heard of last', async () => {
    const stage = await createStage(db);
    const who = { sessionKey: 'tab-00000001' };
    const [nobody] = await stage.send(who);
    stage.at(1);
    const [ada] = await stage.send({ ...who, user: 'ada' });
    // Nobody had named a user of it.
    expect(ada!.sessionId).toBe(nobody!.sessionId);
    stage.at(2);
    const [bob] = await stage.send({ ...who, user: 'bob', type: 'session' });
    expect(bob!.sessionId).not.toBe(ada!.sessionId);
    expect((await stage.send({ ...who }))[0]!.sessionId).toBe(bob!.sessionId);
    stage.at(3);
    await stage.send({ ...who, user: 'bob', type: 'sessionend' });
    expect((await stage.send({ ...who }))[0]!.sessionId).toBe(ada!.sessionId);
    expect(await stage.sessions()).toMatchObject([
      { key: 'tab-00000001', start: 0, last: 3, end: null, events: 3 },
      { key: 'tab-00000001', start: 2, last: 3, end: 3, events: 3 },
    ]);
  });

  test('rule 1: two servers at once, users and nobody with one key: a session for each user', async () => {
    const stage = await createStage(db);
    const servers = [0, 1, 2].map(() =>
      createIngest({ database: db.open(), bus: stage.bus, clock: { now: () => stage.now() }, observe: () => {} }),
    );
    const users = [undefined, 'ada', 'bob', 'cyd'];
    await Promise.all(
      Array.from({ length: 60 }, (_, at) => {
        const user = users[at % 4];
        const event = { sessionKey: 'one-key-for-all', t: 0, ...(user && { user }) };
        return servers[at % 3]!.ingestEvents(stage.caller, [toIncoming(event, stage.time)], SENDER);
      }),
    );
    const sessions = await stage.sessions();
    expect(sessions).toHaveLength(3);
    expect(sessions.reduce((sum, { events }) => sum + events, 0)).toBe(60);
  });

  test('rule 2: an event with an identity belongs to the open session, or opens one', async () => {
    const stage = await createStage(db);
    stage.at(10);
    const [first] = await stage.send({ user: 'ada', t: 0 });
    const [second] = await stage.send({ user: 'ada', t: 10 });
    expect(second!.sessionId).toBe(first!.sessionId);
    expect(await stage.sessions('ada')).toMatchObject([{ key: null, start: 0, last: 10, end: null, events: 2 }]);
  });

  test('rule 2: two spellings are two users', async () => {
    const stage = await createStage(db);
    await stage.send({ user: 'ada' }, { user: 'Ada' }, { user: ' ada ' });
    expect(await stage.sessions('ada')).toMatchObject([{ events: 2 }]);
    expect(await stage.sessions('Ada')).toMatchObject([{ events: 1 }]);
  });

  test('rule 3: an event with neither is stored without a session', async () => {
    const stage = await createStage(db);
    const [outcome] = await stage.send({ message: 'alone' });
    expect(outcome).toMatchObject({ status: 'ACCEPTED', sessionId: null });
    expect(await stage.sessions()).toEqual([]);
  });

  test('rule 4: one open identity session and any number of named ones are separate, and one user', async () => {
    const stage = await createStage(db);
    await stage.send(
      { user: 'ada' },
      { user: 'ada', sessionKey: 'phone-001' },
      { user: 'ada', sessionKey: 'desk-0001' },
    );
    expect(await stage.sessions('ada')).toHaveLength(3);
    expect(stage.edges()).toMatchObject([{ presence: { identity: 'ada', status: 'ONLINE', onlineSessions: 3 } }]);
  });

  test('rule 5: fifty parallel ingests of one identity over two servers make one session', async () => {
    const stage = await createStage(db);
    const other = createIngest({
      database: db.open(),
      bus: stage.bus,
      clock: { now: () => stage.now() },
      observe: () => {},
      limits: {
        lanes: 8,
        another: { events: 1, milliseconds: 0 },
        batch: { events: 1, bytes: 1 },
        queue: { events: 1_000, bytes: 1e7 },
      },
    });
    const event = [toIncoming({ user: 'ada', t: 0 }, stage.time)];
    const answers = await Promise.all(
      Array.from({ length: 50 }, (_, at) => (at % 2 ? stage.ingest : other).ingestEvents(stage.caller, event, SENDER)),
    );
    expect(new Set(answers.map(([outcome]) => outcome!.sessionId)).size).toBe(1);
    expect(await stage.sessions('ada')).toMatchObject([{ events: 50 }]);
    expect(stage.edges()).toHaveLength(1);
  });

  test('rule 5: fifty parallel ingests of one key over two servers make one session', async () => {
    const stage = await createStage(db);
    const limits = {
      lanes: 8,
      another: { events: 1, milliseconds: 0 },
      batch: { events: 1, bytes: 1 },
      queue: { events: 1_000, bytes: 1e7 },
    };
    const servers = [0, 1].map(() =>
      createIngest({
        database: db.open(),
        bus: stage.bus,
        clock: { now: () => stage.now() },
        observe: () => {},
        limits,
      }),
    );
    const event = [toIncoming({ sessionKey: 'one-key-for-all', t: 0 }, stage.time)];
    await Promise.all(
      Array.from({ length: 50 }, (_, at) => servers[at % 2]!.ingestEvents(stage.caller, event, SENDER)),
    );
    expect(await stage.sessions()).toMatchObject([{ key: 'one-key-for-all', events: 50 }]);
  });

  test('rule 6: an event after the inactivity timeout starts a new session, closer or not', async () => {
    for (const closerRuns of [false, true]) {
      const stage = await createStage(db);
      await stage.send({ user: 'ada', t: 0 });
      stage.at(301);
      if (closerRuns) await stage.close();
      await stage.send({ user: 'ada', t: 301 });
      expect((await stage.sessions('ada')).map(span)).toEqual([
        { start: 0, last: 0, end: 0, reason: 'INACTIVITY' },
        { start: 301, last: 301, end: null, reason: null },
      ]);
    }
  });

  test('rule 6: exactly the inactivity timeout later still belongs', async () => {
    const stage = await createStage(db);
    await stage.send({ user: 'ada', t: 0 });
    stage.at(300);
    await stage.send({ user: 'ada', t: 300 });
    expect((await stage.sessions('ada')).map(span)).toEqual([{ start: 0, last: 300, end: null, reason: null }]);
  });

  test('rule 7: a somewhat older event moves the start back', async () => {
    const stage = await createStage(db);
    stage.at(1000);
    await stage.send({ user: 'ada', t: 1000 });
    await stage.send({ user: 'ada', t: 700 });
    expect((await stage.sessions('ada')).map(span)).toEqual([{ start: 700, last: 1000, end: null, reason: null }]);
  });

  test('rule 7: a much older event joins the ended session it falls into or near, or is one of its own', async () => {
    const stage = await createStage(db);
    stage.at(0);
    await stage.send({ user: 'ada', t: 0 });
    stage.at(2000);
    await stage.send({ user: 'ada', t: 100 }, { user: 'ada', t: 2000 });
    expect((await stage.sessions('ada')).map(span)).toEqual([
      { start: 0, last: 100, end: 100, reason: 'INACTIVITY' },
      { start: 2000, last: 2000, end: null, reason: null },
    ]);
    await stage.send({ user: 'ada', t: 50 }, { user: 'ada', t: 350 });
    await stage.send({ user: 'ada', t: 1000 });
    expect((await stage.sessions('ada')).map((session) => ({ ...span(session), events: session.events }))).toEqual([
      { start: 0, last: 350, end: 350, reason: 'INACTIVITY', events: 4 },
      { start: 1000, last: 1000, end: 1000, reason: 'INACTIVITY', events: 1 },
      { start: 2000, last: 2000, end: null, reason: null, events: 1 },
    ]);
  });

  test('rule 7: what is at the very instant of an end, and not placed before it, comes after it', async () => {
    for (const sessionStart of ['RESTART', 'RESUME'] as const) {
      for (const types of [
        ['log', 'sessionend', 'session', 'log'],
        ['log', 'sessionend', 'log'],
      ]) {
        for (const together of [true, false]) {
          const stage = await createStage(db, { sessionStart });
          const events = types.map((type) => ({ user: 'ada', type }));
          if (together) await stage.send(...events);
          else for (const event of events) await stage.send(event);
          expect(await stage.sessions('ada')).toMatchObject([
            { start: 0, end: 0, reason: 'CLIENT', events: 2 },
            { start: 0, end: null, events: types.length - 2 },
          ]);
          expect(stage.edges().at(-1)).toMatchObject({ presence: { status: 'ONLINE' } });
        }
      }
    }
  });

  test('rule 8: a session that superseded another at the same instant, and was closed early, goes on', async () => {
    const stage = await createStage(db, { inactivityTimeout: 20 });
    await stage.send({ user: 'ada', type: 'session', t: 0 });
    stage.at(5);
    await stage.send({ user: 'ada', type: 'session', t: 5 });
    await stage.closer.runOnce(stage.time(25));
    stage.at(18);
    await stage.send({ user: 'ada', t: 15 });
    await stage.send({ user: 'ada', type: 'sessionend', t: 18 });
    expect((await stage.sessions('ada')).map(span)).toEqual([
      { start: 0, last: 5, end: 5, reason: 'SUPERSEDED' },
      { start: 5, last: 18, end: 18, reason: 'CLIENT' },
    ]);
  });

  test('rule 8: at the very instant of the last activity it goes on too, and an end there ends it', async () => {
    for (const who of [{ user: 'ada' }, { sessionKey: 'the-key-1' }]) {
      for (const [type, seen] of [
        ['log', { end: null }],
        ['heartbeat', { end: null }],
        ['sessionend', { end: 0, reason: 'CLIENT' }],
      ] as const) {
        const stage = await createStage(db);
        await stage.send({ ...who, t: 0 });
        await stage.closer.runOnce(stage.time(300));
        await stage.send({ ...who, type, t: 0 });
        expect(await stage.sessions()).toMatchObject([seen]);
      }
    }
  });

  test('rule 8: a session closed a moment early goes on, within the timeout and no later', async () => {
    const stage = await createStage(db);
    await stage.send({ user: 'ada', t: 0 });
    stage.at(300);
    expect(await stage.close()).toBe(1);
    await stage.send({ user: 'ada', t: 299 });
    expect((await stage.sessions('ada')).map(span)).toEqual([{ start: 0, last: 299, end: null, reason: null }]);
    stage.at(700);
    await stage.close();
    await stage.send({ user: 'ada', t: 650 });
    expect(await stage.sessions('ada')).toHaveLength(2);
  });

  test('rule 8: exactly the timeout after its last activity it goes on, a moment later it does not', async () => {
    for (const [late, sessions] of [
      [300, 1],
      [300.001, 2],
    ] as const) {
      const stage = await createStage(db);
      await stage.send({ user: 'ada', t: 0 });
      stage.at(300);
      expect(await stage.close()).toBe(1);
      stage.at(late);
      await stage.send({ user: 'ada', t: late });
      expect(await stage.sessions('ada')).toHaveLength(sessions);
    }
  });

  test('rule 8: a late event inside an ended session does not reopen it', async () => {
    const stage = await createStage(db);
    await stage.send({ user: 'ada', t: -200 }, { user: 'ada', t: 0 });
    stage.at(400);
    await stage.close();
    await stage.send({ user: 'ada', t: -100 });
    expect((await stage.sessions('ada')).map(span)).toEqual([{ start: -200, last: 0, end: 0, reason: 'INACTIVITY' }]);
  });

  test('rule 9: a key names one session for ever', async () => {
    const stage = await createStage(db);
    await stage.send({ sessionKey: 'the-key-1', t: 0 }, { type: 'sessionend', sessionKey: 'the-key-1', t: 0 });
    stage.at(5000);
    await stage.send({ sessionKey: 'the-key-1', t: 5000 });
    expect((await stage.sessions()).map(span)).toEqual([{ start: 0, last: 5000, end: 5000, reason: 'CLIENT' }]);
  });

  test('rule 9: a named session closed for inactivity reopens however long the gap', async () => {
    const stage = await createStage(db);
    await stage.send({ sessionKey: 'the-key-1', t: 0 });
    stage.at(9000);
    expect(await stage.close()).toBe(1);
    await stage.send({ sessionKey: 'the-key-1', t: 9000 });
    expect((await stage.sessions()).map(span)).toEqual([{ start: 0, last: 9000, end: null, reason: null }]);
  });

  test('rule 9: starts and heartbeats of a key that a client has ended are discarded, and move nothing', async () => {
    const stage = await createStage(db);
    const who = { sessionKey: 'the-key-1' };
    stage.at(100);
    await stage.send({ ...who, t: 50 });
    await stage.send({ ...who, type: 'sessionend', t: 100 });
    const outcomes = await stage.send(
      { ...who, type: 'session', t: 0 },
      { ...who, type: 'heartbeat', t: 10 },
      { ...who, type: 'heartbeat', t: 60 },
    );
    expect(codes(outcomes)).toEqual(['DUPLICATE_SESSION_START', 'NO_SESSION', 'NO_SESSION']);
    expect(await stage.beat(who)).toEqual({ acknowledged: false, sessionId: null });
    expect((await stage.sessions()).map(span)).toEqual([{ start: 50, last: 100, end: 100, reason: 'CLIENT' }]);
  });

  test('rule 9: an end more than the timeout after the last activity of a key ends nothing, closer or not', async () => {
    for (const closerRuns of [false, true]) {
      for (const how of ['event', 'heartbeat'] as const) {
        const stage = await createStage(db);
        const who = { sessionKey: 'the-key-1' };
        await stage.send({ ...who, t: 0 });
        stage.at(301);
        if (closerRuns) await stage.close();
        if (how === 'event') expect(codes(await stage.send({ ...who, type: 'sessionend' }))).toEqual(['NO_SESSION']);
        else expect(await stage.beat(who, true)).toEqual({ acknowledged: false, sessionId: null });
        expect((await stage.sessions()).map(span)).toEqual([{ start: 0, last: 0, end: 0, reason: 'INACTIVITY' }]);
      }
    }
  });

  test("rule 10: where the client's clock is off, the difference is taken off its times; two seconds are none", async () => {
    const stage = await createStage(db);
    stage.at(1000);
    const send = (sentAt: number, ...events: StageEvent[]) =>
      stage.ingest.ingestEvents(
        stage.caller,
        events.map((event) => toIncoming(event, stage.time)),
        SENDER,
        stage.time(sentAt),
      );
    // An hour ahead, and an hour behind: the same ten seconds.
    await send(4600, { user: 'ada', t: 4590 }, { user: 'ada', t: 4600 });
    await send(-2600, { user: 'bob', t: -2610 }, { user: 'bob', t: -2600 });
    for (const user of ['ada', 'bob']) expect(await stage.sessions(user)).toMatchObject([{ start: 990, last: 1000 }]);
    await send(1002, { user: 'cyd', t: 900 });
    expect(await stage.sessions('cyd')).toMatchObject([{ start: 900 }]);
    // A clock that is years behind is right by what it says of itself.
    expect(codes(await send(-1e9, { user: 'dan', t: -1e9 }))).toEqual(['ACCEPTED']);
    await expect(send(Number.NaN, { user: 'ada' })).rejects.toMatchObject({
      code: 'BAD_USER_INPUT',
      details: { field: 'sentAt' },
    });
  });

  test('rule 10: the future becomes now, and more than three days ago is too old', async () => {
    const stage = await createStage(db);
    stage.at(0);
    const outcomes = await stage.send(
      { user: 'ada', t: 3600 },
      { user: 'bob', t: -3 * 86_400 },
      { user: 'cyd', t: -3 * 86_400 - 1 },
    );
    expect(codes(outcomes)).toEqual(['ACCEPTED', 'ACCEPTED', 'TOO_OLD']);
    expect((await stage.sessions('ada')).map(span)).toEqual([{ start: 0, last: 0, end: null, reason: null }]);
  });
});

describe('starting and ending', () => {
  test('rule 11: a start where nothing is open opens a session', async () => {
    const stage = await createStage(db);
    expect(codes(await stage.send({ type: 'session', user: 'ada', t: 0 }))).toEqual(['ACCEPTED']);
    expect(await stage.sessions('ada')).toMatchObject([{ start: 0, end: null, events: 1 }]);
  });

  test('rule 12: RESTART supersedes the open session', async () => {
    const stage = await createStage(db);
    await stage.send({ user: 'ada', t: 0 });
    stage.at(100);
    expect(codes(await stage.send({ type: 'session', user: 'ada', t: 100 }))).toEqual(['ACCEPTED']);
    expect((await stage.sessions('ada')).map(span)).toEqual([
      { start: 0, last: 100, end: 100, reason: 'SUPERSEDED' },
      { start: 100, last: 100, end: null, reason: null },
    ]);
    expect(stage.edges()).toHaveLength(1);
  });

  test('rule 12: a late start splits the open session where it lies', async () => {
    const stage = await createStage(db, { inactivityTimeout: 20 });
    stage.at(20);
    await stage.send({ user: 'ada', t: 0 }, { user: 'ada', t: 20, type: 'error' });
    const [start] = await stage.send({ user: 'ada', type: 'session', t: 10 });
    stage.at(35);
    const [last] = await stage.send({ user: 'ada', t: 35 });
    expect(await stage.sessions('ada')).toMatchObject([
      { start: 0, last: 10, end: 10, reason: 'SUPERSEDED', events: 1, errors: 0 },
      { start: 10, last: 35, end: null, events: 3, errors: 1, id: start!.sessionId },
    ]);
    expect(last!.sessionId).toBe(start!.sessionId);
    expect(await sessionsThatMiscount(stage.database, stage.projectId)).toEqual([]);
    expect(await sessionsThatOverlap(stage.database, stage.projectId)).toEqual([]);
    expect(stage.edges()).toHaveLength(1);
  });

  test('rule 12: late starts of one request split a session one after the other, types and counts with it', async () => {
    const stage = await createStage(db);
    stage.at(100);
    await stage.send(
      ...[0, 20, 40, 60, 80, 100].map((t, at): StageEvent => ({ user: 'ada', t, type: `type ${at}`, version: '1.0' })),
    );
    await stage.send(
      { user: 'ada', type: 'session', t: 50 },
      { user: 'ada', type: 'session', t: 10 },
      { user: 'ada', t: 55 },
      { user: 'ada', type: 'session', t: 90 },
    );
    const rows = await stage.database.query<{ types: string[]; version: string }>({
      name: 'test',
      text: 'SELECT event_types AS types, version FROM sessions WHERE project_id = $1 ORDER BY started_at',
      values: [stage.projectId],
    });
    expect(rows.map(({ types }) => types.toSorted())).toEqual([
      ['type 0'],
      ['session', 'type 1', 'type 2'],
      ['log', 'session', 'type 3', 'type 4'],
      ['session', 'type 5'],
    ]);
    // It is the same client.
    expect(new Set(rows.map(({ version }) => version))).toEqual(new Set(['1.0']));
    expect((await stage.sessions('ada')).map(({ start, last, events }) => [start, last, events])).toEqual([
      [0, 10, 1],
      [10, 50, 3],
      [50, 90, 4],
      [90, 100, 2],
    ]);
    expect(await sessionsThatMiscount(stage.database, stage.projectId)).toEqual([]);
  });

  test('rule 12: RESUME lets the open session go on, as project policy and for one event', async () => {
    for (const settings of [{ sessionStart: 'RESUME' as const }, {}]) {
      const stage = await createStage(db, settings);
      await stage.send({ user: 'ada', t: 0 });
      stage.at(100);
      const [outcome] = await stage.send({ type: 'session', user: 'ada', t: 100, startPolicy: 'RESUME' });
      expect(outcome).toMatchObject({ status: 'DISCARDED', code: 'DUPLICATE_SESSION_START', eventId: null });
      expect(await stage.sessions('ada')).toMatchObject([{ start: 0, last: 100, end: null, events: 1 }]);
    }
  });

  test('rule 12: under RESUME a start that lies inside a session that has ended meanwhile is a repeated one', async () => {
    const stage = await createStage(db, { sessionStart: 'RESUME' });
    await stage.send({ type: 'session', user: 'ada', t: 0 });
    // The page that follows began at 10; the farewell of the one before is heard at 11, before the start is.
    stage.at(11);
    await stage.beat({ identity: 'ada' }, true);
    stage.at(12);
    expect(codes(await stage.send({ type: 'session', user: 'ada', t: 10 }))).toEqual(['DUPLICATE_SESSION_START']);
    expect(await stage.sessions('ada')).toMatchObject([{ start: 0, end: 11, reason: 'CLIENT', events: 1 }]);
    await stage.send({ user: 'ada', t: 12 });
    expect(await stage.sessions('ada')).toMatchObject([{ start: 0, end: null, events: 2 }]);
  });

  test('rule 13: a start with a key that is open is a repeat under both policies', async () => {
    for (const sessionStart of ['RESTART', 'RESUME'] as const) {
      const stage = await createStage(db, { sessionStart });
      await stage.send({ type: 'session', sessionKey: 'the-key-1', t: 0 });
      stage.at(50);
      expect(codes(await stage.send({ type: 'session', sessionKey: 'the-key-1', t: 50 }))).toEqual([
        'DUPLICATE_SESSION_START',
      ]);
      expect(await stage.sessions()).toMatchObject([{ start: 0, last: 50, events: 1 }]);
    }
  });

  test('rule 14: a request is ordered by time, then place', async () => {
    const stage = await createStage(db);
    stage.at(100);
    const outcomes = await stage.send(
      { type: 'sessionend', user: 'ada', t: 90 },
      { user: 'ada', t: 50 },
      { type: 'session', user: 'ada', t: 0 },
    );
    expect(codes(outcomes)).toEqual(['ACCEPTED', 'ACCEPTED', 'ACCEPTED']);
    expect((await stage.sessions('ada')).map(span)).toEqual([{ start: 0, last: 90, end: 90, reason: 'CLIENT' }]);
  });

  test('rule 14: under RESUME, and in a named session, the start may come after the first events of its request', async () => {
    for (const [settings, who] of [
      [{ sessionStart: 'RESUME' as const }, { user: 'ada' }],
      [{}, { sessionKey: 'the-key-1' }],
    ] as const) {
      const stage = await createStage(db, settings);
      stage.at(10);
      const outcomes = await stage.send(
        { ...who, t: 0 },
        { type: 'session', ...who, t: 5 },
        { type: 'session', ...who, t: 6 },
      );
      expect(codes(outcomes)).toEqual(['ACCEPTED', 'ACCEPTED', 'DUPLICATE_SESSION_START']);
      expect(await stage.sessions()).toMatchObject([{ start: 0, last: 6, events: 2 }]);
    }
  });

  test('rule 14: under RESTART it splits', async () => {
    const stage = await createStage(db);
    stage.at(10);
    expect(codes(await stage.send({ user: 'ada', t: 0 }, { type: 'session', user: 'ada', t: 5 }))).toEqual([
      'ACCEPTED',
      'ACCEPTED',
    ]);
    expect(await stage.sessions('ada')).toMatchObject([
      { reason: 'SUPERSEDED', end: 5 },
      { start: 5, end: null },
    ]);
  });

  test('rule 15: an end closes at its own time or the last activity, and one request can hold several sessions', async () => {
    const stage = await createStage(db);
    stage.at(100);
    await stage.send({ user: 'ada', t: 0 }, { user: 'ada', t: 40 });
    await stage.send({ type: 'sessionend', user: 'ada', t: 30 });
    expect((await stage.sessions('ada')).map(span)).toEqual([{ start: 0, last: 40, end: 40, reason: 'CLIENT' }]);
    stage.at(200);
    await stage.send(
      { user: 'ada', t: 110 },
      { type: 'sessionend', user: 'ada', t: 120 },
      { user: 'ada', t: 130 },
      { type: 'sessionend', user: 'ada', t: 140 },
      { user: 'ada', t: 150 },
    );
    expect((await stage.sessions('ada')).map(span)).toEqual([
      { start: 0, last: 40, end: 40, reason: 'CLIENT' },
      { start: 110, last: 120, end: 120, reason: 'CLIENT' },
      { start: 130, last: 140, end: 140, reason: 'CLIENT' },
      { start: 150, last: 150, end: null, reason: null },
    ]);
  });

  test('rule 16: an end in the middle of a request ends a named session at its last event; a second end is discarded', async () => {
    const stage = await createStage(db);
    stage.at(100);
    const who = { sessionKey: 'the-key-1' };
    const outcomes = await stage.send(
      { ...who, t: 0 },
      { type: 'sessionend', ...who, t: 10 },
      { ...who, t: 20 },
      { type: 'sessionend', ...who, t: 15 },
    );
    expect(codes(outcomes)).toEqual(['ACCEPTED', 'ACCEPTED', 'ACCEPTED', 'DUPLICATE_SESSION_END']);
    expect(await stage.sessions()).toMatchObject([{ start: 0, last: 20, end: 20, reason: 'CLIENT', events: 3 }]);
  });

  test('rule 17: an end where nothing is open is discarded and makes nothing', async () => {
    const stage = await createStage(db);
    expect(
      codes(await stage.send({ type: 'sessionend', user: 'ada' }, { type: 'sessionend', sessionKey: 'the-key-1' })),
    ).toEqual(['NO_SESSION', 'NO_SESSION']);
    expect(await stage.sessions()).toEqual([]);
  });

  test('rule 18: a heartbeat moves last activity on and is never stored', async () => {
    const stage = await createStage(db);
    await stage.send({ user: 'ada', t: 0 });
    stage.at(30);
    expect(await stage.beat({ identity: 'ada' })).toMatchObject({ acknowledged: true });
    stage.at(60);
    const [outcome] = await stage.send({ type: 'heartbeat', user: 'ada', t: 60 });
    expect(outcome).toMatchObject({ status: 'DISCARDED', code: 'HEARTBEAT', eventId: null });
    expect(await stage.sessions('ada')).toMatchObject([{ start: 0, last: 60, events: 1 }]);
  });

  test('rule 18: a heartbeat of nobody is heard by no session, and not stored either', async () => {
    const stage = await createStage(db);
    const outcomes = await stage.send(
      { type: 'heartbeat' },
      { type: 'heartbeat', id: 'of-nobody' },
      { message: 'alone' },
    );
    const silent = { status: 'DISCARDED', code: 'NO_SESSION', eventId: null, sessionId: null };
    expect(outcomes).toMatchObject([silent, silent, { status: 'ACCEPTED' }]);
    const stored = await stage.database.query({
      name: 'test.stored',
      text: 'SELECT message FROM events WHERE project_id = $1',
      values: [stage.projectId],
    });
    expect(stored).toEqual([{ message: 'alone' }]);
  });

  test('rule 18: a heartbeat of an identity opens a session, but not just after a sessionend', async () => {
    const stage = await createStage(db);
    expect(await stage.beat({ identity: 'ada' })).toMatchObject({ acknowledged: true });
    stage.at(10);
    await stage.send({ type: 'sessionend', user: 'ada', t: 10 });
    stage.at(85);
    expect(await stage.beat({ identity: 'ada' })).toEqual({ acknowledged: false, sessionId: null });
    stage.at(86);
    expect(await stage.beat({ identity: 'ada' })).toMatchObject({ acknowledged: true });
    expect(await stage.sessions('ada')).toHaveLength(2);
  });

  test('rule 18: every end is remembered for stragglers, not only the newest', async () => {
    const stage = await createStage(db);
    stage.at(45);
    await stage.send({ user: 'ada', type: 'sessionend', t: 45 });
    await stage.send({ user: 'ada', type: 'sessionend', t: 0 });
    expect(codes(await stage.send({ user: 'ada', type: 'heartbeat', t: 5 }))).toEqual(['NO_SESSION']);
    expect(await stage.sessions('ada')).toEqual([]);
  });

  test('rule 18: ends of a named session silence no heartbeat of the identity', async () => {
    const stage = await createStage(db);
    const who = { user: 'ada', sessionKey: 'the-key-1' };
    await stage.send(who, { ...who, type: 'sessionend' });
    expect(await stage.beat({ identity: 'ada' })).toMatchObject({ acknowledged: true });
  });

  test('rule 18: a heartbeat that is older than the presence timeout opens nothing', async () => {
    const stage = await createStage(db);
    stage.at(1000);
    for (const who of [{ user: 'ada' }, { sessionKey: 'the-key-1' }]) {
      expect(codes(await stage.send({ ...who, type: 'heartbeat', t: 924.9 }))).toEqual(['NO_SESSION']);
      expect(await stage.sessions()).toEqual([]);
    }
    expect(codes(await stage.send({ user: 'ada', type: 'heartbeat', t: 925 }))).toEqual(['HEARTBEAT']);
    expect(await stage.sessions()).toMatchObject([{ start: 925 }]);
  });

  test('rule 18: an event opens a named session, recordHeartbeat does not', async () => {
    const stage = await createStage(db);
    expect(await stage.beat({ sessionKey: 'the-key-1' })).toEqual({ acknowledged: false, sessionId: null });
    expect(await stage.sessions()).toEqual([]);
    expect(codes(await stage.send({ type: 'heartbeat', sessionKey: 'the-key-1' }))).toEqual(['HEARTBEAT']);
    expect(await stage.sessions()).toMatchObject([{ key: 'the-key-1', events: 0 }]);
    expect(await stage.beat({ sessionKey: 'the-key-1' })).toMatchObject({ acknowledged: true });
  });

  test('rule 18: a closing heartbeat ends, and a heartbeat or event soon after goes on', async () => {
    for (const again of ['beat', 'event', 'start'] as const) {
      for (const who of [{ identity: 'ada' }, { sessionKey: 'the-key-1' }]) {
        const stage = await createStage(db, { sessionStart: 'RESUME' });
        const event = who.identity ? { user: who.identity } : who;
        await stage.send({ ...event, t: 0 });
        stage.at(30);
        expect(await stage.beat(who, true)).toMatchObject({ acknowledged: true });
        expect((await stage.sessions()).map(span)).toEqual([{ start: 0, last: 30, end: 30, reason: 'CLIENT' }]);
        stage.at(105);
        if (again === 'beat') await stage.beat(who);
        if (again === 'event') await stage.send({ ...event, t: 105 });
        if (again === 'start') await stage.send({ type: 'session', ...event, t: 105 });
        expect((await stage.sessions()).map(span)).toEqual([{ start: 0, last: 105, end: null, reason: null }]);
      }
    }
  });

  test('rule 18: later than the presence timeout, a closing heartbeat stays an end', async () => {
    const stage = await createStage(db);
    await stage.send({ user: 'ada', t: 0 });
    stage.at(30);
    await stage.beat({ identity: 'ada' }, true);
    expect(await stage.beat({ identity: 'ada' }, true)).toEqual({ acknowledged: false, sessionId: null });
    stage.at(106);
    await stage.send({ user: 'ada', t: 106 });
    expect((await stage.sessions()).map(span)).toEqual([
      { start: 0, last: 30, end: 30, reason: 'CLIENT' },
      { start: 106, last: 106, end: null, reason: null },
    ]);
  });

  test('rule 19: an end and a heartbeat may name the session or the user', async () => {
    const stage = await createStage(db);
    await stage.send({ user: 'ada', t: 0 }, { sessionKey: 'the-key-1', t: 0 });
    stage.at(10);
    await stage.send({ type: 'heartbeat', user: 'ada', t: 5 }, { type: 'heartbeat', sessionKey: 'the-key-1', t: 6 });
    await stage.send({ type: 'sessionend', user: 'ada', t: 7 }, { type: 'sessionend', sessionKey: 'the-key-1', t: 8 });
    expect((await stage.sessions()).map(({ key, end }) => ({ key, end }))).toEqual([
      { key: null, end: 7 },
      { key: 'the-key-1', end: 8 },
    ]);
  });
});

describe('closing', () => {
  test('rule 20: the closer ends inactive sessions at their last activity, each once', async () => {
    const stage = await createStage(db);
    await stage.send(...Array.from({ length: 20 }, (_, at) => ({ user: `user ${at}`, t: 0 })), {
      sessionKey: 'the-key-1',
      t: 0,
    });
    stage.at(299);
    expect(await stage.close()).toBe(0);
    stage.at(300);
    const looks = await Promise.all([
      stage.closer.runOnce(stage.now()),
      stage.closer.runOnce(stage.now()),
      stage.closer.runOnce(stage.now()),
    ]);
    expect(looks.reduce((sum, { closed }) => sum + closed, 0) + (await stage.close())).toBe(21);
    for (const session of await stage.sessions())
      expect(span(session)).toEqual({ start: 0, last: 0, end: 0, reason: 'INACTIVITY' });
    expect(stage.edges().filter(({ presence }) => presence.status === 'OFFLINE')).toHaveLength(20);
  });

  test('rule 20: closers at once share what is more than a batch, and close each session once', async () => {
    const stage = await createStage(db);
    const users = Array.from({ length: 2_500 }, (_, at) => ({ user: `user ${at}`, t: 0 }));
    for (let first = 0; first < users.length; first += 1_000) await stage.send(...users.slice(first, first + 1_000));
    stage.at(300);
    const looks = await Promise.all([stage.closer.runOnce(stage.now()), stage.closer.runOnce(stage.now())]);
    expect(looks.reduce((sum, { closed }) => sum + closed, 0) + (await stage.close())).toBe(users.length);
    const ended = stage.edges().filter(({ presence }) => presence.status === 'OFFLINE');
    expect(new Set(ended.map(({ userId }) => userId)).size).toBe(users.length);
    expect(ended).toHaveLength(users.length);
  });

  test('rule 21: a session that sent heartbeats is offline without them, and open', async () => {
    const stage = await createStage(db);
    await stage.beat({ identity: 'ada' });
    stage.at(74);
    await stage.close();
    expect(stage.edges().map(({ presence }) => presence.status)).toEqual(['ONLINE']);
    stage.at(75);
    await stage.close();
    expect(stage.edges().map(({ presence }) => presence.status)).toEqual(['ONLINE', 'OFFLINE']);
    expect(await stage.sessions('ada')).toMatchObject([{ end: null }]);
    stage.at(100);
    await stage.beat({ identity: 'ada' });
    expect(stage.edges().map(({ presence }) => presence.status)).toEqual(['ONLINE', 'OFFLINE', 'ONLINE']);
  });

  test('rule 21: the first heartbeat of a session that began with an event shortens its time', async () => {
    const stage = await createStage(db);
    await stage.send({ user: 'ada', t: 0 });
    stage.at(10);
    await stage.beat({ identity: 'ada' });
    stage.at(84.9);
    await stage.close();
    expect(stage.edges()).toHaveLength(1);
    stage.at(85);
    await stage.close();
    expect(stage.edges().map(({ presence }) => presence.status)).toEqual(['ONLINE', 'OFFLINE']);
  });

  test('rule 21: a session that never sent one counts as online while it is open', async () => {
    const stage = await createStage(db);
    await stage.send({ user: 'ada', t: 0 });
    stage.at(299);
    await stage.close();
    expect(stage.edges()).toHaveLength(1);
    stage.at(300);
    await stage.close();
    expect(stage.edges().map(({ presence }) => presence.status)).toEqual(['ONLINE', 'OFFLINE']);
  });

  test('rule 21: a page load is no departure; a sessionend is one at once', async () => {
    const stage = await createStage(db);
    await stage.beat({ identity: 'ada' });
    stage.at(10);
    await stage.beat({ identity: 'ada' }, true);
    stage.at(14.9);
    await stage.close();
    expect(stage.edges()).toHaveLength(1);
    await stage.beat({ identity: 'ada' });
    stage.at(20);
    await stage.close();
    expect(stage.edges()).toHaveLength(1);
    await stage.beat({ identity: 'ada' }, true);
    stage.at(25);
    await stage.close();
    expect(stage.edges().map(({ presence }) => presence.status)).toEqual(['ONLINE', 'OFFLINE']);

    const other = await createStage(db);
    await other.send({ user: 'bob', t: 0 }, { type: 'sessionend', user: 'bob', t: 0 });
    expect(other.edges()).toHaveLength(0);
    await other.send({ user: 'cyd', t: 0 });
    await other.send({ type: 'sessionend', user: 'cyd', t: 0 });
    expect(other.edges().map(({ presence }) => presence.status)).toEqual(['ONLINE', 'OFFLINE']);
  });
});

describe('tabs', () => {
  test('rule 29: where one of two tabs closes, the user stays online until the other is heard', async () => {
    for (const target of [{ identity: 'ada' }, { sessionKey: 'the-key-1' }]) {
      const stage = await createStage(db);
      await stage.send({ user: 'ada', ...('sessionKey' in target ? target : {}) });
      for (const t of [0, 14, 30, 44]) {
        stage.at(t);
        await stage.beat(target);
      }
      stage.at(50);
      await stage.beat(target, true);
      for (const t of [55, 60, 73.9]) {
        stage.at(t);
        await stage.close();
      }
      stage.at(74);
      await stage.beat(target);
      await stage.close();
      expect(stage.edges().map(({ presence }) => presence.status)).toEqual(['ONLINE']);
      // Now the other one is alone: its own end takes 5 seconds.
      stage.at(104);
      await stage.beat(target);
      stage.at(110);
      await stage.beat(target, true);
      stage.at(115);
      await stage.close();
      expect(stage.edges().map(({ presence }) => presence.status)).toEqual(['ONLINE', 'OFFLINE']);
    }
  });

  test('rule 29: a second tab that is gone without a word keeps its user no longer than 35 seconds', async () => {
    const stage = await createStage(db);
    for (const t of [0, 14, 30, 44]) {
      stage.at(t);
      await stage.beat({ identity: 'ada' });
    }
    stage.at(50);
    await stage.beat({ identity: 'ada' }, true);
    stage.at(78.9);
    await stage.close();
    expect(stage.edges()).toHaveLength(1);
    stage.at(79);
    await stage.close();
    expect(stage.edges().map(({ presence }) => presence.status)).toEqual(['ONLINE', 'OFFLINE']);
  });
});

describe('what a session carries', () => {
  test('rule 22: what stays the same comes from the first events that have it', async () => {
    const stage = await createStage(db);
    const chrome =
      'Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36';
    await stage.send(
      { user: 'ada', t: 0 },
      {
        user: 'ada',
        t: 0,
        version: '1.0',
        data: { '@request': { user_agent: chrome, client_ip_address: '192.0.2.1' } },
      },
      {
        user: 'ada',
        t: 0,
        version: '2.0',
        data: { '@request': { user_agent: 'other' }, '@environment': { cores: 2 }, own: 1 },
      },
    );
    const [row] = await stage.database.query({
      name: 'test',
      text: 'SELECT * FROM sessions WHERE project_id = $1',
      values: [stage.projectId],
    });
    expect(row).toMatchObject({
      version: '1.0',
      browser_name: 'Chrome',
      os_name: 'Windows',
      device: 'desktop',
      ip_address: '192.0.2.1',
    });
    expect(row).toMatchObject({ data: { '@request': { user_agent: chrome }, '@environment': { cores: 2 } } });
  });

  test('rule 22: 64 KiB of data and 200 types are kept of a session; what is beyond is counted and left out', async () => {
    const stage = await createStage(db);
    const part = (at: number) => ({ [`@part ${at}`]: 'x'.repeat(10_000) });
    await stage.send({ user: 'ada', type: 'session', data: { ...part(0), ...part(1) } });
    // RESUME: the repeated starts bring more and more.
    for (let at = 2; at < 12; at += 2) {
      await stage.send({ user: 'ada', type: 'session', startPolicy: 'RESUME', data: { ...part(at), ...part(at + 1) } });
    }
    await stage.send({ user: 'ada', type: 'session', startPolicy: 'RESUME', data: { last: 1 } });
    await stage.send(...Array.from({ length: 300 }, (_, at) => ({ user: 'ada', type: `type ${at}` })));
    const [row] = await stage.database.query<{ data: object; types: number; count: number }>({
      name: 'test',
      text: 'SELECT data, cardinality(event_types) AS types, event_count AS count FROM sessions WHERE project_id = $1',
      values: [stage.projectId],
    });
    expect(row).toMatchObject({ types: 200, count: 301 });
    expect(Object.keys(row!.data).toSorted()).toEqual([...Array.from({ length: 6 }, (_, at) => `@part ${at}`), 'last']);
    expect(Buffer.byteLength(JSON.stringify(row!.data))).toBeLessThanOrEqual(65_536);
  });

  test('rule 22: no address is kept where the project stores none', async () => {
    const stage = await createStage(db, { storeIpAddress: false });
    await stage.send({
      user: 'ada',
      data: { '@request': { client_ip_address: '192.0.2.1' }, '@environment': { ip_address: '192.0.2.1' } },
    });
    const rows = await stage.database.query({
      name: 'test',
      text: 'SELECT s::text AS row FROM sessions s WHERE project_id = $1 UNION ALL SELECT e::text FROM events e WHERE project_id = $1',
      values: [stage.projectId],
    });
    expect(rows).toHaveLength(2);
    expect(JSON.stringify(rows)).not.toContain('192.0.2.1');
  });

  test('rule 23: counts are of stored events and of errors', async () => {
    const stage = await createStage(db);
    await stage.send(
      { user: 'ada' },
      { type: 'error', user: 'ada' },
      { type: 'heartbeat', user: 'ada' },
      { type: 'error', user: 'ada' },
    );
    expect(await stage.sessions('ada')).toMatchObject([{ events: 3, errors: 2 }]);
  });

  test('rule 24: the name is the latest one sent', async () => {
    const stage = await createStage(db);
    const name = async () => {
      const [row] = await stage.database.query<{ name: string }>({
        name: 'test',
        text: 'SELECT name FROM users WHERE project_id = $1',
        values: [stage.projectId],
      });
      return row!.name;
    };
    stage.at(200);
    await stage.send({ user: 'ada', name: 'Ada L.', t: 100 }, { user: 'ada', name: 'Ada', t: 0 });
    expect(await name()).toBe('Ada L.');
    await stage.send({ user: 'ada', name: 'Ada Lovelace', t: 200 }, { user: 'ada', t: 200 });
    await stage.send({ user: 'ada', name: 'late', t: 50 });
    expect(await name()).toBe('Ada Lovelace');
  });
});

describe('repeats and order', () => {
  test('rule 25: the same id again is a duplicate that names the same event and session', async () => {
    const stage = await createStage(db);
    const [first, within] = await stage.send({ id: 'a', user: 'ada', t: 0 }, { id: 'a', user: 'ada', t: 0 });
    expect(within).toEqual({ ...first, status: 'DUPLICATE' });
    stage.at(3 * 86_400);
    const [again] = await stage.send({ id: 'a', user: 'ada', type: 'error' });
    expect(again).toEqual({ ...first, status: 'DUPLICATE' });
    expect(await stage.sessions()).toMatchObject([{ events: 1, errors: 0 }]);
    const elsewhere = await createStage(db);
    expect(codes(await elsewhere.send({ id: 'a', user: 'ada' }))).toEqual(['ACCEPTED']);
  });

  test('rule 25: a repeat is answered with the session that its event is in, also where a late start moves it at that moment', async () => {
    const stage = await createStage(db, { inactivityTimeout: 20 });
    stage.at(20);
    const [, first] = await stage.send({ user: 'ada', t: 0 }, { user: 'ada', t: 20, id: 'one' });
    const [repeat, start] = await stage.send(
      { user: 'ada', t: 20, id: 'one' },
      { user: 'ada', type: 'session', t: 10 },
    );
    expect(start!.sessionId).not.toBe(first!.sessionId);
    expect(repeat).toMatchObject({ status: 'DUPLICATE', eventId: first!.eventId, sessionId: start!.sessionId });
    const [again] = await stage.send({ user: 'ada', t: 20, id: 'one' });
    expect(again).toMatchObject({ status: 'DUPLICATE', eventId: first!.eventId, sessionId: start!.sessionId });
  });

  test('rule 25: ids are told apart by user, else key, else project', async () => {
    const stage = await createStage(db);
    const events = [
      { id: 'a', user: 'ada' },
      { id: 'a', user: 'bob' },
      { id: 'a', sessionKey: 'the-key-1' },
      { id: 'a', sessionKey: 'the-key-2' },
      { id: 'a' },
    ];
    expect(codes(await stage.send(...events))).toEqual(Array(5).fill('ACCEPTED'));
    expect(codes(await stage.send(...events))).toEqual(Array(5).fill('DUPLICATE'));
    // With a user, the key plays no part: a retry may name the session, or not.
    expect(codes(await stage.send({ id: 'a', user: 'ada', sessionKey: 'the-key-1' }))).toEqual(['DUPLICATE']);
  });

  test("rule 25: a token that is narrowed to a user takes nobody else's id", async () => {
    const stage = await createStage(db, {}, { identities: ['mallory'] });
    expect(codes(await stage.send({ id: 'order-1', user: 'mallory' }))).toEqual(['ACCEPTED']);
    const all = { ...stage.caller, reach: { ...stage.caller.reach, userIds: null } };
    const [outcome] = await stage.ingest.ingestEvents(
      all,
      [toIncoming({ id: 'order-1', user: 'ada' }, stage.time)],
      SENDER,
    );
    expect(outcome!.status).toBe('ACCEPTED');
  });

  test('rule 25: ids by the key alone are told apart by key, for a narrowed token too', async () => {
    const stage = await createStage(db, {}, { identities: ['ada'] });
    const keys = ['the-key-1', 'the-key-2'];
    await stage.send(...keys.map((sessionKey) => ({ sessionKey, user: 'ada' })));
    const events = keys.map((sessionKey) => ({ id: 'a', sessionKey }));
    expect(codes(await stage.send(...events))).toEqual(['ACCEPTED', 'ACCEPTED']);
    expect(codes(await stage.send(...events))).toEqual(['DUPLICATE', 'DUPLICATE']);
  });

  test('rule 25: a repeat whose time is too old by now is a repeat; what never came is too old', async () => {
    const stage = await createStage(db);
    const [first] = await stage.send({ id: 'a', user: 'ada', t: -2 * 86_400 });
    stage.at(2 * 86_400);
    const outcomes = await stage.send(
      { id: 'a', user: 'ada', t: -2 * 86_400 },
      { id: 'b', user: 'ada', t: -2 * 86_400 },
      { id: 'b', user: 'ada', t: 2 * 86_400 },
      { id: 'b', user: 'ada', t: -2 * 86_400 },
    );
    expect(codes(outcomes)).toEqual(['DUPLICATE', 'TOO_OLD', 'ACCEPTED', 'DUPLICATE']);
    expect(outcomes[0]).toMatchObject({ eventId: first!.eventId, sessionId: first!.sessionId });
    expect(outcomes[3]!.eventId).toBe(outcomes[2]!.eventId);
  });

  test('rule 25: ids arriving at midnight on two servers at once are stored once', async () => {
    const stage = await createStage(db);
    const midnight = 12 * 3600;
    const servers = [-1, 1].map((offset) =>
      createIngest({
        database: db.open(),
        bus: stage.bus,
        clock: { now: () => stage.time(midnight + offset) },
        observe: () => {},
      }),
    );
    const id = randomUUID();
    const answers = await Promise.all(
      servers.map((server) => server.ingestEvents(stage.caller, [{ id, occurredAt: stage.time(0) }], SENDER)),
    );
    expect(answers.map(([outcome]) => outcome!.status).sort()).toEqual(['ACCEPTED', 'DUPLICATE']);
  });

  test('rule 26: one bad event never harms its neighbours', async () => {
    const stage = await createStage(db);
    const outcomes = await stage.send(
      { user: 'ada', t: 0 },
      { user: '  ', t: 0 },
      { user: 'undefined' },
      { user: ' null ' },
      { user: 'NaN' },
      { user: '[object Object]' },
      { user: 'ada', type: '', t: 0 },
      { user: 'ada', type: 'x'.repeat(101) },
      { user: 'ada', message: 'm'.repeat(10_001) },
      { user: 'ada', sessionKey: 'short' },
      { user: 'ada', t: Number.NaN },
      { user: 'ada', tags: [''] },
      { user: 'ada', id: 'x'.repeat(101) },
      { user: 'ada', data: { big: 'x'.repeat(300_000) } },
      { user: 'ada', name: 'n'.repeat(256) },
      { user: 'ada', t: 0, message: 'half \ud800 and nul \0', data: { text: '\ud800\0' } },
    );
    expect(codes(outcomes)).toEqual([
      'ACCEPTED',
      'INVALID_IDENTITY',
      'INVALID_IDENTITY',
      'INVALID_IDENTITY',
      'INVALID_IDENTITY',
      'INVALID_IDENTITY',
      'INVALID_TYPE',
      'INVALID_TYPE',
      'TOO_LARGE',
      'INVALID_SESSION_KEY',
      'INVALID_DATE',
      'INVALID_TAGS',
      'INVALID_ID',
      'TOO_LARGE',
      'TOO_LARGE',
      'ACCEPTED',
    ]);
    expect(outcomes.at(-2)!.message).toBe('user.name has 256 characters; at most 255 are allowed.');
    expect(await stage.sessions('ada')).toMatchObject([{ events: 2 }]);
  });

  test('rule 26: an event that only the database refuses is rejected alone', async () => {
    const stage = await createStage(db);
    await stage.database.query({
      name: 'test',
      text: `ALTER TABLE events ADD CONSTRAINT no_poison CHECK (message IS DISTINCT FROM 'poison')`,
    });
    try {
      const events = Array.from({ length: 20 }, (_, at) => ({
        user: 'ada',
        t: 0,
        message: at === 13 ? 'poison' : 'fine',
      }));
      const [first, second] = await Promise.all([stage.send(...events), stage.send({ user: 'bob', t: 0 })]);
      expect(
        codes(first)
          .map((code, at) => (code === 'UNSTORABLE' ? at : -1))
          .filter((at) => at >= 0),
      ).toEqual([13]);
      expect(codes(second)).toEqual(['ACCEPTED']);
      expect(await stage.sessions('ada')).toMatchObject([{ events: 19 }]);
    } finally {
      await stage.database.query({ name: 'test', text: 'ALTER TABLE events DROP CONSTRAINT no_poison' });
    }
  });

  test('rule 27: a late event that fills the gap makes two sessions one; the earlier keeps its id', async () => {
    const stage = await createStage(db);
    const [first] = await stage.send({ user: 'ada', t: 0 });
    stage.at(500);
    const [second] = await stage.send({ id: 'second', user: 'ada', t: 500, type: 'error' });
    expect(await stage.sessions('ada')).toHaveLength(2);
    const [late] = await stage.send({ user: 'ada', t: 250 });
    expect(late!.sessionId).toBe(first!.sessionId);
    expect(await stage.sessions('ada')).toMatchObject([
      { id: first!.sessionId, start: 0, last: 500, end: null, events: 3, errors: 1 },
    ]);
    const [repeat] = await stage.send({ id: 'second', user: 'ada', t: 500, type: 'error' });
    expect(repeat).toMatchObject({ status: 'DUPLICATE', eventId: second!.eventId, sessionId: first!.sessionId });
    expect(stage.edges()).toHaveLength(1);
  });
});

describe('presence', () => {
  test('rule 28: a user is online while any session counts as online', async () => {
    const stage = await createStage(db);
    await stage.beat({ identity: 'ada' });
    await stage.send({ user: 'ada', sessionKey: 'phone-001', t: 0 });
    stage.at(80);
    await stage.close();
    const told = () => stage.edges().map(({ presence: { status, onlineSessions } }) => `${status} ${onlineSessions}`);
    expect(told()).toEqual(['ONLINE 1', 'ONLINE 2', 'ONLINE 1']);
    await stage.send({ type: 'sessionend', sessionKey: 'phone-001', t: 80 });
    expect(told().slice(3)).toEqual(['OFFLINE 0']);
  });

  test('rule 29: each change is published once, after its commit, and links to the one before', async () => {
    const stage = await createStage(db);
    await stage.send({ user: 'ada', t: 0 });
    await stage.send({ user: 'ada', t: 0 }, { user: 'ada', sessionKey: 'phone-001', t: 0 });
    await stage.send({ type: 'sessionend', user: 'ada', t: 0 });
    expect(stage.edges()).toHaveLength(3);
    stage.at(5);
    await stage.send({ type: 'sessionend', sessionKey: 'phone-001', t: 5 });
    stage.at(100);
    await stage.send({ user: 'ada', t: 100 });
    const edges = stage.edges();
    expect(edges.map(({ presence }) => presence.onlineSessions)).toEqual([1, 2, 1, 0, 1]);
    expect(edges.map(({ previous }) => previous)).toEqual([null, ...edges.slice(0, 4).map(({ version }) => version)]);
    expect(edges.map(({ presence }) => presence.since)).toEqual([0, 0, 0, 5, 100].map(stage.time));
  });
});
