import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { Reach } from '../../src/domain/access.js';
import { uuidAt } from '../../src/domain/event-id.js';
import { arrivalOf, checkEvent } from '../../src/domain/check-event.js';
import type { ReadyEvent } from '../../src/domain/planned-event.js';
import { userIdOf } from '../../src/domain/identity.js';
import { listAuditEntries } from '../../src/store/audit-log.js';
import { lockOpenSessions, readOpenSessions } from '../../src/store/changed-timeouts.js';
import { closeSessions, takeDueSessions } from '../../src/store/close-sessions.js';
import type { Database, Statement } from '../../src/store/database.js';
import { eventsByIds, listEvents, listSessionEvents, watchedEvents } from '../../src/store/events.js';
import { extendSessions, type Extension } from '../../src/store/extend-sessions.js';
import { flipPresence } from '../../src/store/flip-presence.js';
import {
  countNamesakes,
  lockNamedSessions,
  lockUsers,
  readIdentitySessions,
  readKnownEvents,
  readSessionOwners,
  readStoredParts,
} from '../../src/store/ingest-reads.js';
import { moveEvents } from '../../src/store/ingest-writes.js';
import { mergedSessions } from '../../src/store/merged-sessions.js';
import { deleteOldMerges } from '../../src/store/retention.js';
import { findSubjects } from '../../src/store/heartbeat-subject.js';
import { describeEvent, takeDescriptions } from '../../src/store/user-descriptions.js';
import { listPresence, presenceOf, presenceSnapshot, recentEdges } from '../../src/store/presence.js';
import { ensurePartitions } from '../../src/store/partitions.js';
import { beat } from '../../src/store/pulse.js';
import { findSearched } from '../../src/store/session-search.js';
import { listSessions, sessionsByIds } from '../../src/store/sessions.js';
import { createTestDatabase, type TestDatabase } from '../support/database.js';

/** A big table: a million events in 50,000 sessions of 5,000 users over three weeks, and the plans of what reads it. */

let db: TestDatabase;
let database: Database;
/** The same database, noting each statement instead of running it, where `noting` is set. */
let noted: Statement[] = [];
let noting: Database;
const projectId = randomUUID();
const reach: Reach = { projectId, userIds: null };
const now = new Date();

