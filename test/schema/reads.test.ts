import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { userIdOf } from '../../src/domain/identity.js';
import { createTestDatabase, type TestDatabase } from '../support/database.js';
import { createExecutor } from '../support/execute.js';
import { createStage, type Stage } from '../support/stage.js';

let db: TestDatabase;
let stage: Stage;
let data: Awaited<ReturnType<typeof createExecutor>>['data'];
let run: Awaited<ReturnType<typeof createExecutor>>['run'];
let code: Awaited<ReturnType<typeof createExecutor>>['code'];

const CHROME =
  'Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36';
const request = { '@request': { user_agent: CHROME }, plan: 'pro' };

/** Thirty users: user n comes at minute n, with n events a second apart; every fifth has an error, the first ten have left. */
beforeAll(async () => {
  db = await createTestDatabase();
  stage = await createStage(db, { inactivityTimeout: 86_400 });
  stage.at(3600);
  for (let user = 1; user <= 30; user += 1) {
    const identity = `user${String(user).padStart(2, '0')}@example.com`;
    const events = Array.from({ length: user }, (_, at) => ({
      type: at === 1 && user % 5 === 0 ? 'error' : at === 0 ? 'session' : 'page view',
      source: `/page/${at}`,
      message: `100%_sure ${at}`,
      user: identity,
      name: `User ${user}`,
      t: user * 60 + at,
      version: user % 2 ? '1.0' : '2.0',
      tags: [`tag${at % 3}`],
      ...(at > 0 ? { referenceId: `reference-${user}-${at}` } : {}),
      data: at === 0 ? request : { step: at },
    }));
    await stage.send(...events);
    if (user <= 10) await stage.send({ type: 'sessionend', user: identity, t: user * 60 + user });
  }
  await stage.send({ type: 'log', source: 'nobody', t: 10 });
  await stage.database.query({
    name: 'test.data',
    text: `UPDATE users SET data = '{"plan":{"name":"pro","since":2020}}' WHERE project_id = $1 AND name IN ('User 3', 'User 14')`,
    values: [stage.projectId],
  });
  ({ data, run, code } = await createExecutor(stage));
});
afterAll(() => db.drop());

const identities = (connection: { nodes: { user: { identity: string } }[] }): number[] =>
  connection.nodes.map(({ user }) => Number(/\d+/.exec(user.identity)![0]));

const SESSIONS = `query ($filter: SessionFilter, $orderBy: SessionOrder, $first: Int, $after: String, $last: Int, $before: String) {
  sessions(filter: $filter, orderBy: $orderBy, first: $first, after: $after, last: $last, before: $before) {
    totalCount nodes { id user { identity name } } edges { cursor } pageInfo { hasNextPage hasPreviousPage startCursor endCursor }
  }
}`;

