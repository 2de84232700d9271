import fc from 'fast-check';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { userIdOf } from '../../src/domain/identity.js';
import { createMaintenance } from '../../src/services/upkeep/maintenance.js';
import { listUsers, userPlace, type ListedUser } from '../../src/store/sessions/users.js';
import { catchUpSeen } from '../../src/store/upkeep/catch-up.js';
import { createTestDatabase, type TestDatabase } from '../support/database.js';
import { createExecutor, type Executor } from '../support/execute.js';
import { usersMisseen } from '../support/rules.js';
import { createStage, type Stage, type StageEvent } from '../support/stage.js';
import { untilReadable } from '../support/webhooks.js';

/** Users as things of their own: their list, when they were seen, and what they are as nodes. */

let db: TestDatabase;
beforeAll(async () => {
  db = await createTestDatabase();
});
afterAll(() => db.drop());

const USERS = `query ($filter: UserFilter, $orderBy: UserOrder, $first: Int, $after: String, $last: Int, $before: String) {
  users(filter: $filter, orderBy: $orderBy, first: $first, after: $after, last: $last, before: $before) {
    totalCount nodes { identity firstSeenAt lastSeenAt } pageInfo { hasNextPage hasPreviousPage startCursor endCursor }
  }
}`;

interface Listed {
  identity: string;
  firstSeenAt: string;
  lastSeenAt: string;
}

const ORDERS = (['FIRST_SEEN_AT', 'LAST_SEEN_AT'] as const).flatMap((field) =>
  (['ASC', 'DESC'] as const).map((direction) => ({ field, direction })),
);

/** The whole list, read in pages forwards and backwards, which must be the same. */
async function listOf({ data }: Executor, args: object, size: number): Promise<Listed[]> {
  const forwards: Listed[] = [];
  for (let after: string | null = null, more = true; more;) {
    const { users } = await data(USERS, { ...args, first: size, after });
    forwards.push(...users.nodes);
    expect(users.pageInfo.hasPreviousPage).toBe(after !== null);
    ({ endCursor: after, hasNextPage: more } = users.pageInfo);
  }
  const backwards: Listed[] = [];
  for (let before: string | null = null, more = true; more;) {
    const { users } = await data(USERS, { ...args, last: size, before });
    backwards.unshift(...users.nodes);
    ({ startCursor: before, hasPreviousPage: more } = users.pageInfo);
  }
  expect(backwards).toEqual(forwards);
  return forwards;
}

const identities = (users: readonly Listed[]): string[] => users.map(({ identity }) => identity);

/** What the list must be, from the rows of sessions alone. */
async function expected(stage: Stage, { field, direction }: (typeof ORDERS)[number]): Promise<Listed[]> {
  const users = new Map<string, Listed>();
  const { data } = await createExecutor(stage);
  const { sessions } = await data(`{ sessions(first: 100) { nodes { user { identity } startedAt lastActivityAt } } }`);
  for (const { user, startedAt, lastActivityAt } of sessions.nodes) {
    if (!user) continue;
    const known = users.get(user.identity) ?? { ...user, firstSeenAt: startedAt, lastSeenAt: lastActivityAt };
    if (startedAt < known.firstSeenAt) known.firstSeenAt = startedAt;
    if (lastActivityAt > known.lastSeenAt) known.lastSeenAt = lastActivityAt;
    users.set(user.identity, known);
  }
  const key = field === 'FIRST_SEEN_AT' ? 'firstSeenAt' : 'lastSeenAt';
  const idOf = ({ identity }: Listed): string => userIdOf(stage.projectId, identity);
  const ascending = [...users.values()].toSorted((a, b) =>
    a[key] === b[key] ? (idOf(a) < idOf(b) ? -1 : 1) : a[key] < b[key] ? -1 : 1,
  );
  return direction === 'ASC' ? ascending : ascending.toReversed();
}