beforeAll(async () => {
  db = await createTestDatabase();
  database = db.open();
  noting = {
    ...database,
    query: async (statement) => {
      noted.push(statement);
      return [];
    },
    transaction: async (work) => work(noting),
  };
  for (const days of [21, 14, 7, 0])
    await ensurePartitions(database, new Date(now.getTime() - days * 86_400_000), () => {});
  const run = (text: string, values: unknown[] = []) => database.query({ name: 'test.fill', text, values });
  await run(`INSERT INTO projects (id, name, created_at) VALUES ($1, 'Big', now())`, [projectId]);
  // Users whose ids are those of identities user1 … user5000.
  const users = Array.from({ length: 5_000 }, (_, at) => userIdOf(projectId, `user${at + 1}`));
  await run(
    `INSERT INTO users (project_id, id, identity, name, online, status_since)
     SELECT $1, id, 'user' || n, 'User ' || n, n % 50 = 0, now() FROM unnest($2::uuid[]) WITH ORDINALITY u (id, n)`,
    [projectId, users],
  );
  await run(
    `INSERT INTO sessions (project_id, id, user_id, started_at, last_activity_at, ended_at, end_reason, online_until, live, due_at,
                           event_count, error_count, ended_event_count, event_types, browser_name, data)
     SELECT $1, ('00000000-0000-7000-8000-' || lpad(n::text, 12, '0'))::uuid, ($2::uuid[])[1 + n % 5000], at, at + interval '10 minutes',
            CASE WHEN n < 49900 THEN at + interval '10 minutes' END, CASE WHEN n < 49900 THEN 'INACTIVITY'::session_end_reason END,
            at + interval '15 minutes', n >= 49900, CASE WHEN n >= 49900 THEN now() + interval '1 hour' END,
            20, n % 3, CASE WHEN n < 49900 THEN 20 END, '{log,error}', 'Chrome', '{"plan": "pro"}'
     FROM (SELECT n, now() - interval '20 days' + n * interval '34 seconds' AS at FROM generate_series(1, 50000) n) x`,
    [projectId, users],
  );
  for (let from = 0; from < 50_000; from += 10_000) {
    await run(
      `INSERT INTO events (project_id, id, type, source, occurred_at, received_at, user_id, session_id)
       SELECT $1, (substr(ms, 1, 8) || '-' || substr(ms, 9, 4) || '-7' || lpad(to_hex(e), 3, '0') || '-8000-' || right(id::text, 12))::uuid,
              CASE WHEN e = 3 THEN 'error' ELSE 'log' END, '/page/' || e, at, at, user_id, id
       FROM (
         SELECT s.id, s.user_id, e, s.started_at + e * interval '25 seconds' AS at,
                lpad(to_hex((extract(epoch FROM s.started_at + e * interval '25 seconds') * 1000)::bigint), 12, '0') AS ms
         FROM sessions s, generate_series(1, 20) e
         WHERE s.project_id = $1 AND s.id > ('00000000-0000-7000-8000-' || lpad(($2::integer)::text, 12, '0'))::uuid
           AND s.id <= ('00000000-0000-7000-8000-' || lpad(($2::integer + 10000)::text, 12, '0'))::uuid
       ) x`,
      [projectId, from],
    );
  }
  // Some wait for their events, some events are there.
  await run(
    `INSERT INTO user_descriptions (project_id, reference_id, received_at, data)
     SELECT $1, 'reference-' || lpad(n::text, 4, '0'), now(), '{}' FROM generate_series(1, 500) n`,
    [projectId],
  );
  await run(
    `UPDATE events SET reference_id = 'reference-' || lpad((right(session_id::text, 4)::integer % 9999)::text, 4, '0')
     WHERE project_id = $1 AND type = 'error'`,
    [projectId],
  );
  // A key that thousands of users share, and a chain of merged sessions.
  await run(
    `INSERT INTO sessions (project_id, id, user_id, key, namesake, started_at, last_activity_at, ended_at, end_reason, online_until,
                           live, ended_event_count)
     SELECT $1, gen_random_uuid(), id, 'a-shared-key', n - 1, now(), now(), now(), 'CLIENT', now(), false, 0
     FROM unnest($2::uuid[]) WITH ORDINALITY u (id, n)`,
    [projectId, users],
  );
  await run(
    `INSERT INTO merged_sessions (project_id, id, session_id, user_id, merged_at)
     SELECT $1, ('00000000-0000-7000-8000-' || lpad(n::text, 12, '0'))::uuid,
            ('00000000-0000-7000-8000-' || lpad((n + CASE WHEN n % 10 = 0 THEN 500000 ELSE 1 END)::text, 12, '0'))::uuid, $2, now()
     FROM generate_series(100000, 120000) n`,
    [projectId, users[0]],
  );
  await run('ANALYZE users, user_search, sessions, events, merged_sessions');
}, 180_000);
afterAll(() => db.drop());

interface PlanNode {
  'Node Type': string;
  'Relation Name'?: string;
  'Actual Rows'?: number;
  'Actual Loops'?: number;
  'Rows Removed by Filter'?: number;
  Plans?: PlanNode[];
}

function nodesOf(plan: PlanNode): PlanNode[] {
  return [plan, ...(plan.Plans ?? []).flatMap(nodesOf)];
}

/** Rows that a plan takes from tables, whether it keeps them or not. */
const rowsRead = (nodes: readonly PlanNode[]): number =>
  nodes
    .filter((node) => node['Relation Name'])
    .reduce(
      (sum, node) =>
        sum + ((node['Actual Rows'] ?? 0) + (node['Rows Removed by Filter'] ?? 0)) * (node['Actual Loops'] ?? 1),
      0,
    );

async function explain(call: (database: Database) => Promise<unknown>): Promise<{ text: string; nodes: PlanNode[] }> {
  noted = [];
  await call(noting).catch(() => {});
  expect(noted).toHaveLength(1);
  const [{ text, values }] = noted as [Statement];
  const [row] = await database.query<{ 'QUERY PLAN': [{ Plan: PlanNode }] }>({
    name: 'test.explain',
    text: `EXPLAIN (ANALYZE, FORMAT JSON) ${text}`,
    ...(values ? { values } : {}),
  });
  return { text, nodes: nodesOf(row!['QUERY PLAN'][0].Plan) };
}