describe('lists of sessions', () => {
  test('every order, forwards and backwards in pages, gives the whole list', async () => {
    for (const field of ['STARTED_AT', 'LAST_ACTIVITY_AT', 'DURATION', 'EVENT_COUNT']) {
      for (const direction of ['ASC', 'DESC']) {
        const orderBy = { field, direction };
        const all = identities((await data(SESSIONS, { orderBy, first: 100 })).sessions);
        const upwards = direction === 'ASC' ? all : all.toReversed();
        // Ended sessions have one event more: 10 has as many as 11, and lasted a second longer.
        expect(upwards.toSorted((a, b) => a - b)).toEqual(Array.from({ length: 30 }, (_, at) => at + 1));
        if (field === 'STARTED_AT' || field === 'LAST_ACTIVITY_AT')
          expect(upwards).toEqual(upwards.toSorted((a, b) => a - b));

        const forwards: number[] = [];
        for (let after: string | null = null, more = true; more;) {
          const page: any = (await data(SESSIONS, { orderBy, first: 7, after })).sessions;
          forwards.push(...identities(page));
          expect(page.pageInfo.hasPreviousPage).toBe(after !== null);
          ({ endCursor: after, hasNextPage: more } = page.pageInfo);
        }
        expect(forwards).toEqual(all);

        const backwards: number[] = [];
        for (let before: string | null = null, more = true; more;) {
          const page: any = (await data(SESSIONS, { orderBy, last: 7, before })).sessions;
          backwards.unshift(...identities(page));
          expect(page.pageInfo.hasNextPage).toBe(before !== null);
          ({ startCursor: before, hasPreviousPage: more } = page.pageInfo);
        }
        expect(backwards).toEqual(all);
      }
    }
  });

  const cases: [string, Record<string, unknown>, number][] = [
    ['identities', { identities: ['user03@example.com', 'user04@example.com', 'nobody'] }, 2],
    ['search in the identity', { search: 'USER1' }, 10],
    ['search in the name', { search: 'user 7' }, 1],
    ['search takes % and _ as they are', { search: '%' }, 0],
    ['status ACTIVE', { status: 'ACTIVE' }, 20],
    ['status ENDED', { status: 'ENDED' }, 10],
    ['endReasons', { endReasons: ['CLIENT', 'SUPERSEDED'] }, 10],
    ['endReasons none', { endReasons: ['INACTIVITY'] }, 0],
    ['startedAt', { startedAt: { from: 300, to: 600 } }, 5],
    ['activeDuring', { activeDuring: { from: 0, to: 303 } }, 5],
    ['activeDuring later', { activeDuring: { from: 1000 } }, 20],
    ['duration', { duration: { min: 20, max: 24.5 } }, 5],
    ['hasErrors', { hasErrors: true }, 6],
    ['no errors', { hasErrors: false }, 24],
    ['eventTypes', { eventTypes: ['error', 'nothing'] }, 6],
    ['versions', { versions: ['1.0'] }, 15],
    ['browsers', { browsers: ['Chrome'] }, 30],
    ['browsers none', { browsers: ['Firefox'] }, 0],
    ['operatingSystems', { operatingSystems: ['Windows'] }, 30],
    ['dataContains', { dataContains: { plan: 'pro' } }, 30],
    ['dataContains none', { dataContains: { plan: 'free' } }, 0],
    ['cities', { cities: ['Berlin'] }, 0],
    ['entrySources', { entrySources: ['/page/0'] }, 30],
    ['entrySources none', { entrySources: ['/page/1'] }, 0],
    ['exitSources', { exitSources: ['/page/2', '/page/9'] }, 2],
    ['exitSources none', { exitSources: ['/page/30'] }, 0],
    ['regions', { regions: ['Berlin'] }, 0],
    ['userDataContains', { userDataContains: { plan: { name: 'pro' } } }, 2],
    ['userDataContains none', { userDataContains: { plan: 'pro' } }, 0],
    ['several', { hasErrors: true, status: 'ACTIVE', versions: ['2.0'] }, 2],
    ['an empty list matches nothing', { identities: [] }, 0],
  ];
  test.each(cases)('filter: %s', async (_name, filter, count) => {
    const instants = JSON.parse(JSON.stringify(filter), (key, value: unknown) =>
      (key === 'from' || key === 'to') && typeof value === 'number' ? stage.time(value).toISOString() : value,
    ) as Record<string, unknown>;
    for (const field of ['STARTED_AT', 'DURATION']) {
      const { sessions } = await data(SESSIONS, { filter: instants, orderBy: { field }, first: 100 });
      expect([sessions.nodes.length, sessions.totalCount]).toEqual([count, count]);
    }
  });

  test('totalCount costs nothing unless asked', async () => {
    stage.observations.length = 0;
    await data('{ sessions { nodes { id } } events { nodes { id } } presence { nodes { identity } } }');
    const names = stage.observations.filter((observation) => observation.kind === 'statement').map(({ name }) => name);
    expect(names.toSorted()).toEqual(['events.list', 'presence.list', 'sessions.list.STARTED_AT']);
  });

  test('bad paging says which argument', async () => {
    expect(await code('{ sessions(first: 101) { nodes { id } } }')).toBe('BAD_USER_INPUT');
    expect(await code('{ sessions(first: -1) { nodes { id } } }')).toBe('BAD_USER_INPUT');
    expect(await code('{ sessions(first: 1, last: 1) { nodes { id } } }')).toBe('BAD_USER_INPUT');
    expect(await code('{ sessions(after: "x") { nodes { id } } }')).toBe('INVALID_CURSOR');
    const { sessions, events } = await data('{ sessions { edges { cursor } } events { edges { cursor } } }');
    expect(await code(`{ events(after: "${sessions.edges[0].cursor}") { nodes { id } } }`)).toBe('INVALID_CURSOR');
    expect(await code(`{ sessions(after: "${events.edges[0].cursor}") { nodes { id } } }`)).toBe('INVALID_CURSOR');
    expect(
      await code(`{ sessions(orderBy: {field: DURATION}, after: "${sessions.edges[0].cursor}") { nodes { id } } }`),
    ).toBe('INVALID_CURSOR');
    expect(await code('{ sessions(filter: { startedAt: { from: "today" } }) { nodes { id } } }')).toBe(
      'BAD_USER_INPUT',
    );
    expect(await code('{ session(id: "garbage") { id } }')).toBe('BAD_USER_INPUT');
    expect(await code('{ node(id: "garbage") { id } }')).toBe('BAD_USER_INPUT');
  });
});

