import { randomUUID } from 'node:crypto';
import { PrismaPg } from '@prisma/adapter-pg';
import { afterAll, beforeAll, expect, test } from 'vitest';
import type { Reach } from '../../src/domain/access.js';
import { uuidAt } from '../../src/domain/event-id.js';
import { arrivalOf, checkEvent } from '../../src/domain/check-event.js';
import type { ReadyEvent } from '../../src/domain/planned-event.js';
import { readSnapshot } from '../../src/domain/presence.js';
import { userIdOf } from '../../src/domain/identity.js';
import { keysRevokedAfter } from '../../src/store/access/api-keys.js';
import type { WorkingSession } from '../../src/domain/session.js';
import { listAuditEntries } from '../../src/store/access/audit-log.js';
import { lockOpenSessions, readOpenSessions } from '../../src/store/ingest/changed-timeouts.js';
import { closeSessions, takeDueSessions } from '../../src/store/ingest/close-sessions.js';
import type { Database, PrismaDatabase, Statement } from '../../src/store/database.js';
import {
  eventsByIds,
  listEvents,
  listSessionEvents,
  metFilters,
  watchedEvents,
} from '../../src/store/sessions/events.js';
import { extendSessions, type Extension } from '../../src/store/ingest/extend-sessions.js';
import { flipPresence } from '../../src/store/presence/flip-presence.js';
import { noteDevices } from '../../src/store/presence/note-devices.js';
import {
  countNamesakes,
  lockDevices,
  lockNamedSessions,
  lockUsers,
  readDeviceOwners,
  readIdentitySessions,
  readKnownEvents,
  readSessionOwners,
  readStoredParts,
} from '../../src/store/ingest/ingest-reads.js';
import { moveEvents } from '../../src/store/ingest/ingest-writes.js';
import { PrismaClient } from '../../src/store/generated/prisma/client.js';
import { mergedSessions } from '../../src/store/sessions/merged-sessions.js';
import {
  deleteIdleDevices,
  deleteOldMerges,
  deleteOldMinutes,
  deleteOldPresence,
} from '../../src/store/upkeep/retention.js';
import { findSubjects } from '../../src/store/ingest/heartbeat-subject.js';
import { describeEvent, dropBeyond, takeDescriptions } from '../../src/store/ingest/user-descriptions.js';
import { presenceOfOnline, presenceOfSessions } from '../../src/store/presence/current-presence.js';
import { devicesOf } from '../../src/store/presence/read-devices.js';
import { edgesSince, lastSeen, presenceNow, presenceSince } from '../../src/store/presence/presence-moments.js';
import { readConcurrency } from '../../src/store/presence/concurrency.js';
import { countPresenceAt, listPresenceAt, presenceOfAt } from '../../src/store/presence/presence-at.js';
import {
  countPresenceHistory,
  listPresenceHistory,
  presenceChangesByIds,
} from '../../src/store/presence/presence-history.js';
import { eraseChanges, settleMinutes } from '../../src/store/presence/settle-minutes.js';
import { listPresence, presenceOf } from '../../src/store/presence/read-presence.js';
import { ensurePartitions } from '../../src/store/partitions.js';
import { beat } from '../../src/store/pulse.js';
import { findSearched } from '../../src/store/sessions/session-search.js';
import { firstSessions, listSessions, previousSessions, sessionsByIds } from '../../src/store/sessions/sessions.js';
import {
  readSummedEventBreakdown,
  readSummedEventSeries,
  readSummedEventTotals,
} from '../../src/store/sessions/summed-event-stats.js';
import { readSummedBreakdown, readSummedSeries, readSummedTotals } from '../../src/store/sessions/summed-stats.js';
import { listUsers, readUserData, usersByIdentities } from '../../src/store/sessions/users.js';
import { idDays } from '../../src/services/ingest/repeats.js';
import { createSums } from '../../src/services/upkeep/sums.js';
import { createTestDatabase, untilOthersEnd, type TestDatabase } from '../support/database.js';

/** A big table: a million events in 50,000 sessions of 5,000 users over three weeks, and the plans of what reads it. */