/** Scans of a whole table that found anything there: partitions of weeks to come are empty. */
const sequentialScans = (nodes: readonly PlanNode[]): string[] =>
  nodes
    .filter(
      (node) =>
        node['Node Type'] === 'Seq Scan' && /^(sessions|users|user_search|events)/.test(node['Relation Name'] ?? ''),
    )
    .filter((node) => rowsRead([node]) > 0)
    .map((node) => node['Relation Name']!);

const page = { limit: 50, after: null, before: null, backwards: false };
const order = (field: 'STARTED_AT' | 'LAST_ACTIVITY_AT' | 'DURATION' | 'EVENT_COUNT') => ({
  field,
  direction: 'DESC' as const,
});
const recent = { from: new Date(now.getTime() - 3_600_000), to: now };

const lists: [string, (database: Database) => Promise<unknown>, number][] = [
  ['newest sessions', (d) => listSessions(d, reach, null, order('STARTED_AT'), page), 300],
  ['oldest sessions', (d) => listSessions(d, reach, null, { field: 'STARTED_AT', direction: 'ASC' }, page), 300],
  [
    'sessions after a place',
    (d) =>
      listSessions(d, reach, null, order('STARTED_AT'), {
        ...page,
        after: [new Date(now.getTime() - 10 * 86_400_000).toISOString(), randomUUID()],
      }),
    300,
  ],
  ['sessions by last activity', (d) => listSessions(d, reach, null, order('LAST_ACTIVITY_AT'), page), 1_000],
  ['sessions by duration', (d) => listSessions(d, reach, null, order('DURATION'), page), 1_000],
  ['sessions by event count', (d) => listSessions(d, reach, null, order('EVENT_COUNT'), page), 1_000],
  ['sessions of a user', (d) => listSessions(d, reach, { identities: ['user77'] }, order('STARTED_AT'), page), 300],
  ['sessions of an hour', (d) => listSessions(d, reach, { startedAt: recent }, order('STARTED_AT'), page), 500],
  ['active sessions', (d) => listSessions(d, reach, { status: 'ACTIVE' }, order('STARTED_AT'), page), 500],
  ['newest events', (d) => listEvents(d, reach, null, page), 300],
  ['events of a type', (d) => listEvents(d, reach, { types: ['error'] }, page), 1_500],
  ['events of a user', (d) => listEvents(d, reach, { identities: ['user77'] }, page), 1_500],
  ['events of an hour', (d) => listEvents(d, reach, { occurredAt: recent }, page), 500],
  ['users online', (d) => listPresence(d, reach, { status: 'ONLINE' }, page, now), 2_000],
];

test.each(lists)('%s: an index, a LIMIT, and few rows', async (_name, call, most) => {
  const { text, nodes } = await explain(call);
  expect(sequentialScans(nodes)).toEqual([]);
  expect(nodes.some((node) => node['Node Type'] === 'Limit')).toBe(true);
  // Every part of the statement that lists rows has a LIMIT of its own.
  expect(text.match(/LIMIT/g)!.length).toBeGreaterThanOrEqual(
    text.match(/ORDER BY (?!e\.id (?:DESC|ASC)$)/g)?.length ?? 1,
  );
  expect(rowsRead(nodes)).toBeLessThanOrEqual(most);
});

test('fifty sessions with twenty events each: one LIMIT for each session, and only the partitions of its time', async () => {
  const sessions = await listSessions(database, reach, null, order('STARTED_AT'), page);
  for (const after of [null, uuidAt(new Date(now.getTime() - 1_800_000))]) {
    const { nodes } = await explain((d) =>
      listSessionEvents(d, reach, sessions.rows, { types: ['log', 'error'] }, { ...page, limit: 20, after }),
    );
    expect(sequentialScans(nodes)).toEqual([]);
    const limit = nodes.find((node) => node['Node Type'] === 'Limit')!;
    expect(limit['Actual Loops']).toBe(50);
    expect(limit['Actual Rows']).toBeLessThanOrEqual(21);
    expect(rowsRead(nodes)).toBeLessThanOrEqual(50 * 21 * 3);
  }
});