describe('nested lists', () => {
  const NESTED = `query ($after: String, $filter: EventFilter) {
    sessions(first: 50) { nodes { id eventCount user { identity presence { status } } events(first: 20, after: $after, filter: $filter) {
      totalCount nodes { id type source occurredAt } edges { cursor } pageInfo { hasNextPage endCursor } } } }
  }`;

  test('fifty sessions with twenty events each take a fixed, small number of statements', async () => {
    const count = async (first: number): Promise<string[]> => {
      stage.observations.length = 0;
      await data(
        `{ sessions(first: ${first}) { nodes { id user { identity presence { status } } events(first: 20) { nodes { id session { id } } } } } }`,
      );
      return stage.observations
        .filter((observation) => observation.kind === 'statement')
        .map(({ name }) => name)
        .toSorted();
    };
    const small = await count(1);
    expect(await count(50)).toEqual(small);
    expect(small).toEqual(['events.listOfSessions', 'presence.of', 'sessions.byIds', 'sessions.list.STARTED_AT']);
  });

  test('each session has its own page, oldest first, and `after` goes on below several parents', async () => {
    const { sessions } = await data(NESTED);
    for (const session of sessions.nodes) {
      expect(session.events.totalCount).toBe(session.eventCount);
      expect(session.events.nodes).toHaveLength(Math.min(20, session.eventCount));
      expect(session.events.pageInfo.hasNextPage).toBe(session.eventCount > 20);
      const times = session.events.nodes.map((event: { occurredAt: string }) => event.occurredAt);
      expect(times).toEqual(times.toSorted());
    }
    const [newest] = sessions.nodes;
    const after = newest.events.pageInfo.endCursor;
    stage.observations.length = 0;
    const next = await data(NESTED, { after });
    const events = stage.observations.filter(
      (observation) => observation.kind === 'statement' && observation.name === 'events.listOfSessions',
    );
    // At most one page and one row for each of the parents, whatever they hold.
    expect(events).toHaveLength(1);
    expect((events[0] as { rows: number }).rows).toBeLessThanOrEqual(30 * 21);
    const sources = next.sessions.nodes[0].events.nodes.map((event: { source: string }) => event.source);
    expect(sources).toEqual(Array.from({ length: 10 }, (_, at) => `/page/${at + 20}`));
    // All the other sessions began and were over before that place.
    expect(next.sessions.nodes.slice(1).flatMap((session: any) => session.events.nodes)).toEqual([]);
  });

  test('backwards and filtered below several parents', async () => {
    const { sessions } = await data(
      '{ sessions { nodes { eventCount events(last: 1) { nodes { source } pageInfo { hasPreviousPage } } } } }',
    );
    expect(sessions.nodes[0].events).toEqual({ nodes: [{ source: '/page/29' }], pageInfo: { hasPreviousPage: true } });
    const errors = await data(NESTED, { filter: { types: ['error'] } });
    const counts = errors.sessions.nodes.map((session: any) => session.events.totalCount);
    expect(counts.reduce((sum: number, one: number) => sum + one, 0)).toBe(6);
  });

  test("a user's sessions, and events with their user and session", async () => {
    const { user, none } = await data(`{
      user(identity: "user12@example.com") { identity name presence { status onlineSessions } sessions { totalCount nodes { eventCount } } }
      none: user(identity: "nobody") { identity } }`);
    expect(user).toMatchObject({
      name: 'User 12',
      presence: { status: 'ONLINE', onlineSessions: 1 },
      sessions: { totalCount: 1, nodes: [{ eventCount: 12 }] },
    });
    expect(none).toBeNull();
    const { events } = await data('{ events(first: 3) { nodes { user { identity } session { user { identity } } } } }');
    expect(events.nodes[0]).toEqual({
      user: { identity: 'user30@example.com' },
      session: { user: { identity: 'user30@example.com' } },
    });
  });
});