const step = fc.record({
  wait: fc.integer({ min: 0, max: 15 }),
  late: fc.constantFrom(0, 0, 0, 5, 30),
  who: fc.constantFrom('ada', 'bob', 'cy', 'dora', 'eve', 'fay'),
  more: fc.constantFrom<Partial<StageEvent>>({}, {}, { deviceId: 'device-1' }, { sessionKey: 'key-00001' }),
  type: fc.constantFrom('log', 'log', 'heartbeat', 'session', 'sessionend'),
  closes: fc.boolean(),
});

test('whatever happens: both orders, both directions, in pages; the values are those of the sessions', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 1, maxLength: 15 }), async (steps) => {
      const stage = await createStage(db, { inactivityTimeout: 20, presenceTimeout: 10 });
      let now = 100;
      // Every user has a session: an end alone is told of below.
      await stage.send(...['ada', 'bob', 'cy', 'dora', 'eve', 'fay'].map((user) => ({ user, t: 0 })));
      for (const { wait, late, who, more, type, closes } of steps) {
        stage.at((now += wait));
        if (closes) await stage.close();
        await stage.send({ user: who, type, t: now - late, ...more });
      }
      expect(await usersMisseen(stage.database, stage.projectId)).toEqual([]);
      const executor = await createExecutor(stage);
      for (const orderBy of ORDERS) {
        const right = await expected(stage, orderBy);
        expect(await listOf(executor, { orderBy }, 2)).toEqual(right);
        // Few users are read in another way.
        const some = { filter: { identities: right.map(({ identity }) => identity) }, orderBy };
        expect(await listOf(executor, some, 4)).toEqual(right);
      }
    }),
    { numRuns: 25 },
  );
}, 120_000);

/** Ten users: user n comes at n minutes and stays for n seconds; the last three are there now. */
async function tenUsers(): Promise<{ stage: Stage; executor: Executor }> {
  const stage = await createStage(db, { inactivityTimeout: 300, presenceTimeout: 75 });
  for (let user = 1; user <= 10; user += 1) {
    stage.at(user * 60);
    await stage.send({
      user: `user${user}@example.com`,
      name: user === 3 ? 'Ünal Straße' : `User ${user}`,
      source: `/page/${user % 2}`,
      version: '1.0',
    });
    stage.at(user * 60 + user);
    const end = user <= 7 ? 'sessionend' : 'log';
    await stage.send({ user: `user${user}@example.com`, type: end });
  }
  await stage.database.query({
    name: 'test.data',
    text: `UPDATE users SET data = '{"plan":{"name":"pro"}}' WHERE project_id = $1 AND name IN ('User 2', 'User 9')`,
    values: [stage.projectId],
  });
  return { stage, executor: await createExecutor(stage) };
}

test('every filter, alone and with others, in both orders, with its count', async () => {
  const { stage, executor } = await tenUsers();
  const at = (seconds: number): string => stage.time(seconds).toISOString();
  const cases: [object, number[]][] = [
    [{}, [10, 9, 8, 7, 6, 5, 4, 3, 2, 1]],
    [{ search: 'USER1' }, [10, 1]],
    [{ search: 'ünal' }, [3]],
    [{ search: 'STRASSE' }, []],
    [{ search: '%' }, []],
    [{ identities: ['user4@example.com', ' user5@example.com ', 'nobody'] }, [5, 4]],
    [{ identities: [] }, []],
    [{ status: 'ONLINE' }, [10, 9, 8]],
    [{ status: 'OFFLINE' }, [7, 6, 5, 4, 3, 2, 1]],
    [{ firstSeenAt: { from: at(120), to: at(240) } }, [3, 2]],
    [{ lastSeenAt: { from: at(427), to: at(549) } }, [8, 7]],
    [{ dataContains: { plan: { name: 'pro' } } }, [9, 2]],
    [{ dataContains: { plan: 'pro' } }, []],
    [{ sessions: { entrySources: ['/page/0'], status: 'ENDED' } }, [6, 4, 2]],
    [{ sessions: { search: 'user 7' } }, [7]],
    [{ sessions: { versions: ['2.0'] } }, []],
    [{ search: 'user', status: 'ONLINE', lastSeenAt: { to: at(609) } }, [9, 8]],
    [{ identities: ['user9@example.com', 'user1@example.com'], dataContains: { plan: {} } }, [9]],
  ];
  for (const [filter, right] of cases) {
    const wanted = right.map((user) => `user${user}@example.com`);
    for (const field of ['FIRST_SEEN_AT', 'LAST_SEEN_AT']) {
      const { users } = await executor.data(USERS, { filter, orderBy: { field } });
      expect([filter, identities(users.nodes), users.totalCount]).toEqual([filter, wanted, wanted.length]);
    }
  }
});