const user = { projectId, userId: userIdOf(projectId, 'user50') };
const named = { projectId, key: 'a-shared-key' };
/** One of those above, with 20 events. */
const sessionId = '00000000-0000-7000-8000-000000000123';
const extension: Extension = {
  ...user,
  sessionId: null,
  firstAt: now.getTime(),
  lastAt: now.getTime(),
  events: 1,
  errors: 0,
  beatAt: null,
  beatBefore: null,
  types: ['log'],
  says: 0,
  dataKeys: [],
  name: null,
  nameAt: 0,
};
const sender = { ipAddress: null, userAgent: null };
const checked = checkEvent(reach, { type: 'log', user: { identity: 'user50' } }, sender, arrivalOf(now));
const event = { ...checked, id: uuidAt(now) } as ReadyEvent;
const lookups: [string, (database: Database) => Promise<unknown>, number][] = [
  ['presence of some', (d) => presenceOf(d, reach, ['user50', 'user51'], now), 50],
  ['presence snapshot of some', (d) => presenceSnapshot(d, reach, ['user50', 'user51'], now), 50],
  ['recent edges', (d) => recentEdges(d, [reach], new Date(now.getTime() + 600_000), now), 50],
  ['sessions by id', (d) => sessionsByIds(d, reach, [randomUUID()]), 50],
  ['ingest: a named session', (d) => lockNamedSessions(d, [{ ...named, userId: user.userId }]), 50],
  ['ingest: named sessions of whoever', (d) => lockNamedSessions(d, [{ ...named, userId: null }]), 100],
  ['ingest: whose named sessions are', (d) => readSessionOwners(d, [{ ...named, userId: null }]), 100],
  ['ingest: place of the next named session', (d) => countNamesakes(d, [{ ...named, userId: null }]), 50],
  [
    'ingest: what is stored of a session, in parts',
    (d) =>
      readStoredParts(d, [
        {
          projectId,
          sessionId,
          startedAt: now.getTime() - 20 * 86_400_000,
          at: now.getTime() - 19 * 86_400_000,
          lastActivityAt: now.getTime(),
        },
      ]),
    100,
  ],
  [
    'ingest: events that change their session',
    (d) => moveEvents(d, [{ projectId, source: sessionId, from: 0, to: null, target: randomUUID() }]),
    150,
  ],
  ['merged sessions', (d) => mergedSessions(d, reach, ['00000000-0000-7000-8000-000000100001']), 50],
  ['retention: merges', (d) => deleteOldMerges(d, reach, new Date(0), 5_000), 50],
  ['events by id', (d) => eventsByIds(d, reach, [uuidAt(now)]), 50],
  [
    'events of watches',
    (d) =>
      watchedEvents(d, projectId, [uuidAt(now)], {
        any: [
          { reach: { projectId, userIds: [userIdOf(projectId, 'user50')] }, filter: { search: 'x' } },
          { reach, filter: { sessionIds: [randomUUID()] } },
        ],
        each: [{ reach, filter: { search: 'x', dataContains: { plan: 'pro' } } }],
      }),
    50,
  ],
  [
    'ingest: extend, the session found by its user',
    (d) => extendSessions(d, [extension], [{ event, extension: 0 }], now),
    50,
  ],
  [
    'ingest: extend, the session remembered',
    (d) => extendSessions(d, [{ ...extension, sessionId: randomUUID() }], [], now),
    50,
  ],
  ['ingest: lock users', (d) => lockUsers(d, [user]), 50],
  ['ingest: identity sessions', (d) => readIdentitySessions(d, [{ ...user, from: now.getTime() }]), 50],
  [
    'ingest: known events',
    (d) =>
      readKnownEvents(
        d,
        [{ projectId, eventKey: randomUUID() }],
        now.toISOString().slice(0, 10),
        now.toISOString().slice(0, 10),
      ),
    50,
  ],
  ['closer: due sessions', (d) => takeDueSessions(d, now, 1_000), 50],
  ['closer: close', (d) => closeSessions(d, [{ projectId, id: randomUUID() }], now), 50],
  ['pulse: beat', (d) => beat(d, 1_000, null), 10],
  ['timeouts: open sessions', (d) => readOpenSessions(d, { projectId }, null, 1_000, now), 250],
  ['timeouts: lock sessions', (d) => lockOpenSessions(d, { projectId }, [randomUUID()]), 50],
  ['heartbeats: whose', (d) => findSubjects(d, reach, ['user50', 'key-of-nobody']), 50],
  ['audit: list', (d) => listAuditEntries(d, reach, { limit: 20, after: null, before: null, backwards: false }), 50],
  ['descriptions: their event', (d) => describeEvent(d, reach, 'reference-0001', '{}'), 50],
  ['descriptions: whose event has come', (d) => takeDescriptions(d, new Date(0), 200), 1_500],
  ['presence: flip', (d) => flipPresence(d, [{ ...user, sessionId: null, lastSeenAt: now.getTime() }], now), 50],
];