describe('lists of events', () => {
  const EVENTS = 'query ($filter: EventFilter) { events(filter: $filter, first: 100) { totalCount nodes { id } } }';
  const total = (30 * 31) / 2 + 10 + 1;
  const cases: [string, Record<string, unknown>, number][] = [
    ['all', {}, total],
    ['types', { types: ['error'] }, 6],
    ['identities', { identities: ['user07@example.com'] }, 8],
    ['sources', { sources: ['/page/29', 'nobody'] }, 2],
    ['tags', { tags: ['tag2'] }, 145],
    ['search', { search: '100%_SURE 29' }, 1],
    ['search in the source', { search: 'NOBOD' }, 1],
    ['referenceId', { referenceId: 'reference-3-1' }, 1],
    ['hasSession', { hasSession: false }, 1],
    ['dataContains', { dataContains: { step: 29 } }, 1],
    ['occurredAt', { occurredAt: { from: 60, to: 121 } }, 3],
  ];
  test.each(cases)('filter: %s', async (_name, filter, count) => {
    const instants = JSON.parse(JSON.stringify(filter), (key, value: unknown) =>
      (key === 'from' || key === 'to') && typeof value === 'number' ? stage.time(value).toISOString() : value,
    ) as Record<string, unknown>;
    const { events } = await data(EVENTS, { filter: instants });
    expect([events.nodes.length, events.totalCount]).toEqual([Math.min(100, count), count]);
  });

  test('by session, newest first, to the last page', async () => {
    const { sessions } = await data('{ sessions(first: 1) { nodes { id } } }');
    const ids: string[] = [];
    for (let after: string | null = null, more = true; more;) {
      const page: any = await data(
        'query ($ids: [ID!], $after: String) { events(filter: { sessionIds: $ids }, first: 8, after: $after) { nodes { source } pageInfo { hasNextPage endCursor } } }',
        { ids: [sessions.nodes[0].id], after },
      );
      ids.push(...page.events.nodes.map((event: { source: string }) => event.source));
      ({ endCursor: after, hasNextPage: more } = page.events.pageInfo);
    }
    expect(ids).toEqual(Array.from({ length: 30 }, (_, at) => `/page/${29 - at}`));
  });

  test('event and node answer by id', async () => {
    const { events, sessions, project } = await data(
      '{ events(first: 1) { nodes { id } } sessions(first: 1) { nodes { id } } project { id } }',
    );
    const [event] = events.nodes;
    const [session] = sessions.nodes;
    const found = await data(
      `query ($e: ID!, $s: ID!, $p: ID!) { event(id: $e) { id } session(id: $s) { id } a: node(id: $e) { __typename id } b: node(id: $s) { __typename id } c: node(id: $p) { __typename } }`,
      { e: event.id, s: session.id, p: project.id },
    );
    expect(found).toEqual({
      event,
      session,
      a: { __typename: 'Event', ...event },
      b: { __typename: 'Session', ...session },
      c: { __typename: 'Project' },
    });
  });
});