let db: TestDatabase;
let database: PrismaDatabase;
/** The same database, noting each statement instead of running it, where `noting` is set. */
let noted: Statement[] = [];
let noting: PrismaDatabase;
let prisma: PrismaClient;
const projectId = randomUUID();
const reach: Reach = { projectId, userIds: null };
const now = new Date();
const settledUntil = new Date(Math.floor(now.getTime() / 60_000 - 60) * 60_000);

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
    prisma: (_name, operation) => operation(prisma),
  };
  // What Prisma makes of an operation it says when it has run it.
  const client = new PrismaClient({
    adapter: new PrismaPg({ connectionString: db.url }),
    log: [{ emit: 'event', level: 'query' }],
  });
  client.$on('query', ({ query, params }) =>
    noted.push({ name: 'prisma', text: query, values: JSON.parse(params) as unknown[] }),
  );
  prisma = client;
  for (const days of [21, 14, 7, 0])
    await ensurePartitions(database, new Date(now.getTime() - days * 86_400_000), () => {});
  const run = (text: string, values: unknown[] = []) => database.query({ name: 'test.fill', text, values });
  await run(`INSERT INTO projects (id, name, created_at) VALUES ($1, 'Big', now())`, [projectId]);
  // Users whose ids are those of identities user1 … user5000.
  const users = Array.from({ length: 5_000 }, (_, at) => userIdOf(projectId, `user${at + 1}`));
  await run(
    `INSERT INTO users (project_id, id, identity, name, online_sessions, status_since, presence_transaction, devices_transaction,
                        first_seen_at, last_seen_at)
     SELECT $1, id, 'user' || n, 'User ' || n, (n % 50 = 0)::integer, now(),
            CASE WHEN n > 4900 THEN 600 WHEN n <= 2 THEN 100 + n ELSE 50 END,
            CASE WHEN n BETWEEN 4881 AND 4920 THEN 700 WHEN n <= 5 THEN 102 END,
            now() - (5001 - n) * interval '5 minutes', now() - n * interval '2 minutes' FROM unnest($2::uuid[]) WITH ORDINALITY u (id, n)`,
    [projectId, users],
  );
  await run(
    `INSERT INTO sessions (project_id, id, user_id, started_at, last_activity_at, ended_at, end_reason, online_until, live, due_at,
                           event_count, error_count, ended_event_count, event_types, browser_name, data)
     SELECT $1, ('00000000-0000-7000-8000-' || lpad(n::text, 12, '0'))::uuid, ($2::uuid[])[1 + n % 5000], at, at + interval '10 minutes',
            CASE WHEN n < 49900 THEN at + interval '10 minutes' END, CASE WHEN n < 49900 THEN 'INACTIVITY'::session_end_reason END,
            CASE WHEN n < 49900 THEN at + interval '15 minutes' ELSE now() + interval '1 hour' END,
            n >= 49900, CASE WHEN n >= 49900 THEN now() + interval '1 hour' END,
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
  // Each user comes and goes 20 times in three weeks; the minutes until an hour ago are settled.
  await run(
    `INSERT INTO presence_changes (project_id, id, user_id, at, previous_since, online_sessions, previous_sessions, cause)
     SELECT $1, (substr(ms, 1, 8) || '-' || substr(ms, 9, 4) || '-7' || substr(gen_random_uuid()::text, 16))::uuid, user_id, at,
            since, sessions, 1 - sessions, 'HEARD'
     FROM (
       SELECT k.id AS user_id, at, sessions, lag(at) OVER (PARTITION BY k.id ORDER BY at) AS since,
              lpad(to_hex((extract(epoch FROM at) * 1000)::bigint), 12, '0') AS ms
       FROM unnest($2::uuid[]) WITH ORDINALITY k (id, n) CROSS JOIN generate_series(0, 19) t (time) CROSS JOIN (VALUES (1), (0)) v (sessions)
       CROSS JOIN LATERAL (
         SELECT date_trunc('milliseconds', now() - interval '20 days' + (t.time + k.n / 5000.0) * interval '20 hours'
           + CASE sessions WHEN 0 THEN interval '1 minute' * (1 + k.n % 40) ELSE interval '0' END) AS at
       ) x
     ) changes ORDER BY at`,
    [projectId, users],
  );
  await run(
    `INSERT INTO presence_minutes SELECT $1, minute, 1, 1, 0, 1
     FROM generate_series($2::timestamptz - interval '20 days', $2::timestamptz - interval '1 minute', interval '1 minute') minute`,
    [projectId, settledUntil],
  );
  await run('UPDATE presence_settling SET settled_until = $1', [settledUntil]);
  // A key that thousands of users share, and a chain of merged sessions.
  await run(
    `INSERT INTO sessions (project_id, id, user_id, key, namesake, started_at, last_activity_at, ended_at, end_reason, online_until,
                           live, ended_event_count)
     SELECT $1, gen_random_uuid(), id, 'a-shared-key', n - 1, now(), now(), now(), 'CLIENT', now(), false, 0
     FROM unnest($2::uuid[]) WITH ORDINALITY u (id, n)`,
    [projectId, users],
  );
  // A device that thousands of users share, with and without keys, and the devices of as many visitors.
  await run(
    `INSERT INTO sessions (project_id, id, user_id, device_id, key, started_at, last_activity_at, ended_at, end_reason, online_until,
                           live, due_at, ended_event_count)
     SELECT $1, gen_random_uuid(), CASE WHEN k < 3 THEN id END, CASE WHEN k < 3 THEN 'a-shared-device' ELSE 'device-' || n END,
            CASE WHEN k = 2 THEN 'key-on-device-' || n END, now() - n * interval '1 minute', now() - n * interval '1 minute',
            CASE WHEN k > 1 OR n > 20 THEN now() - n * interval '1 minute' END,
            CASE WHEN k > 1 OR n > 20 THEN 'CLIENT'::session_end_reason END, now(), k = 1 AND n <= 20,
            CASE WHEN k = 1 AND n <= 20 THEN now() + interval '1 hour' END,
            CASE WHEN k > 1 OR n > 20 THEN 0 END
     FROM unnest($2::uuid[]) WITH ORDINALITY u (id, n), generate_series(1, 3) k`,
    [projectId, users],
  );
  await run(`INSERT INTO devices SELECT DISTINCT project_id, device_id FROM sessions WHERE device_id IS NOT NULL`);
  await run(
    `INSERT INTO merged_sessions (project_id, id, session_id, user_id, merged_at)
     SELECT $1, ('00000000-0000-7000-8000-' || lpad(n::text, 12, '0'))::uuid,
            ('00000000-0000-7000-8000-' || lpad((n + CASE WHEN n % 10 = 0 THEN 500000 ELSE 1 END)::text, 12, '0'))::uuid, $2, now()
     FROM generate_series(100000, 120000) n`,
    [projectId, users[0]],
  );
  // Half of the keys were revoked, one a minute.
  await run(
    `INSERT INTO api_keys (project_id, id, name, prefix, hash, scopes, created_at, revoked_at)
     SELECT $1, gen_random_uuid(), 'key', 'fs_', sha256(n::text::bytea), '{READ}', now() - interval '30 days',
            CASE WHEN n % 2 = 0 THEN now() - n * interval '30 seconds' END
     FROM generate_series(1, 20000) n`,
    [projectId],
  );
  await run(
    'ANALYZE users, user_search, devices, sessions, events, merged_sessions, api_keys, presence_changes, presence_minutes',
  );
}, 180_000);
afterAll(async () => {
  await prisma.$disconnect();
  await db.drop();
});

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

async function explain(
  call: (database: PrismaDatabase) => Promise<unknown>,
): Promise<{ text: string; nodes: PlanNode[] }> {
  noted = [];
  await call(noting).catch(() => {});
  // Of a read in pages, what its cursor reads.
  const declared = noted.find(({ text }) => text.startsWith('DECLARE'));
  if (declared) noted = [{ ...declared, text: declared.text.replace(/^DECLARE .*? FOR /, '') }];
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
        node['Node Type'] === 'Seq Scan' &&
        /^(sessions|users|user_search|events|devices|presence_changes|presence_minutes)/.test(
          node['Relation Name'] ?? '',
        ),
    )
    .filter((node) => rowsRead([node]) > 0)
    .map((node) => node['Relation Name']!);

const page = { limit: 50, after: null, before: null, backwards: false };
const order = (field: 'STARTED_AT' | 'LAST_ACTIVITY_AT' | 'DURATION' | 'EVENT_COUNT') => ({
  field,
  direction: 'DESC' as const,
});
const shared = { projectId, deviceId: 'a-shared-device' };
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
  ['sessions of a device', (d) => listSessions(d, reach, { deviceIds: ['device-77'] }, order('STARTED_AT'), page), 300],
  ['sessions of an hour', (d) => listSessions(d, reach, { startedAt: recent }, order('STARTED_AT'), page), 500],
  ['active sessions', (d) => listSessions(d, reach, { status: 'ACTIVE' }, order('STARTED_AT'), page), 500],
  ['newest events', (d) => listEvents(d, reach, null, page), 300],
  ['events of a type', (d) => listEvents(d, reach, { types: ['error'] }, page), 1_500],
  ['events of a user', (d) => listEvents(d, reach, { identities: ['user77'] }, page), 1_500],
  ['events of an hour', (d) => listEvents(d, reach, { occurredAt: recent }, page), 500],
  ['users online', (d) => listPresence(d, reach, { status: 'ONLINE' }, page), 2_000],
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
  sessionId: randomUUID(),
  firstAt: now.getTime(),
  lastAt: now.getTime(),
  events: 1,
  errors: 0,
  beatAt: null,
  beatBefore: null,
  entryId: null,
  exitId: null,
  exitSource: null,
  types: ['log'],
  says: 0,
  dataKeys: [],
  name: null,
  nameAt: 0,
};
const sender = { ipAddress: null, userAgent: null };
const checked = checkEvent(reach, { type: 'log', user: { identity: 'user50' } }, sender, arrivalOf(now));
const event = { ...checked, id: uuidAt(now) } as ReadyEvent;
const someIds = ['user50', 'user51'].map((identity) => userIdOf(projectId, identity));
/** 100 have changed after it, and another two that ran when it was taken. */
const since = { naming: "'here'", since: readSnapshot('101:500:101,102') };
const most = { ...since, most: 1_000, devices: false, pay: async () => {} };
const aWeekAgo = new Date(now.getTime() - 7 * 86_400_000);
const settled = async <Row>(): Promise<Row[]> => [{ settledUntil, askedUntil: settledUntil } as Row];
const usersBy = (field: 'FIRST_SEEN_AT' | 'LAST_SEEN_AT') => ({ field, direction: 'DESC' as const });
const lookups: [string, (database: PrismaDatabase) => Promise<unknown>, number][] = [
  ['presence of some at a moment', (d) => presenceOfAt(d, reach, ['user50', 'user51'], aWeekAgo), 50],
  // Some 85 are online then.
  ['who was online at a moment', (d) => listPresenceAt(d, reach, { status: 'ONLINE' }, page, aWeekAgo), 700],
  ['who was offline at a moment', (d) => listPresenceAt(d, reach, { status: 'OFFLINE' }, page, aWeekAgo), 300],
  ['how many were online at a moment', (d) => countPresenceAt(d, reach, { status: 'ONLINE' }, aWeekAgo), 400],
  ['changes of presence by id', (d) => presenceChangesByIds(d, reach, [randomUUID()]), 50],
  [
    'history of a user',
    (d) => listPresenceHistory(d, reach, { identities: ['user50'], range: { from: aWeekAgo, to: now } }, page),
    250,
  ],
  ['history of all', (d) => listPresenceHistory(d, reach, { identities: null, range: null }, page), 250],
  ['history, counted', (d) => countPresenceHistory(d, reach, { identities: ['user50'], range: null }), 50],
  // A count says 10,000 at most, and reads no more.
  [
    'history of many users, counted',
    (d) =>
      countPresenceHistory(d, reach, {
        identities: Array.from({ length: 5_000 }, (_, at) => `user${at}`),
        range: null,
      }),
    31_000,
  ],
  [
    'how many were online, over hours that are settled',
    (d) => {
      const from = new Date(now.getTime() - 2 * 86_400_000);
      const range = {
        from,
        to: new Date(from.getTime() + 7_200_000),
        interval: 'HOUR' as const,
        timeZone: 'Asia/Tokyo',
      };
      // How far settling is is answered; the figures alone are noted.
      const answered = {
        ...d,
        query: <Row>(one: Statement) => (one.name === 'minutes.settling' ? settled<Row>() : d.query<Row>(one)),
      };
      return readConcurrency(answered, reach, range);
    },
    // The minutes of two days, and the changes of the last hour.
    4_500,
  ],
  [
    'minutes: settle an hour',
    (d) => {
      const hour = { from: settledUntil, until: new Date(settledUntil.getTime() + 3_600_000), horizon: '0' };
      return settleMinutes(
        { query: (one) => (one.name === 'minutes.lock' ? Promise.resolve([]) : d.query(one)) },
        hour,
      );
    },
    1_000,
  ],
  [
    'erasure: changes of presence',
    (d) =>
      eraseChanges(
        { query: (one) => (one.name === 'erase.minutesLock' ? Promise.resolve([]) : d.query(one)) },
        reach,
        user.userId,
        10,
      ),
    150,
  ],
  // The list by last activity reads the live sessions, which are 121 of 70,000, and no more users than the page needs.
  ['users by last activity', (d) => listUsers(d, reach, null, usersBy('LAST_SEEN_AT'), page), 600],
  [
    'users by last activity, the oldest first',
    (d) => listUsers(d, reach, null, { field: 'LAST_SEEN_AT', direction: 'ASC' }, page),
    600,
  ],
  [
    'users online by last activity',
    (d) => listUsers(d, reach, { status: 'ONLINE' }, usersBy('LAST_SEEN_AT'), page),
    900,
  ],
  [
    'users offline by last activity',
    (d) => listUsers(d, reach, { status: 'OFFLINE' }, usersBy('LAST_SEEN_AT'), page),
    900,
  ],
  [
    'users of some days by last activity',
    (d) => listUsers(d, reach, { lastSeenAt: { from: aWeekAgo } }, usersBy('LAST_SEEN_AT'), page),
    600,
  ],
  ['users by their first time', (d) => listUsers(d, reach, null, usersBy('FIRST_SEEN_AT'), page), 300],
  [
    'users online by their first time',
    (d) => listUsers(d, reach, { status: 'ONLINE' }, usersBy('FIRST_SEEN_AT'), page),
    400,
  ],
  [
    'users offline of some days by their first time',
    (d) => listUsers(d, reach, { status: 'OFFLINE', firstSeenAt: { from: aWeekAgo } }, usersBy('FIRST_SEEN_AT'), page),
    400,
  ],
  [
    'users of some identities',
    (d) => listUsers(d, reach, { identities: ['user50', 'user51'] }, usersBy('LAST_SEEN_AT'), page),
    50,
  ],
  ['users with their times', (d) => usersByIdentities(d, reach, ['user50', 'user51']), 50],
  ['data of users', (d) => readUserData(d, reach, ['user50', 'user51']), 50],
  ['sessions before', (d) => previousSessions(d, reach, [sessionId]), 50],
  ['sessions that are the first', (d) => firstSessions(d, reach, [sessionId]), 50],
  ['retention: changes of presence', (d) => deleteOldPresence(d, reach, new Date(0), 5_000), 50],
  ['retention: minutes', (d) => deleteOldMinutes(d, reach, new Date(0), 5_000), 50],
  ['presence of some', (d) => presenceOf(d, reach, ['user50', 'user51']), 50],
  ['presence snapshot of some', (d) => presenceNow(d, { projectId, userIds: someIds }, "'here'"), 50],
  ['presence since, of some', (d) => presenceSince(d, { projectId, userIds: someIds }, most), 50],
  ['presence since', (d) => presenceSince(d, reach, most), 150],
  ['presence since, with devices', (d) => presenceSince(d, reach, { ...most, devices: true }), 160],
  ['edges since', (d) => edgesSince(d, [reach], since, () => {}), 400],
  ['when some were last seen', (d) => lastSeen(d, reach, someIds), 100],
  ['devices of some', (d) => devicesOf(d, reach, ['user50', 'user51']), 50],
  [
    'presence by session',
    (d) =>
      presenceOfSessions(
        d,
        reach,
        [0, 1].map((n) => `00000000-0000-7000-8000-0000000${49_950 + n}`),
      ),
    50,
  ],
  ['presence of the online, from one on', (d) => presenceOfOnline(d, reach, { after: user.userId, limit: 10 }), 100],
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
          session: {
            projectId,
            id: sessionId,
            startedAt: now.getTime() - 20 * 86_400_000,
            lastActivityAt: now.getTime(),
            eventTypes: ['log', 'error'],
          } as WorkingSession,
          times: [now.getTime() - 19 * 86_400_000],
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
      watchedEvents(
        d,
        projectId,
        [uuidAt(now)],
        [
          { reach: { projectId, userIds: [userIdOf(projectId, 'user50')] }, filter: { types: ['x'] } },
          { reach, filter: { sessionIds: [randomUUID()] } },
        ],
      ),
    50,
  ],
  [
    'what watches ask of events',
    (d) => metFilters(d, projectId, [uuidAt(now)], [{ search: 'x', dataContains: { plan: 'pro' } }]),
    50,
  ],
  [
    'ingest: extend, with ids',
    (d) =>
      extendSessions(
        d,
        [extension],
        [{ event, extension: 0 }],
        [{ extension: 0, eventKey: randomUUID(), eventId: event.id }],
        idDays(now.getTime()),
        now,
      ),
    50,
  ],
  ['ingest: extend, heartbeats', (d) => extendSessions(d, [extension], [], [], idDays(now.getTime()), now), 50],
  ['ingest: lock users', (d) => lockUsers(d, [user]), 50],
  [
    'ingest: identity sessions',
    (d) => readIdentitySessions(d, [{ ...user, deviceId: null, at: now.getTime() - 5 * 86_400_000 }]),
    50,
  ],
  [
    'ingest: identity sessions on a device',
    (d) =>
      readIdentitySessions(
        d,
        [null, user.userId].map((userId) => ({ ...shared, userId, at: now.getTime() - 86_400_000 })),
      ),
    50,
  ],
  [
    'ingest: whose sessions on a device are',
    (d) =>
      readDeviceOwners(
        d,
        [0, 1, 2].map((days) => ({ ...shared, at: now.getTime() - days * 86_400_000 })),
      ),
    100,
  ],
  ['ingest: lock devices', (d) => lockDevices(d, [shared]), 50],
  [
    'ingest: extend, by a device alone',
    (d) => extendSessions(d, [{ ...extension, userId: null }], [], [], idDays(now.getTime()), now),
    50,
  ],
  [
    'retention: idle devices',
    (d) => deleteIdleDevices(d, reach, { before: new Date(0), after: 'device-1', limit: 20 }),
    100,
  ],
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
  [
    'keys: revoked lately',
    (d) => keysRevokedAfter(d, { revokedAt: new Date(now.getTime() - 150_000), projectId, id: projectId }, 1_000),
    50,
  ],
  ['audit: list', (d) => listAuditEntries(d, reach, { limit: 20, after: null, before: null, backwards: false }), 50],
  ['descriptions: their event', (d) => describeEvent(d, reach, 'reference-0001', '{}'), 50],
  ['descriptions: beyond what a key may have', (d) => dropBeyond(d, reach, { keyId: randomUUID(), most: 100 }), 200],
  ['descriptions: whose event has come', (d) => takeDescriptions(d, new Date(0), 200), 1_500],
  [
    'presence: flip',
    (d) =>
      flipPresence(d, [{ ...user, sessionId: null, cause: null, lastSeenAt: now.getTime(), isRenamed: true }], now),
    50,
  ],
  ['presence: note devices', (d) => noteDevices(d, [{ ...user, sessionId: randomUUID(), cause: 'STARTED' }], now), 100],
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

test('figures from stored sums: their reads follow from the spans, and not from the number of sessions', async () => {
  const plans: { name: string; nodes: PlanNode[] }[] = [];
  /** Explains each read before it runs. */
  const explained: Database = {
    ...database,
    transaction: (work) =>
      database.transaction((tx) =>
        work({
          async query(statement) {
            if (
              /^(sums|eventSums)\.(ends|marks|size|figures|durations|breakdown|sessions|events|passed|ofDay)/.test(
                statement.name,
              )
            ) {
              const [row] = await tx.query<{ 'QUERY PLAN': [{ Plan: PlanNode }] }>({
                ...statement,
                text: `EXPLAIN (ANALYZE, FORMAT JSON) ${statement.text}`,
              });
              plans.push({ name: statement.name, nodes: nodesOf(row!['QUERY PLAN'][0].Plan) });
            }
            return tx.query(statement);
          },
        }),
      ),
  };
  // Of the events the last days are enough: the sums end before them.
  const midnight = (count: number): Date => new Date((Math.floor(now.getTime() / 86_400_000) - count) * 86_400_000);
  await database.query({
    name: 'test.end',
    text: 'INSERT INTO event_sum_ends (project_id, until) VALUES ($1, $2)',
    values: [projectId, midnight(2)],
  });
  const sums = createSums({ database: explained, clock: { now: () => now }, observe: () => {} });
  await untilOthersEnd(database);
  await sums.runOnce(now);
  await sums.close();
  expect(plans.length).toBeGreaterThan(300);
  // Blocks have some 300 sessions, those of the last days 900; a page of a day's sums has 500.
  for (const { nodes } of plans) {
    expect(sequentialScans(nodes)).toEqual([]);
    expect(rowsRead(nodes)).toBeLessThan(2_500);
  }
  plans.length = 0;
  await database.query({
    name: 'test.analyze',
    text: 'ANALYZE session_sums, session_sum_marks, event_sums, event_sum_marks',
  });
  const days = (count: number): Date => new Date(now.getTime() - count * 86_400_000);
  const range = { from: days(15), to: days(1) };
  const filter = { startedAt: range };
  const totals = await readSummedTotals(explained, reach, filter, 0);
  expect(totals.sessions).toBeGreaterThan(35_000);
  const rowsOfTotals = (): number => rowsRead(plans.findLast(({ name }) => name === 'sums.figures')!.nodes);
  const before = rowsOfTotals();
  await readSummedSeries(explained, reach, filter, { ...range, interval: 'DAY', timeZone: 'Asia/Kolkata' }, 0);
  await readSummedBreakdown(explained, reach, 'BROWSER', filter, 10, 0);
  // An hour is read from the events.
  const lately = { from: midnight(2), to: new Date(midnight(1).getTime() + 13 * 3_600_000) };
  const ofDays = { occurredAt: lately };
  const events = await readSummedEventTotals(explained, reach, ofDays, 0);
  expect(events.total).toBeGreaterThan(60_000);
  const inKolkata = { ...lately, interval: 'HOUR', timeZone: 'Asia/Kolkata' } as const;
  await readSummedEventSeries(explained, reach, ofDays, inKolkata, 0);
  await readSummedEventBreakdown(explained, reach, 'SOURCE', ofDays, 10, 0);
  expect(plans.map(({ name }) => name)).toEqual(
    expect.arrayContaining([
      'sums.figures',
      'sums.breakdown.BROWSER',
      'eventSums.figures',
      'eventSums.breakdown.SOURCE',
    ]),
  );
  for (const { name, nodes } of plans) {
    expect(sequentialScans(nodes)).toEqual([]);
    // The range has 75,000 events, and 2,000 of them are in no sum.
    expect([name, rowsRead(nodes)]).toEqual([name, expect.toSatisfy((rows: number) => rows < 10_000)]);
  }
  // One late change in each of 40 blocks: these sessions alone are read.
  const changed = await database.query({
    name: 'test.change',
    text: `UPDATE sessions s SET error_count = 1 - least(error_count, 1) FROM (
             SELECT DISTINCT ON (session_block(started_at)) id FROM sessions
             WHERE project_id = $1 AND ended_at IS NOT NULL AND started_at >= $2 AND started_at < $3
             ORDER BY session_block(started_at), started_at LIMIT 40
           ) k WHERE s.project_id = $1 AND s.id = k.id RETURNING s.id`,
    values: [projectId, range.from, range.to],
  });
  expect(changed).toHaveLength(40);
  await readSummedTotals(explained, reach, filter, 0);
  expect(rowsOfTotals()).toBeGreaterThan(before);
  expect(rowsOfTotals()).toBeLessThan(before + 40 * 20);
}, 120_000);