test.each(lookups)('%s: by index alone', async (_name, call, most) => {
  const { nodes } = await explain(call);
  expect(sequentialScans(nodes)).toEqual([]);
  expect(rowsRead(nodes)).toBeLessThanOrEqual(most);
});

test('sessions that a search finds, of a few users: by index alone', async () => {
  // In so few as there are, looking at all would be quicker.
  await database.query({
    name: 'test.fill',
    text: `INSERT INTO user_search SELECT $1, gen_random_uuid(), md5(n::text) || ' Иван ' || n FROM generate_series(1, 50000) n`,
    values: [projectId],
  });
  await database.query({ name: 'test.fill', text: 'VACUUM ANALYZE user_search' });
  const lookUp = (d: Database) => findSearched(d, reach, { search: 'uSER4321' }).catch(() => null);
  const { nodes: users } = await explain((d) =>
    lookUp({ ...d, query: (one) => (one.name === 'search.users' ? d.query(one) : Promise.reject(new Error('noted'))) }),
  );
  expect(sequentialScans(users)).toEqual([]);
  expect(rowsRead(users)).toBeLessThanOrEqual(50);
  const found = await findSearched(database, reach, { search: 'uSER4321' });
  expect(found).toEqual({ userIds: [userIdOf(projectId, 'user4321')], sessionIds: [] });
  for (const field of ['STARTED_AT', 'DURATION'] as const) {
    // The search itself is answered; the list alone is noted.
    const answered = (d: Database): Database => ({
      ...d,
      query: (statement) => (statement.name.startsWith('search.') ? database.query(statement) : d.query(statement)),
    });
    const { nodes } = await explain((d) =>
      listSessions(answered(d), reach, { search: 'uSER4321' }, order(field), page),
    );
    expect(sequentialScans(nodes)).toEqual([]);
    expect(rowsRead(nodes)).toBeLessThanOrEqual(100);
  }
  expect(await findSearched(database, reach, { search: 'user' })).toBeNull();
});

test('a heartbeat is a heap-only update', async () => {
  const [before] = await database.query<{ hot: string; all: string }>({
    name: 'test.stats',
    text: `SELECT pg_stat_get_xact_tuples_hot_updated('sessions'::regclass) AS hot, 0 AS all`,
  });
  expect(before).toBeDefined();
  const hot = await database.transaction(async (tx) => {
    // The first moves the row to a page with room, if its own is full.
    for (let beat = 0; beat < 3; beat += 1) {
      await tx.query({
        name: 'test.beat',
        text: `UPDATE sessions SET last_activity_at = last_activity_at + interval '1 second', online_until = online_until + interval '1 second',
                 event_count = event_count + 1 WHERE project_id = $1 AND ended_at IS NULL AND user_id = (SELECT user_id FROM sessions WHERE ended_at IS NULL LIMIT 1)`,
        values: [projectId],
      });
    }
    const [row] = await tx.query<{ updated: string; hot: string }>({
      name: 'test.hot',
      text: `SELECT pg_stat_get_xact_tuples_updated('sessions'::regclass) AS updated, pg_stat_get_xact_tuples_hot_updated('sessions'::regclass) AS hot`,
    });
    return row!;
  });
  expect(Number(hot.updated)).toBe(3);
  expect(Number(hot.hot)).toBeGreaterThanOrEqual(2);
});