describe('statistics', () => {
  test('totals, and every interval, the empty ones too', async () => {
    const { sessionStats } = await data(
      `query ($filter: SessionFilter) { sessionStats(filter: $filter, interval: MINUTE) {
        totals { sessions users averageDuration medianDuration p95Duration sessionsWithErrors } series { at sessions users averageDuration } } }`,
      { filter: { startedAt: { from: stage.time(0).toISOString(), to: stage.time(2400).toISOString() } } },
    );
    const durations = Array.from({ length: 30 }, (_, at) => (at < 10 ? at + 1 : at));
    expect(sessionStats.totals).toMatchObject({ sessions: 30, users: 30, sessionsWithErrors: 6, medianDuration: 14.5 });
    expect(sessionStats.totals.averageDuration).toBeCloseTo(durations.reduce((a, b) => a + b) / 30, 6);
    expect(sessionStats.series).toHaveLength(40);
    expect(sessionStats.series[0]).toEqual({
      at: stage.time(0).toISOString(),
      sessions: 0,
      users: 0,
      averageDuration: null,
    });
    expect(sessionStats.series[12]).toEqual({
      at: stage.time(720).toISOString(),
      sessions: 1,
      users: 1,
      averageDuration: 11,
    });
    expect(sessionStats.series[39]).toMatchObject({ sessions: 0 });
  });

  test('weeks begin on Monday, months on the first; without a range it runs from the earliest to now', async () => {
    const of = async (interval: string) =>
      (await data(`{ sessionStats(interval: ${interval}) { series { at sessions } } }`)).sessionStats.series;
    expect(await of('WEEK')).toEqual([{ at: '2026-10-05T00:00:00.000Z', sessions: 30 }]);
    expect(await of('MONTH')).toEqual([{ at: '2026-10-01T00:00:00.000Z', sessions: 30 }]);
    expect(await of('DAY')).toEqual([{ at: '2026-10-05T00:00:00.000Z', sessions: 30 }]);
    expect(await of('HOUR')).toHaveLength(1 + 1 - 1);
  });

  test('no session, no range: nothing; too long a range says what would fit', async () => {
    const { sessionStats } = await data(
      '{ sessionStats(filter: { search: "zzz" }) { totals { sessions averageDuration } series { at } } }',
    );
    expect(sessionStats).toEqual({ totals: { sessions: 0, averageDuration: null }, series: [] });
    const { errors } = await run(
      '{ sessionStats(interval: MINUTE, filter: { startedAt: { from: "2026-01-01T00:00:00Z" } }) { series { at } } }',
    );
    expect(errors![0]!.message).toContain('with DAY it fits');
  });
});

describe('presence', () => {
  test('who is online, the state of those asked for, in pages', async () => {
    const { online, everybody, asked } = await data(`{
      online: presence(first: 100) { totalCount nodes { identity status onlineSessions } }
      everybody: presence(status: null, first: 100) { totalCount }
      asked: presence(identities: ["user30@example.com", "never", "user01@example.com"]) { totalCount nodes { identity status since onlineSessions } } }`);
    expect(online.totalCount).toBe(20);
    expect(online.nodes).toHaveLength(20);
    expect(everybody.totalCount).toBe(30);
    expect(asked.nodes).toMatchObject([
      { identity: 'user30@example.com', status: 'ONLINE', onlineSessions: 1 },
      { identity: 'never', status: 'OFFLINE', since: null, onlineSessions: 0 },
      { identity: 'user01@example.com', status: 'OFFLINE' },
    ]);
    const seen: string[] = [];
    for (let after: string | null = null, more = true; more;) {
      const page: any = await data(
        'query ($after: String) { presence(first: 6, after: $after) { nodes { identity } pageInfo { hasNextPage endCursor } } }',
        { after },
      );
      seen.push(...page.presence.nodes.map((node: { identity: string }) => node.identity));
      ({ endCursor: after, hasNextPage: more } = page.presence.pageInfo);
    }
    expect(new Set(seen).size).toBe(20);
  });

  test('of a moment in the future it says nothing, but a clock may be a little ahead', async () => {
    const query = 'query ($at: DateTime) { presence(at: $at) { totalCount } }';
    const at = (ahead: number) => ({ at: new Date(stage.now().getTime() + ahead * 60_000).toISOString() });
    expect(await data(query, at(4))).toEqual({ presence: { totalCount: 20 } });
    const { errors } = await run(query, at(6));
    const [error] = errors!;
    expect([error!.message, error!.originalError]).toMatchObject([
      `at is in the future: it is ${stage.now().toISOString()} now. Leave at out to ask who is online now.`,
      { code: 'BAD_USER_INPUT', details: { field: 'at' } },
    ]);
  });
});