test('of a range of first times, few users and many are listed alike', async () => {
  const { stage } = await tenUsers();
  const firstSeenAt = { from: stage.time(120), to: stage.time(540) };
  const { reach } = stage.caller;
  for (const more of [{}, { status: 'ONLINE' as const }, { status: 'OFFLINE' as const }, { lastSeenAt: firstSeenAt }]) {
    for (const direction of ['ASC', 'DESC'] as const) {
      const order = { field: 'LAST_SEEN_AT' as const, direction };
      const read = async (most: number, ...[before, after]: ListedUser[]) => {
        const [from, to] = [before, after].map((one) => one && userPlace(one, order));
        const page = { limit: 20, after: from ?? null, before: to ?? null, backwards: false };
        return (await listUsers(stage.database, reach, { firstSeenAt, ...more }, order, page, most)).rows;
      };
      const few = await read(10_000);
      expect(few.length).toBe('status' in more ? (more.status === 'ONLINE' ? 1 : 6) : 7);
      expect(await read(0)).toEqual(few);
      for (const most of [0, 10_000]) {
        expect(await read(most, few[0]!)).toEqual(few.slice(1));
        expect(await read(most, few[0]!, few.at(-1)!)).toEqual(few.slice(1, -1));
      }
    }
  }
});

test('a token sees its own users; other scopes see none', async () => {
  const { stage, executor } = await tenUsers();
  const reach = {
    projectId: stage.projectId,
    userIds: ['user2@example.com', 'user8@example.com'].map((identity) => userIdOf(stage.projectId, identity)),
  };
  for (const filter of [null, { search: 'user' }, { status: 'ONLINE' }, { sessions: {} }]) {
    const { users } = await executor.data(USERS, { filter }, { reach });
    expect(identities(users.nodes)).toEqual(
      filter && 'status' in filter ? ['user8@example.com'] : ['user8@example.com', 'user2@example.com'],
    );
    expect(users.totalCount).toBe(users.nodes.length);
  }
  const other = (await executor.data('{ user(identity: "user1@example.com") { id presence { id } } }')).user;
  const node = 'query ($id: ID!) { node(id: $id) { id } }';
  for (const id of [other.id, other.presence.id]) {
    expect(await executor.data(node, { id }, { reach })).toEqual({ node: null });
  }
  expect(await executor.code(USERS, {}, { scopes: new Set(['PRESENCE'] as const) })).toBe('FORBIDDEN');
  // Who may read presence alone gets no further than that.
  const { data, errors } = await executor.run(
    '{ presence { nodes { identity user { identity } } } }',
    {},
    { scopes: new Set(['PRESENCE'] as const) },
  );
  expect((data as any).presence.nodes.map(({ user }: { user: null }) => user)).toEqual([null, null, null]);
  expect(errors).toHaveLength(3);
});

test('bad values say which', async () => {
  const { run } = await createExecutor(await createStage(db));
  const refused = async (filter: object) => {
    const { errors } = await run(USERS, { filter });
    return (errors![0]!.originalError as { extensions?: object; code?: string } | undefined) ?? errors![0]!.message;
  };
  expect(await refused({ search: 'x'.repeat(1_001) })).toMatchObject({
    code: 'BAD_USER_INPUT',
    details: { field: 'filter.search' },
  });
  expect(await refused({ sessions: { userDataContains: { x: 'x'.repeat(17_000) } } })).toMatchObject({
    code: 'BAD_USER_INPUT',
    details: { field: 'filter.sessions.userDataContains' },
  });
  expect(await refused({ dataContains: { x: 'x'.repeat(17_000) } })).toMatchObject({ code: 'BAD_USER_INPUT' });
});

