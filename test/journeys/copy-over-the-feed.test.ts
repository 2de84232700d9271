import { afterAll, beforeAll, expect, test } from 'vitest';
import type { Client } from 'graphql-ws';
import { createPresent } from '../../src/demo/present.js';
import { tellPast } from '../../src/demo/past.js';
import type { SentEvent } from '../../src/demo/visits.js';
import { connect, createProject, eventually, listen, post, startTestApp, type TestApp } from '../support/app.js';
import { createTestDatabase, type TestDatabase } from '../support/database.js';

/** A consumer that knows GraphQL alone keeps a copy of all sessions and of who is online, by the feed of changes. */

let db: TestDatabase;
let apps: TestApp[] = [];
let key: string;
beforeAll(async () => {
  db = await createTestDatabase();
  apps = [await startTestApp(db), await startTestApp(db)];
  key = await createProject(apps[0]!.url, { inactivityTimeout: 600, presenceTimeout: 60 });
});
afterAll(async () => {
  await Promise.all(apps.map((app) => app.close('test')));
  await db.drop();
});

const SESSION = 'id startedAt lastActivityAt endedAt endReason eventCount errorCount user { id identity name }';

/** Sessions, presence and events, as the feed tells them. */
function createCopy() {
  const sessions = new Map<string, any>();
  const online = new Map<string, number>();
  /** Of each event: the user that it names, and its session, whose user it is of where it names none. */
  const events = new Map<string, { userId: string | null; sessionId: string | null }>();
  const identities = new Map<string, string>();
  const cursors = new Set<string>();
  return {
    sessions,
    online,
    events,
    cursors,
    take(change: any): void {
      expect(cursors.has(change.cursor)).toBe(false);
      cursors.add(change.cursor);
      if (change.__typename === 'EventChange') {
        const { id, user, session } = change.event;
        events.set(id, { userId: user?.id ?? null, sessionId: session?.id ?? null });
      } else if (change.__typename === 'SessionChange') {
        if (change.kind === 'MERGED') {
          sessions.delete(change.mergedId);
          for (const event of events.values())
            if (event.sessionId === change.mergedId) event.sessionId = change.session.id;
        }
        const { user } = change.session;
        if (user) identities.set(user.id, user.identity);
        sessions.set(change.session.id, change.session);
      } else if (change.__typename === 'PresenceChange') {
        online.set(change.identity, change.onlineSessions);
      } else {
        online.delete(identities.get(change.userId) ?? '');
        const isTheirs = (sessionId: string | null) => sessions.get(sessionId ?? '')?.user?.id === change.userId;
        for (const [id, { userId, sessionId }] of events)
          if (userId === change.userId || isTheirs(sessionId)) events.delete(id);
        for (const id of sessions.keys()) if (isTheirs(id)) sessions.delete(id);
      }
    },
  };
}

async function all(url: string, list: string, fields: string): Promise<any[]> {
  const nodes: any[] = [];
  for (let after: string | null = null; ;) {
    const { data, errors } = await post(
      url,
      key,
      `query ($after: String) { page: ${list.replace(')', ' first: 100, after: $after)')} { nodes { ${fields} } pageInfo { hasNextPage endCursor } } }`,
      { after },
    );
    expect(errors).toBeUndefined();
    nodes.push(...data.page.nodes);
    if (!data.page.pageInfo.hasNextPage) return nodes;
    after = data.page.pageInfo.endCursor;
  }
}

test('after three days of the past and an hour of the present, at speed, the copy is equal to the source', async () => {
  const [one, two] = apps as [TestApp, TestApp];
  const start = await post(two.url, key, '{ changeCursor }');
  const copy = createCopy();
  const CHANGES = `subscription ($after: String) {
    changes(after: $after, filter: { sessionChanges: [STARTED, UPDATED, ENDED, MERGED] }) {
      __typename cursor
      ... on EventChange { event { id user { id } session { id } } }
      ... on SessionChange { kind mergedId session { ${SESSION} } }
      ... on PresenceChange { identity onlineSessions }
      ... on ErasureChange { userId }
    }
  }`;
  let client: Client | null = null;
  let taken = 0;
  let cursor: string = start.data.changeCursor;
  let listening = { heard: [] as any[], errors: [] as unknown[] };
  const take = (): void => {
    for (const change of listening.heard.slice(taken)) {
      copy.take(change);
      ({ cursor } = change);
    }
    taken = listening.heard.length;
  };
  /** Goes away, and comes back at the other server. */
  async function comeBack(at: TestApp): Promise<void> {
    await client?.dispose();
    take();
    expect(listening.errors).toEqual([]);
    client = connect(at.url, key);
    listening = listen(client, CHANGES, { after: cursor });
    taken = 0;
  }
  await comeBack(two);

  const INGEST = 'mutation ($events: [EventInput!]!) { ingestEvents(events: $events) { rejected } }';
  const send = async (events: readonly SentEvent[]): Promise<void> => {
    for (let at = 0; at < events.length; at += 100) {
      const { data } = await post(apps[at % 2]!.url, key, INGEST, { events: events.slice(at, at + 100) });
      expect(data.ingestEvents.rejected).toBe(0);
    }
  };
  const now = Date.now();
  const past = tellPast(now, 80);
  await send(past.events);
  await comeBack(one);
  let time = now - 3_600_000;
  const at = (): string => new Date(time).toISOString();
  /** What the visitors of one step say is sent together. */
  const said: SentEvent[] = [];
  const say = async (events: readonly SentEvent[]): Promise<void> =>
    void said.push(...events.map((event) => ({ ...event, occurredAt: at() })));
  const present = createPresent({ send: say }, past.people);
  for (; time < now; time += 30_000) {
    await present.step(time);
    await send(said.splice(0));
    if ((time - now) % 1_200_000 === 0) await comeBack((time - now) % 2_400_000 === 0 ? one : two);
  }
  for (const { identity } of past.people.slice(0, 3)) {
    await post(one.url, key, 'mutation ($identity: String!) { eraseUser(identity: $identity) { cursor } }', {
      identity,
    });
  }
  await comeBack(two);

  const byId = (rows: Iterable<any>): any[] => [...rows].toSorted((a, b) => (a.id < b.id ? -1 : 1));
  const isEqual = async (): Promise<boolean> => {
    take();
    const [sessions, users] = [
      await all(one.url, 'sessions()', SESSION),
      await all(one.url, 'presence(status: null)', 'identity onlineSessions'),
    ];
    const online = users.filter(({ onlineSessions }) => onlineSessions > 0).map(({ identity }) => identity as string);
    const known = [...copy.online].filter(([, count]) => count > 0).map(([identity]) => identity);
    return (
      JSON.stringify(byId(sessions)) === JSON.stringify(byId(copy.sessions.values())) &&
      JSON.stringify(online.toSorted()) === JSON.stringify(known.toSorted())
    );
  };
  await eventually(isEqual, 30_000);
  const events = await all(one.url, 'events()', 'id');
  expect([...copy.events.keys()].toSorted()).toEqual(events.map(({ id }) => id as string).toSorted());
  expect(copy.sessions.size).toBeGreaterThan(100);
  expect(copy.cursors.size).toBeGreaterThan(500);
  await (client as Client | null)?.dispose();
}, 180_000);