describe('who may see what', () => {
  test('another project sees nothing of this one, by list or by id', async () => {
    const other = await createExecutor(await createStage(db));
    const { events, sessions, project } = await data(
      '{ events(first: 1) { nodes { id } } sessions(first: 1) { nodes { id } } project { id } }',
    );
    expect(
      await other.data(
        '{ sessions { totalCount } events { totalCount } presence(status: null) { totalCount } user(identity: "user30@example.com") { identity } }',
      ),
    ).toEqual({
      sessions: { totalCount: 0 },
      events: { totalCount: 0 },
      presence: { totalCount: 0 },
      user: null,
    });
    const ids = { e: events.nodes[0].id, s: sessions.nodes[0].id, p: project.id };
    expect(
      await other.data(
        'query ($e: ID!, $s: ID!, $p: ID!) { event(id: $e) { id } session(id: $s) { id } a: node(id: $e) { id } b: node(id: $s) { id } c: node(id: $p) { id } }',
        ids,
      ),
    ).toEqual({ event: null, session: null, a: null, b: null, c: null });
  });

  test('a narrowed token sees its users alone', async () => {
    const identity = 'user20@example.com';
    const caller = {
      identities: [identity],
      reach: { projectId: stage.projectId, userIds: [userIdOf(stage.projectId, identity)] },
    };
    const seen = await data(
      `{ sessions { totalCount nodes { events { totalCount } } } events { totalCount } presence(status: null) { nodes { identity } }
         mine: user(identity: "${identity}") { sessions { totalCount } } theirs: user(identity: "user21@example.com") { identity }
         asked: presence(identities: ["${identity}", "user21@example.com"]) { nodes { identity } }
         sessionStats { totals { sessions } } }`,
      {},
      caller,
    );
    expect(seen).toEqual({
      sessions: { totalCount: 1, nodes: [{ events: { totalCount: 20 } }] },
      events: { totalCount: 20 },
      presence: { nodes: [{ identity }] },
      mine: { sessions: { totalCount: 1 } },
      theirs: null,
      asked: { nodes: [{ identity }] },
      sessionStats: { totals: { sessions: 1 } },
    });
    const { sessions } = await data('{ sessions(first: 1) { nodes { id } } }');
    expect(await data('query ($id: ID!) { session(id: $id) { id } }', { id: sessions.nodes[0].id }, caller)).toEqual({
      session: null,
    });
  });

  test('too little scope is FORBIDDEN and names what it needs', async () => {
    const ingest = { scopes: new Set(['INGEST'] as const) };
    const { errors } = await run('{ sessions { totalCount } }', {}, ingest);
    expect(errors![0]!.originalError).toMatchObject({
      code: 'FORBIDDEN',
      message: expect.stringContaining('READ'),
      details: { requiredScopes: ['READ'] },
    });
    for (const [query, scope] of [
      ['{ project { apiKeys { id } } }', 'MANAGE'],
      ['{ presence { totalCount } }', 'PRESENCE or READ'],
      ['mutation { eraseUser(identity: "x") { events } }', 'MANAGE'],
    ]) {
      const failed = await run(query!, {}, ingest);
      expect(failed.errors![0]!.message).toContain(scope);
    }
    const beat = await run(
      'mutation { recordHeartbeat(input: { identity: "user30@example.com" }) { acknowledged session { id } } }',
      {},
      ingest,
    );
    expect(beat).toMatchObject({
      data: { recordHeartbeat: { acknowledged: true, session: null } },
      errors: [{ originalError: { code: 'FORBIDDEN' } }],
    });
  });
});