test('users, their presence and entries of the audit log are nodes', async () => {
  const { executor } = await tenUsers();
  const { data } = executor;
  const { users, presence, project } = await data(`{
    users(first: 1) { nodes { id identity presence { id user { id } } } }
    presence(first: 1) { nodes { id identity } }
    project { auditLog(first: 1) { nodes { id } } }
    never: presence(identities: ["never"]) { nodes { user { id } } }
  }`);
  const [user] = users.nodes;
  expect(user.presence.user).toEqual({ id: user.id });
  const node = async (id: string) =>
    (await data('query ($id: ID!) { node(id: $id) { __typename id ... on User { identity } } }', { id })).node;
  expect(await node(user.id)).toEqual({ __typename: 'User', id: user.id, identity: user.identity });
  const [present] = presence.nodes;
  expect(await node(present.id)).toEqual({ __typename: 'UserPresence', id: present.id });
  expect(project.auditLog.nodes).toEqual([]);
  await data('mutation { updateProject(name: "Other") { id } }');
  const changed = (await data('{ project { auditLog { nodes { id } } } }')).project.auditLog.nodes[0];
  expect(await node(changed.id)).toEqual({ __typename: 'AuditEntry', id: changed.id });
  expect(await executor.code(`{ node(id: "${changed.id}") { id } }`, {}, { scopes: new Set(['READ'] as const) })).toBe(
    'FORBIDDEN',
  );
});

test("a user's events, the newest first, over all sessions", async () => {
  const { stage, executor } = await tenUsers();
  await stage.send({ user: 'user2@example.com', sessionKey: 'key-00001', type: 'page view', source: '/new' });
  const { user } = await executor.data(`{ user(identity: "user2@example.com") {
    events { totalCount nodes { type } }
    views: events(filter: { types: ["page view"] }) { nodes { source } }
    others: events(filter: { identities: ["user1@example.com"] }) { totalCount }
  } }`);
  expect(user).toEqual({
    events: { totalCount: 3, nodes: [{ type: 'page view' }, { type: 'sessionend' }, { type: 'log' }] },
    views: { nodes: [{ source: '/new' }] },
    others: { totalCount: 0 },
  });
});

test('a user of whom only an end came is listed; one who was seen stays, with the first time, when sessions are deleted', async () => {
  const stage = await createStage(db, { retentionDays: 10, inactivityTimeout: 86_400 });
  const executor = await createExecutor(stage);
  stage.at(10);
  await stage.send({ user: 'end', type: 'sessionend' });
  await stage.send({ user: 'ada', t: 0 }, { user: 'ada', type: 'sessionend', t: 10 });
  const list = async () => (await executor.data(USERS)).users.nodes;
  const at = (seconds: number): string => stage.time(seconds).toISOString();
  const ended = { identity: 'end', firstSeenAt: at(10), lastSeenAt: at(10) };
  const both = [ended, { identity: 'ada', firstSeenAt: at(0), lastSeenAt: at(10) }];
  expect((await list()).toSorted((a: Listed, b: Listed) => (a.identity > b.identity ? -1 : 1))).toEqual(both);
  const day = 86_400;
  stage.at(9 * day);
  await stage.send({ user: 'ada' });
  stage.at(12 * day);
  const maintenance = createMaintenance({ database: stage.database, clock: stage, observe: () => {} });
  await maintenance.runOnce(stage.now());
  expect(await stage.sessions('ada')).toHaveLength(1);
  expect(await list()).toEqual([{ identity: 'ada', firstSeenAt: at(0), lastSeenAt: at(9 * day) }]);
  await maintenance.close();
  await executor.data('mutation { eraseUser(identity: "ada") { sessions } }');
  expect(await list()).toEqual([]);
});

