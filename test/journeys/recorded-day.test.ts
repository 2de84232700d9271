import { afterAll, beforeAll, expect, test } from 'vitest';
import { connect, listen, OPERATOR_KEY, post, type Listening } from '../support/app.js';
import { createTestDatabase, type TestDatabase } from '../support/database.js';
import { startServer, type ServerProcess } from '../support/server.js';
import { redisUrl } from '../support/redis.js';
import { figuresOf, recordDay } from './day.js';

/** Sends a recorded day to two servers, and compares their answers with the day's own figures. */

let db: TestDatabase;
let servers: ServerProcess[] = [];
let key: string;
beforeAll(async () => {
  db = await createTestDatabase();
  const env = { DATABASE_URL: db.url, REDIS_URL: redisUrl(), OPERATOR_KEY, LOG_LEVEL: 'warn' };
  servers = await Promise.all([startServer(env), startServer(env)]);
  const made = await post(servers[0]!.url, OPERATOR_KEY, 'mutation { createProject(name: "The day") { key } }');
  key = made.data.createProject.key;
});
afterAll(async () => {
  await Promise.all(servers.map((server) => server.stop()));
  await db.drop();
});

const ask = async (query: string, variables?: Record<string, unknown>) => {
  const { data, errors } = await post(servers[1]!.url, key, query, variables);
  expect(errors).toBeUndefined();
  return data;
};

const PRESENCE = 'subscription { userPresence { kind users { identity name status onlineSessions } } }';

/** What a front end knows after these messages: who is there, with how many sessions. */
function known({ heard }: Listening): Map<string, number> {
  const state = new Map<string, number>();
  for (const { kind, users } of heard) {
    if (kind === 'SNAPSHOT') state.clear();
    for (const { identity, status, onlineSessions } of users) {
      if (status === 'ONLINE') state.set(identity, onlineSessions);
      else state.delete(identity);
    }
  }
  return state;
}