describe('what an operation asks of the events of sessions', () => {
  const FIELDS = [
    'id',
    'type',
    'source',
    'message',
    'occurredAt',
    'receivedAt',
    'value',
    'tags',
    'referenceId',
    'version',
    'data',
    'user { identity name }',
    'session { id }',
  ];
  const all = FIELDS.join(' ');
  const events = ({ sessions }: any) => sessions.nodes.map((session: any) => session.events);

  test('each field alone is what it is among all, and in the list of all events', async () => {
    const whole = events(await data(`{ sessions(first: 30) { nodes { events(first: 40) { nodes { ${all} } } } } }`));
    const listed = new Map<string, unknown>();
    for (let after: string | null = null, more = true; more;) {
      const page: any = (
        await data(
          `query ($after: String) { events(first: 100, after: $after) { nodes { ${all} } pageInfo { hasNextPage endCursor } } }`,
          { after },
        )
      ).events;
      for (const event of page.nodes) listed.set(event.id, event);
      ({ endCursor: after, hasNextPage: more } = page.pageInfo);
    }
    const nested = whole.flatMap(({ nodes }: any) => nodes);
    expect(nested.length).toBeGreaterThan(400);
    for (const event of nested) expect(event).toEqual(listed.get(event.id));
    for (const field of FIELDS) {
      const name = field.split(' ')[0]!;
      const only = (nodes: any[]) => nodes.map((node) => ({ [name]: node[name] }));
      const query = `{ sessions(first: 30) { nodes { events(first: 40) { nodes { ${field} } } } } }`;
      expect(events(await data(query)).map(({ nodes }: any) => nodes)).toEqual(
        whole.map(({ nodes }: any) => only(nodes)),
      );
    }
  });

  test('fragments that double are read once each', async () => {
    const doubled = Array.from({ length: 40 }, (_, at) => `fragment F${at} on Event { ...F${at + 1} ...F${at + 1} }`);
    const query = `{ sessions(first: 1) { nodes { events(first: 1) { nodes { ...F0 } edges { node { ...F0 } } } } } }
      ${doubled.join(' ')} fragment F40 on Event { source }`;
    const [{ nodes, edges }] = events(await data(query));
    expect(nodes).toEqual([{ source: '/page/0' }]);
    expect(edges).toEqual([{ node: { source: '/page/0' } }]);
  });

  test('through edges, fragments, aliases, directives and places that are joined', async () => {
    const query = `query ($no: Boolean = false) {
      sessions(first: 30) {
        nodes {
          full: events(first: 3) { nodes { ${all} } }
          events(first: 3) { edges { cursor node { type ...Said } } ... on EventConnection { nodes { id @skip(if: $no) } } }
          events(first: 3) { nodes { source ... on Event { version } ... on Node { id } __typename } }
          counted: events(first: 3) { totalCount pageInfo { hasNextPage endCursor } }
        }
      }
    }
    fragment Said on Event { message user { ...Named } }
    fragment Named on User { name }`;
    for (const { full, events: asked, counted } of (await data(query)).sessions.nodes) {
      expect(asked.edges.map(({ node }: any) => node)).toEqual(
        full.nodes.map(({ type, message, user }: any) => ({ type, message, user: { name: user.name } })),
      );
      expect(asked.nodes).toEqual(
        full.nodes.map(({ id, source, version }: any) => ({ id, source, version, __typename: 'Event' })),
      );
      expect(counted.pageInfo.endCursor).toBe(asked.edges.at(-1).cursor);
      expect(counted.pageInfo.hasNextPage).toBe(counted.totalCount > 3);
    }
  });
});

// Each on a stage of its own, which ends what lives on the one above.