test('a visitor who signs in was first seen when the visit began, and what was done before is the user’s, at every door', async () => {
  const stage = await createStage(db);
  const executor = await createExecutor(stage);
  stage.at(100);
  const device = { deviceId: 'device-1' };
  await stage.send(
    { ...device, t: 10, type: 'page view', source: '/' },
    { ...device, t: 50, type: 'login', user: 'ada' },
    { ...device, t: 60, type: 'search' },
    { user: 'ada', t: 70, type: 'elsewhere' },
    { sessionKey: 'key-00001', t: 20, type: 'unnamed' },
    { sessionKey: 'key-00001', user: 'ada', t: 30, type: 'named' },
  );
  // Not hers: another visitor's, those of nobody's session, and of none.
  await stage.send(
    { deviceId: 'device-2', t: 10 },
    { deviceId: 'device-2', user: 'bob', t: 50 },
    { deviceId: 'device-3', t: 20 },
    { t: 30 },
  );
  const { users } = await executor.data(USERS, { filter: { identities: ['ada'] } });
  expect(users.nodes).toEqual([
    { identity: 'ada', firstSeenAt: stage.time(10).toISOString(), lastSeenAt: stage.time(70).toISOString() },
  ]);
  const types = ['elsewhere', 'search', 'login', 'named', 'unnamed', 'page view'];
  const list = types.map((type) => ({ type }));
  const asked = `events(filter: $filter) { totalCount nodes { type } }
    views: events(filter: $views) { nodes { source } }
    eventStats(filter: $filter) { total users } eventBreakdown(by: TYPE, filter: $filter) { totalCount }`;
  const told = {
    events: { totalCount: 6, nodes: list },
    views: { nodes: [{ source: '/' }] },
    eventStats: { total: 6, users: 1 },
    eventBreakdown: { totalCount: 6 },
  };
  const ada = { identities: ['ada'] };
  const views = { types: ['page view'] };
  const document = `query ($filter: EventFilter, $views: EventFilter) { ${asked} }`;
  expect(await executor.data(document, { filter: ada, views: { ...ada, ...views } })).toEqual(told);
  // A token of hers sees them without asking for her.
  const reach = { projectId: stage.projectId, userIds: [userIdOf(stage.projectId, 'ada')] };
  for (const filter of [null, ada]) expect(await executor.data(document, { filter, views }, { reach })).toEqual(told);
  await untilReadable(stage.database);
  const { user, changes } = await executor.data(`{
    user(identity: "ada") { events { totalCount nodes { type } } }
    changes(filter: { kinds: [EVENT], events: { identities: ["ada"] } }) { nodes { ... on EventChange { event { type } } } }
  }`);
  expect(user.events).toEqual(told.events);
  expect(changes.nodes.map(({ event }: { event: { type: string } }) => event.type).toSorted()).toEqual(
    types.toSorted(),
  );
});

test('users who were there before the update are seen at once, and listed as maintenance reaches them', async () => {
  const { stage, executor } = await tenUsers();
  const { users: before } = await executor.data(USERS);
  await stage.database.query({ name: 'test', text: 'UPDATE users SET first_seen_at = NULL, last_seen_at = NULL' });
  await stage.database.query({
    name: 'test',
    text: `INSERT INTO catch_ups VALUES ('users seen', $1, '00000000-0000-0000-0000-000000000000')`,
    values: [stage.projectId],
  });
  for (const one of before.nodes) {
    const { user } = await executor.data(
      'query ($identity: String!) { user(identity: $identity) { identity firstSeenAt lastSeenAt } }',
      { identity: one.identity },
    );
    expect(user).toEqual(one);
  }
  expect(await catchUpSeen(stage.database, 4)).toBe(true);
  expect((await executor.data(USERS, { orderBy: { field: 'FIRST_SEEN_AT' } })).users.nodes).toHaveLength(4);
  const maintenance = createMaintenance({ database: stage.database, clock: stage, observe: () => {} });
  await maintenance.runOnce(stage.now());
  await maintenance.close();
  expect((await executor.data(USERS)).users).toEqual(before);
  expect(await usersMisseen(stage.database, stage.projectId)).toEqual([]);
});