test('a day of 240 people: sessions, statistics and presence agree with what was recorded', async () => {
  const day = recordDay(Date.now());
  const figures = figuresOf(day);
  const watchers = servers.map(({ url }) => listen(connect(url, key), PRESENCE));
  await Promise.all(watchers.map((watcher) => watcher.until((heard) => heard.length > 0)));

  // The recorded heartbeats come a day late: by default they would be too old to open anything (rule 18).
  await ask('mutation { updateProject(settings: { presenceTimeout: 86400 }) { id } }', {});

  // Four senders at once, over both servers, each with people of its own: what one person does arrives in the recorded order.
  const counts = { ACCEPTED: 0, DISCARDED: 0, DUPLICATE: 0, REJECTED: 0 };
  const senderOf = ({ user }: { user: { identity: string } }): number => Number(/\d+/.exec(user.identity)![0]) % 4;
  const sender = async (own: number): Promise<void> => {
    for (const [at, request] of day.requests.entries()) {
      const events = request.filter((event) => senderOf(event) === own);
      if (events.length === 0) continue;
      const { data } = await post(
        servers[(own + at) % 2]!.url,
        key,
        'mutation ($events: [EventInput!]!) { ingestEvents(events: $events) { results { status code } } }',
        { events },
      );
      for (const { status } of data.ingestEvents.results as { status: keyof typeof counts }[]) counts[status] += 1;
    }
  };
  const start = performance.now();
  await Promise.all([0, 1, 2, 3].map(sender));
  const sent = day.requests.flat().length;
  console.log(
    `sent ${sent} events of ${figures.users} people in ${day.requests.length} requests in ${Math.round(performance.now() - start)} ms:`,
    counts,
  );
  expect(figures.users).toBeGreaterThanOrEqual(200);
  expect(sent).toBeGreaterThanOrEqual(5_000);
  expect(counts).toEqual({ ACCEPTED: day.stored, DISCARDED: day.heartbeats, DUPLICATE: day.repeats, REJECTED: 0 });

  await ask('mutation { updateProject(settings: { presenceTimeout: 75 }) { id } }', {});
  const { sessionStats, sessions, events, presence } = await ask(
    `query ($filter: SessionFilter) {
      sessionStats(filter: $filter, interval: HOUR) {
        totals { sessions users averageDuration medianDuration p95Duration sessionsWithErrors } series { at sessions users } }
      sessions { totalCount } events { totalCount }
      presence(first: 100) { totalCount nodes { identity status onlineSessions } } }`,
    { filter: { startedAt: { from: new Date(day.now - 24 * 3_600_000).toISOString() } } },
  );
  const { hours, there, averageDuration, medianDuration, p95Duration, ...exact } = figures;
  expect(sessionStats.totals).toMatchObject(exact);
  expect(sessionStats.totals.averageDuration).toBeCloseTo(averageDuration, 3);
  expect(sessionStats.totals.medianDuration).toBeCloseTo(medianDuration, 3);
  expect(sessionStats.totals.p95Duration).toBeCloseTo(p95Duration, 3);
  expect(sessions.totalCount).toBe(day.visits.length);
  expect(events.totalCount).toBe(day.stored);
  for (const point of sessionStats.series) {
    const hour = hours.get(Date.parse(point.at));
    expect([point.at, point.sessions, point.users]).toEqual([point.at, hour?.sessions ?? 0, hour?.users.size ?? 0]);
  }

  // Every visit, one by one.
  const found: any[] = [];
  for (let after: string | null = null, more = true; more;) {
    const page: any = await ask(
      `query ($after: String) { sessions(first: 100, after: $after, orderBy: { direction: ASC }) {
        nodes { key user { identity name } startedAt lastActivityAt eventCount errorCount status endReason browser { name }
                events(first: 1, filter: { types: ["page view"] }) { totalCount } }
        pageInfo { hasNextPage endCursor } } }`,
      { after },
    );
    found.push(...page.sessions.nodes);
    ({ endCursor: after, hasNextPage: more } = page.sessions.pageInfo);
  }
  const line = (parts: unknown[]): string => parts.join(' ');
  const seen = found.map((session) =>
    line([
      session.user.identity,
      session.key,
      session.startedAt,
      session.lastActivityAt,
      session.eventCount,
      session.errorCount,
      session.events.totalCount,
    ]),
  );
  const expected = day.visits.map((visit) =>
    line([
      visit.identity,
      visit.key,
      new Date(visit.start).toISOString(),
      new Date(visit.last).toISOString(),
      visit.events,
      visit.errors,
      visit.pageViews,
    ]),
  );
  expect(seen.toSorted()).toEqual(expected.toSorted());
  const left = day.visits.filter(({ ending }) => ending === 'left').length;
  expect(found.filter(({ endReason }) => endReason === 'CLIENT')).toHaveLength(left);
  expect(found.every(({ user }) => user.name.startsWith('Person '))).toBe(true);

  // Who is there, asked and watched.
  expect(presence.totalCount).toBe(there.size);
  expect(new Map(presence.nodes.map((node: any) => [node.identity, node.onlineSessions]))).toEqual(there);
  for (const watcher of watchers) {
    await watcher.until(() => [...there].every(([identity, sessions]) => known(watcher).get(identity) === sessions));
    expect(new Map([...known(watcher)].toSorted())).toEqual(new Map([...there].toSorted()));
  }

  // They leave one after the other: offline with the last device.
  const leaving = day.visits.filter(({ ending }) => ending === 'there');
  await Promise.all(
    leaving.map((visit, at) =>
      post(
        servers[at % 2]!.url,
        key,
        'mutation ($events: [EventInput!]!) { ingestEvents(events: $events) { accepted } }',
        {
          events: [
            { type: 'sessionend', user: { identity: visit.identity }, ...(visit.key ? { sessionKey: visit.key } : {}) },
          ],
        },
      ),
    ),
  );
  for (const watcher of watchers) {
    await watcher.until(() => known(watcher).size === 0);
    // Every update changes a number or a name, and each user's last one is that nobody is there.
    const shown = new Map<string, string>();
    for (const { kind, users } of watcher.heard) {
      if (kind === 'SNAPSHOT') shown.clear();
      for (const { identity, name, onlineSessions } of users) {
        const now = JSON.stringify([onlineSessions, name]);
        if (kind === 'DIFF') expect(shown.get(identity)).not.toBe(now);
        shown.set(identity, now);
      }
    }
    expect([...shown.values()].filter((now) => !now.startsWith('[0,'))).toEqual([]);
    watcher.stop();
  }
}, 120_000);