test("a user's data are what was last said, in one statement for a page, within reach alone", async () => {
  const own = await createStage(db);
  const executor = await createExecutor(own);
  const SAY = 'mutation ($events: [EventInput!]!) { ingestEvents(events: $events) { accepted } }';
  const say = (identity: string, said?: object) =>
    executor.data(SAY, { events: [{ user: { identity, ...(said && { data: said }) } }] });
  await say('ada', { plan: 'free', city: 'Oslo' });
  await say('ada', { plan: 'pro' });
  await say('bob');
  expect(await executor.data('{ ada: user(identity: "ada") { data } bob: user(identity: "bob") { data } }')).toEqual({
    ada: { data: { plan: 'pro' } },
    bob: { data: {} },
  });
  const { sessions, events } = await executor.data(
    '{ sessions { nodes { user { identity data } } } events { nodes { user { data } } } }',
  );
  expect(sessions.nodes.map(({ user }: { user: object }) => user)).toEqual(
    expect.arrayContaining([
      { identity: 'ada', data: { plan: 'pro' } },
      { identity: 'bob', data: {} },
    ]),
  );
  expect(events.nodes).toHaveLength(3);
  const statements = own.observations.filter((one) => one.kind === 'statement' && one.name === 'users.data');
  // One for each list, however many are in it.
  expect(statements).toHaveLength(3);
  const narrowed = {
    reach: { projectId: own.projectId, userIds: [userIdOf(own.projectId, 'bob')] },
    identities: ['bob'],
  };
  expect(await executor.data('{ user(identity: "ada") { data } }', {}, narrowed)).toEqual({ user: null });
});

describe('searches ignore case in every script, in a database that knows only ASCII’s', () => {
  const TEXTS = ['Ångström', 'ÜBER', 'Иван', 'ΣΊΣΥΦΟΣ', 'Ərəb', 'Գիրք', 'DŽURO', '100%_Sure', 'back\\Slash', 'O’Neil'];
  let own: Stage;
  let ask: typeof data;
  beforeAll(async () => {
    const [locale] = await stage.database.query<{ datcollate: string }>({
      name: 'test',
      text: 'SELECT datcollate FROM pg_database WHERE datname = current_database()',
    });
    if (!process.env['DATABASE_URL']) expect(locale!.datcollate).toBe('C');
    own = await createStage(db);
    ({ data: ask } = await createExecutor(own));
    for (const [at, text] of TEXTS.entries()) {
      await own.send({ user: `user${at}`, name: `Dr. ${text} Jr.`, source: `/${text}/` });
      await own.send({ user: `${text}@example.com`, message: `Hello ${text}!` });
    }
    await own.send({ sessionKey: 'Some-KEY-of-a-session' });
  });

  test.each(TEXTS)('%s', async (text) => {
    for (const part of [text, text.toLowerCase(), text.toUpperCase()]) {
      const { sessions, events } = await ask(
        `query ($part: String) {
           sessions(filter: { search: $part }) { totalCount nodes { user { identity name } } }
           events(filter: { search: $part }) { totalCount nodes { source message } } }`,
        { part },
      );
      expect([part, sessions.totalCount, sessions.nodes.length]).toEqual([part, 2, 2]);
      expect([part, events.totalCount, events.nodes.length]).toEqual([part, 2, 2]);
      for (const found of [...sessions.nodes, ...events.nodes])
        expect(JSON.stringify(found)).toContain(JSON.stringify(text).slice(1, -1));
    }
  });

  test('a key, and nothing where nothing is', async () => {
    const FIND = 'query ($part: String) { sessions(filter: { search: $part }) { nodes { key } } }';
    expect((await ask(FIND, { part: 'some-key' })).sessions.nodes).toEqual([{ key: 'Some-KEY-of-a-session' }]);
    for (const part of ['angstrom', '100__sure', 'back/slash', '%']) {
      expect([part, (await ask(FIND, { part })).sessions.nodes.length]).toEqual([part, part === '%' ? 2 : 0]);
    }
  });
});
