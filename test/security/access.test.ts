import { generateKeyPair, SignJWT, UnsecuredJWT } from 'jose';
import { createClient as createSseClient } from 'graphql-sse';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import WebSocket from 'ws';
import { SCOPES, type Scope } from '../../src/domain/access.js';
import { schema } from '../../src/schema/schema.js';
import type { Need } from '../../src/schema/scopes.js';
import {
  collect,
  connect,
  eventually,
  listen,
  OPERATOR_KEY,
  post,
  startTestApp,
  type Answer,
  type TestApp,
} from '../support/app.js';
import { createTestDatabase, type TestDatabase } from '../support/database.js';
import { record } from '../support/ledger.js';
import { startServer } from '../support/server.js';
import { createTenant, stateOf, uuidIn, type Tenant } from '../support/tenant.js';
import { untilReadable } from '../support/webhooks.js';
import {
  documentOf,
  fieldsWithArguments,
  guardedFields,
  rootFields,
  waysOf,
  wholeDocument,
  type RootField,
} from '../support/whole-selection.js';
import type { Database } from '../../src/store/database.js';

/** Nobody comes in, and nobody sees or changes what is not theirs, by any field of the schema. */

const TOKEN_SECRET = 'the-secret-that-signs-tokens-in-this-test';

type Variables = Record<string, unknown>;

/** What a root field needs, and how it is asked for the things of a project: every argument, in every set. */
interface Entry {
  readonly need: Need;
  readonly asks: (of: Tenant) => Variables[];
  /** Its own project's answer holds the secret: so a stranger's answer without it says something. */
  readonly tells: boolean;
}

const PAGE = { first: 20, after: null, last: null, before: null };
/** For a list whose whole selection has two lists below: a longer page would be too complex. */
const ONE = { ...PAGE, first: 1 };
const sessionFilter = (of: Tenant) => ({ identities: [of.identity], search: of.identity });
const eventFilter = (of: Tenant) => ({
  identities: [of.identity],
  sessionIds: [of.sessionId],
  referenceId: of.referenceId,
});
/** The lists further down, by their filter's type. */
const FILTERS = {
  SessionFilter: (of: Tenant) => ({ identities: [of.identity] }),
  EventFilter: (of: Tenant) => ({ identities: [of.identity], sessionIds: [of.sessionId, of.namedSessionId] }),
};

/** Within the life of this test's projects. */
const A_MOMENT_AGO = new Date(Date.now() - 60_000).toISOString();

/** One for every field of Query, Mutation and Subscription: a new field needs a line here. */
const ROOTS: Record<string, Entry> = {
  'Query.concurrency': {
    need: ['READ'],
    asks: () => [
      { range: {}, interval: 'HOUR', timeZone: 'UTC' },
      { range: { from: A_MOMENT_AGO }, interval: 'MINUTE', timeZone: 'Asia/Tokyo' },
    ],
    tells: false,
  },
  'Query.changeCursor': { need: ['READ'], asks: () => [{}], tells: false },
  'Query.changes': {
    need: ['READ'],
    asks: (of) => [
      { after: null, first: 1, filter: null },
      { after: null, first: 1, filter: { identities: [of.identity], events: eventFilter(of) } },
      { after: null, first: 1, filter: { kinds: ['EVENT'], events: { search: of.secret } } },
      { after: of.changeCursor, first: 1, filter: null },
    ],
    tells: true,
  },
  'Query.event': {
    need: ['READ'],
    asks: (of) => [{ id: of.eventId }, { id: uuidIn(of.eventId) }],
    tells: true,
  },
  'Query.events': {
    need: ['READ'],
    asks: (of) => [
      { ...PAGE, filter: null },
      { ...PAGE, filter: eventFilter(of) },
      { ...PAGE, filter: { dataContains: { plan: of.secret }, search: of.secret } },
      { ...PAGE, filter: null, before: of.eventCursor },
      { ...PAGE, first: null, last: 20, filter: null, after: of.eventCursor },
    ],
    tells: true,
  },
  'Query.node': {
    need: ['READ'],
    asks: (of) =>
      [
        of.eventId,
        of.sessionId,
        of.namedSessionId,
        of.projectId,
        of.keyId,
        of.presenceChangeId,
        of.webhookId,
        of.userId,
        of.presenceId,
        of.auditEntryId,
      ].map((id) => ({ id })),
    tells: true,
  },
  'Query.presence': {
    need: ['PRESENCE', 'READ'],
    asks: (of) => [
      { ...ONE, at: null, identities: [of.identity], status: 'ONLINE' },
      { ...ONE, at: null, identities: null, status: null },
      { ...ONE, at: null, identities: null, status: null, before: of.presenceCursor },
      { ...ONE, at: A_MOMENT_AGO, identities: [of.identity], status: null },
      { ...ONE, at: A_MOMENT_AGO, identities: null, status: 'ONLINE' },
      { ...ONE, at: A_MOMENT_AGO, identities: null, status: null },
    ],
    tells: true,
  },
  'Query.presenceHistory': {
    need: ['READ'],
    asks: (of) => [
      { ...ONE, identities: null, range: null },
      { ...ONE, identities: [of.identity], range: { from: A_MOMENT_AGO, to: null } },
      { ...ONE, identities: null, range: null, before: of.historyCursor },
      { ...ONE, first: null, last: 1, identities: null, range: null, after: of.historyCursor },
    ],
    tells: true,
  },
  'Query.project': { need: 'ANY_KEY', asks: () => [{}], tells: true },
  'Query.projects': { need: ['OPERATOR'], asks: () => [PAGE], tells: true },
  'Query.session': {
    need: ['READ'],
    asks: (of) => [{ id: of.sessionId }, { id: of.namedSessionId }, { id: uuidIn(of.sessionId) }],
    tells: true,
  },
  'Query.sessionStats': {
    need: ['READ'],
    asks: (of) => [
      { filter: null, interval: 'HOUR', timeZone: 'UTC' },
      { filter: sessionFilter(of), interval: 'DAY', timeZone: 'Asia/Tokyo' },
    ],
    tells: false,
  },
  'Query.eventStats': {
    need: ['READ'],
    asks: (of) => [
      { filter: null, interval: 'HOUR', timeZone: 'UTC' },
      { filter: eventFilter(of), interval: 'DAY', timeZone: 'Asia/Tokyo' },
    ],
    tells: false,
  },
  'Query.sessionBreakdown': {
    need: ['READ'],
    asks: (of) => [
      { by: 'VERSION', filter: null, first: 10 },
      { by: 'ENTRY_SOURCE', filter: null, first: 10 },
      { by: 'EXIT_SOURCE', filter: null, first: 10 },
      { by: 'VERSION', filter: sessionFilter(of), first: 10 },
    ],
    tells: true,
  },
  'Query.eventBreakdown': {
    need: ['READ'],
    asks: (of) => [
      ...['SOURCE', 'MESSAGE', 'TAG', 'VERSION'].map((by) => ({ by, filter: null, first: 10 })),
      { by: 'MESSAGE', filter: eventFilter(of), first: 10 },
    ],
    tells: true,
  },
  'Query.sessions': {
    need: ['READ'],
    asks: (of) => [
      { ...PAGE, filter: null, orderBy: null },
      { ...PAGE, filter: sessionFilter(of), orderBy: { field: 'DURATION' } },
      { ...PAGE, filter: { dataContains: { plan: of.secret } }, orderBy: null },
      { ...PAGE, filter: { versions: [of.secret], ipAddresses: ['203.0.113.7'] }, orderBy: null },
      { ...PAGE, filter: null, orderBy: null, before: of.sessionCursor },
      { ...PAGE, first: null, last: 20, filter: null, orderBy: null, after: of.sessionCursor },
    ],
    tells: true,
  },
  'Query.users': {
    need: ['READ'],
    asks: (of) => [
      { ...ONE, filter: null, orderBy: null },
      { ...ONE, filter: { identities: [of.identity], search: of.identity }, orderBy: { field: 'FIRST_SEEN_AT' } },
      { ...ONE, filter: { dataContains: { mail: of.secret } }, orderBy: null },
      { ...ONE, filter: { sessions: { dataContains: { plan: of.secret } } }, orderBy: null },
      { ...ONE, filter: { search: of.secret, status: 'ONLINE' }, orderBy: null },
      { ...ONE, filter: null, orderBy: null, before: of.userCursor },
      { ...ONE, first: null, last: 1, filter: null, orderBy: null, after: of.userCursor },
    ],
    tells: true,
  },
  'Query.webhookProblems': {
    need: ['MANAGE'],
    asks: () => [{ query: 'subscription { changes { cursor } }', variables: null }],
    tells: false,
  },
  'Query.user': { need: ['READ'], asks: (of) => [{ identity: of.identity }], tells: true },
  'Mutation.createAccessToken': {
    need: ['MANAGE'],
    asks: (of) => [{ scopes: ['READ'], identities: [of.identity], expiresIn: 60 }],
    tells: false,
  },
  'Mutation.createApiKey': {
    need: ['MANAGE', 'OPERATOR'],
    asks: (of) => [{ name: 'made', scopes: ['READ'], projectId: of.projectId }],
    tells: false,
  },
  'Mutation.createProject': { need: ['OPERATOR'], asks: () => [{ name: 'made', settings: null }], tells: false },
  'Mutation.createWebhook': {
    need: ['MANAGE'],
    asks: () => [
      {
        url: 'https://localhost/made',
        query: 'subscription { changes { cursor } }',
        variables: null,
        name: 'made',
        after: null,
      },
    ],
    tells: false,
  },
  'Mutation.deleteWebhook': { need: ['MANAGE'], asks: (of) => [{ id: of.webhookId }], tells: false },
  'Mutation.eraseUser': { need: ['MANAGE'], asks: (of) => [{ identity: of.identity }], tells: false },
  'Mutation.ingestEvents': {
    need: ['INGEST'],
    asks: (of) => [
      {
        events: [
          { sessionKey: of.sessionKey, message: 'a stranger' },
          { sessionKey: of.sessionKey, type: 'sessionend' },
          { user: { identity: of.identity, name: 'a stranger' } },
          { user: { identity: of.identity }, type: 'sessionend' },
        ],
        sentAt: new Date().toISOString(),
      },
    ],
    tells: false,
  },
  'Mutation.recordHeartbeat': {
    need: ['INGEST'],
    asks: (of) => [
      { input: { identity: of.identity, close: true } },
      { input: { sessionKey: of.sessionKey, close: true } },
    ],
    tells: true,
  },
  'Mutation.revokeApiKey': {
    need: ['MANAGE'],
    asks: (of) => [{ id: of.keyId }, { id: uuidIn(of.keyId) }],
    tells: true,
  },
  'Mutation.rotateWebhookSecret': { need: ['MANAGE'], asks: (of) => [{ id: of.webhookId }], tells: true },
  'Mutation.setClientSettings': {
    need: ['MANAGE'],
    asks: (of) => [{ settings: [{ key: `@@${of.identity}`, value: 'a stranger' }] }],
    tells: true,
  },
  'Mutation.setPresence': {
    need: ['INGEST'],
    asks: (of) => [
      { input: { identity: of.identity, close: true }, state: { page: 'a stranger' }, away: true },
      { input: { sessionKey: of.sessionKey, close: true }, state: null, away: false },
    ],
    tells: true,
  },
  'Mutation.testWebhook': { need: ['MANAGE'], asks: (of) => [{ id: of.webhookId }], tells: false },
  'Mutation.updateProject': {
    need: ['MANAGE'],
    asks: () => [{ name: null, settings: { presenceTimeout: 74 } }],
    tells: true,
  },
  'Mutation.updateWebhook': {
    need: ['MANAGE'],
    asks: (of) => [
      { id: of.webhookId, url: null, query: null, variables: null, name: 'a stranger', enabled: null, after: null },
      { id: uuidIn(of.webhookId), url: null, query: null, variables: null, name: null, enabled: false, after: null },
    ],
    tells: true,
  },
  'Subscription.changes': {
    need: ['READ'],
    asks: (of) => [
      { after: null, filter: null },
      { after: null, filter: { identities: [of.identity] } },
      { after: of.changeCursor, filter: { kinds: ['SESSION'], sessionChanges: ['UPDATED', 'ENDED'] } },
    ],
    tells: true,
  },
  'Subscription.eventIngested': {
    need: ['READ'],
    asks: (of) => [
      { filter: null },
      { filter: { identities: [of.identity] } },
      { filter: { sessionIds: [of.sessionId, of.namedSessionId] } },
    ],
    tells: true,
  },
  'Subscription.onlineCount': { need: ['PRESENCE', 'READ'], asks: () => [{}], tells: false },
  'Subscription.sessionChanged': {
    need: ['READ'],
    asks: (of) => [
      { identities: null, sessionIds: null, kinds: null, after: null },
      { identities: [of.identity], sessionIds: null, kinds: null, after: null },
      { identities: null, sessionIds: [of.sessionId, of.namedSessionId], kinds: null, after: null },
    ],
    tells: true,
  },
  'Subscription.userPresence': {
    need: ['PRESENCE', 'READ'],
    asks: (of) => [
      { identities: null, after: null },
      { identities: [of.identity], after: null },
    ],
    tells: true,
  },
};

/** Fields below the roots that need more than their root does. */
const GUARDED: Record<string, Need> = {
  'Project.settings': ['READ', 'MANAGE', 'OPERATOR'],
  'Project.clientSettings': ['READ', 'MANAGE', 'OPERATOR'],
  'Project.createdAt': ['READ', 'MANAGE', 'OPERATOR'],
  'Project.apiKeys': ['MANAGE', 'OPERATOR'],
  'Project.auditLog': ['MANAGE', 'OPERATOR'],
  'Project.webhooks': ['MANAGE'],
  'HeartbeatPayload.session': ['READ'],
  'UserPresence.user': ['READ'],
};

/**
 * Every field that a key of one scope can see, below the roots that are open to it (ROOTS): a whole type by its name, else the
 * field. It is what SECURITY.md says of the scopes that ship in pages; a new field that comes into their sight fails here.
 */
const SEES: Record<'INGEST' | 'PRESENCE', readonly string[]> = {
  INGEST: [
    'Project.id',
    'Project.name',
    'IngestPayload.accepted',
    'IngestPayload.discarded',
    'IngestPayload.duplicates',
    'IngestPayload.rejected',
    'IngestPayload.results',
    'IngestResult.index',
    'IngestResult.status',
    'IngestResult.eventId',
    'IngestResult.sessionId',
    'IngestResult.code',
    'IngestResult.message',
    'HeartbeatPayload.acknowledged',
  ],
  PRESENCE: [
    'Project.id',
    'Project.name',
    'UserPresence.id',
    'UserPresence.identity',
    'UserPresence.name',
    'UserPresence.status',
    'UserPresence.since',
    'UserPresence.lastSeenAt',
    'UserPresence.onlineSessions',
    'UserPresence.devices',
    'PresenceDevice.sessionId',
    'PresenceDevice.key',
    'PresenceDevice.since',
    'PresenceDevice.browser',
    'PresenceDevice.os',
    'PresenceDevice.device',
    'PresenceDevice.state',
    'PresenceDevice.away',
    'PresenceUpdate.kind',
    'PresenceUpdate.users',
    'PresenceUpdate.at',
    'PresenceUpdate.cursor',
    'PresenceUpdate.hasMore',
    'UserPresenceConnection.edges',
    'UserPresenceConnection.nodes',
    'UserPresenceConnection.pageInfo',
    'UserPresenceConnection.totalCount',
    'UserPresenceEdge.cursor',
    'UserPresenceEdge.node',
    'PageInfo.hasNextPage',
    'PageInfo.hasPreviousPage',
    'PageInfo.startCursor',
    'PageInfo.endCursor',
  ],
};
/** Of these the walk gives the filter alone: the others only choose among what the filter lets through. */
const LISTS = [
  'Project.auditLog(after, before, first, last)',
  'Session.events(after, before, filter, first, last)',
  'User.events(after, before, filter, first, last)',
  'User.sessions(after, before, filter, first, last)',
  'Webhook.deliveries(after, before, first, last)',
];

const roots = rootFields(schema);
const queries = roots.filter(({ operation }) => operation === 'query');
const mutations = roots.filter(({ operation }) => operation === 'mutation');
const subscriptions = roots.filter(({ operation }) => operation === 'subscription');
const nothing: ReadonlySet<string> = new Set();
const guarded = new Set(Object.keys(GUARDED));
const isOperators = (name: string): boolean => String(ROOTS[name]!.need) === 'OPERATOR';

const codeOf = ({ errors }: { errors?: readonly unknown[] | undefined }): unknown =>
  (errors?.[0] as { extensions?: { code?: unknown } } | undefined)?.extensions?.code;

let db: TestDatabase;
let app: TestApp;
let database: Database;
let ours: Tenant;
let theirs: Tenant;
let attempts = 0;

beforeAll(async () => {
  db = await createTestDatabase();
  app = await startTestApp(db, { TOKEN_SECRET });
  database = db.open();
  [ours, theirs] = [await createTenant(app.url), await createTenant(app.url)];
  // A webhook that was stopped may have had a run under way. When that is over, it writes so into the row.
  const running = {
    name: 'test.running',
    text: `SELECT FROM webhooks WHERE lease IS NOT NULL OR (revoked_lease IS NOT NULL AND due_at > now())`,
  };
  await eventually(async () => (await database.query(running)).length === 0, 30_000);
  // A transaction of another test may hold the feed back.
  await untilReadable(database);
});
afterAll(async () => {
  record('attempts to get in', attempts);
  await app.close('test');
  await db.drop();
});

/** A root field as somebody asks it, over HTTP; a subscription over server-sent events. */
async function ask(
  key: string | null,
  { operation, ...root }: RootField,
  variables: Variables,
  document?: string,
): Promise<Answer> {
  attempts += 1;
  const text = document ?? wholeDocument(schema, { operation, ...root }, guarded);
  const accept: Record<string, string> = operation === 'subscription' ? { Accept: 'text/event-stream' } : {};
  return post(app.url, key, text, variables, { headers: accept });
}

const INGEST =
  'mutation ($events: [EventInput!]!) { ingestEvents(events: $events) { results { status eventId sessionId } } }';
const send = (key: string, events: Record<string, unknown>[]) => post(app.url, key, INGEST, { events });

async function keyWith(of: Tenant, scopes: readonly Scope[]): Promise<{ key: string; id: string }> {
  const { data } = await post(
    app.url,
    of.key,
    'mutation ($scopes: [Scope!]!) { createApiKey(name: "made", scopes: $scopes) { key apiKey { id } } }',
    { scopes },
  );
  return { key: data.createApiKey.key, id: data.createApiKey.apiKey.id };
}

async function tokenOf(of: Tenant, args: Variables): Promise<string> {
  const { data, text } = await post(
    app.url,
    of.key,
    'mutation ($scopes: [Scope!]!, $identities: [String!], $expiresIn: Int!) { createAccessToken(scopes: $scopes, identities: $identities, expiresIn: $expiresIn) { token } }',
    { expiresIn: 3600, ...args },
  );
  if (!data) throw new Error(text);
  return data.createAccessToken.token;
}

const revoke = (of: Tenant, id: string) =>
  post(app.url, of.key, 'mutation ($id: ID!) { revokeApiKey(id: $id) { id } }', { id });

/** Of all sets of variables of all subscriptions, in order, those by which somebody hears of everybody, and who it is. */
const unfilteredPlaces = (): number[] =>
  subscriptions
    .flatMap(({ name }) => ROOTS[name]!.asks(ours).map((_variables, at) => at === 0 && ROOTS[name]!.tells))
    .flatMap((isUnfiltered, place) => (isUnfiltered ? [place] : []));

/** Nothing of that project in it: no secret, no id. */
function expectNothingOf(tenant: Tenant, text: string): void {
  for (const marker of [
    tenant.secret,
    ...tenant.uuids,
    ...tenant.uuids.map((id) => Buffer.from(id).toString('base64').slice(0, 40)),
  ]) {
    expect(text).not.toContain(marker);
  }
}

describe('the table is whole', () => {
  test('every root field has an entry, and every set of variables every argument', () => {
    expect(roots.map(({ name }) => name).sort()).toEqual(Object.keys(ROOTS).sort());
    for (const { name, field } of roots) {
      for (const variables of ROOTS[name]!.asks(ours)) {
        expect([name, Object.keys(variables).sort()]).toEqual([name, field.args.map((arg) => arg.name).sort()]);
      }
    }
  });

  test('every field with a need of its own, and every list with arguments, is known here', () => {
    expect(guardedFields(schema)).toEqual(GUARDED);
    expect(fieldsWithArguments(schema).sort()).toEqual(LISTS);
  });
});

describe('without a good credential', () => {
  test.each(roots)('$name is closed to no key, wrong keys and revoked ones, over HTTP and WebSocket', async (root) => {
    const revoked = await keyWith(ours, SCOPES);
    await revoke(ours, revoked.id);
    const wrong = [
      null,
      `${ours.key.slice(0, -1)}${ours.key.endsWith('x') ? 'y' : 'x'}`,
      revoked.key,
      'fs_',
      uuidIn(ours.keyId),
      'undefined',
    ];
    const before = await stateOf(database, ours.projectId);
    for (const key of wrong) {
      for (const variables of ROOTS[root.name]!.asks(ours)) {
        const answer = await ask(key, root, variables);
        expect([answer.status, codeOf(answer), answer.data]).toEqual([401, 'UNAUTHENTICATED', undefined]);
        expectNothingOf(ours, answer.text);
      }
    }
    const client = connect(app.url, revoked.key);
    const asked = listen(client, wholeDocument(schema, root, guarded), ROOTS[root.name]!.asks(ours)[0]);
    await asked.ended;
    expect([asked.heard, (asked.errors[0] as { code: number }).code]).toEqual([[], 4401]);
    expect(await stateOf(database, ours.projectId)).toBe(before);
  });
});

describe('with one scope alone', () => {
  const keys = new Map<string, string>();
  let own: Tenant;
  beforeAll(async () => {
    own = await createTenant(app.url);
    for (const scope of SCOPES) keys.set(scope, (await keyWith(own, [scope])).key);
    keys.set('OPERATOR', OPERATOR_KEY);
  });
  const isMet = (need: Need, by: string): boolean => {
    if (need === 'ANY_KEY') return by !== 'OPERATOR';
    return need.includes(by as Scope | 'OPERATOR');
  };

  test.each(Object.entries(SEES))('%s sees these fields, and no other', (scope, fields) => {
    const below = waysOf(schema, roots, (need) => isMet(need, scope)).filter(({ steps }) => steps.length > 0);
    expect(below.map(({ name }) => name).sort()).toEqual(fields.toSorted());
  });

  test('READ changes nothing, and MANAGE alone reads no session', () => {
    const seen = (scope: string) => waysOf(schema, roots, (need) => isMet(need, scope)).map(({ name }) => name);
    expect(seen('READ').filter((name) => name.startsWith('Mutation.'))).toEqual([]);
    expect(seen('MANAGE').filter((name) => /^(Session|Event|User|UserPresence|SessionStats)\./.test(name))).toEqual([]);
    expect(seen('OPERATOR').filter((name) => /^(Session|Event|User|UserPresence|SessionStats)\./.test(name))).toEqual(
      [],
    );
  });

  // Those that leave what the others ask for; `node` has a test of its own, since what it answers is one kind of thing.
  const harmless = [
    ...queries.filter(({ name }) => name !== 'Query.node'),
    ...mutations.filter(({ name }) => String(ROOTS[name]!.need) === 'INGEST'),
  ];
  const everything = waysOf(schema, harmless, () => true);
  const types = [...new Set(everything.map(({ name }) => name.split('.')[0]!))];
  test.each(types)('each field of %s answers the scopes that it needs, and refuses every other', async (type) => {
    for (const way of everything.filter(({ name }) => name.startsWith(`${type}.`))) {
      const document = documentOf(schema, way);
      const answers = [...keys].map(async ([scope, key]) => {
        const { errors = [] } = await ask(key, way.root, ROOTS[way.root.name]!.asks(own)[0]!, document);
        return [scope, errors.map(({ extensions }) => extensions['code'])];
      });
      const expected = [...keys.keys()].map((scope) => [
        scope,
        way.needs.every((need) => isMet(need, scope)) ? [] : ['FORBIDDEN'],
      ]);
      expect([document, await Promise.all(answers)]).toEqual([document, expected]);
    }
  });

  // A stranger's ids, so that what may be asked finds nothing to harm.
  test.each([...queries, ...mutations])('$name is open to the scopes it needs, and to no other', async (root) => {
    const { need, asks } = ROOTS[root.name]!;
    for (const [scope, key] of keys) {
      const answer = await ask(key, root, asks(theirs)[0]!);
      const refused = codeOf(answer) === 'FORBIDDEN';
      expect([root.name, scope, !refused]).toEqual([root.name, scope, isMet(need, scope)]);
      expect(['UNAUTHENTICATED', 'INTERNAL']).not.toContain(codeOf(answer));
      if (!refused) continue;
      expect(answer.data?.[root.field.name] ?? null).toBeNull();
      expect(answer.errors![0]!.extensions['requiredScopes']).toEqual(need === 'ANY_KEY' ? [] : need);
    }
  });

  test.each(subscriptions)('$name is open to the scopes it needs, and to no other', async (root) => {
    const { need, asks } = ROOTS[root.name]!;
    const document = wholeDocument(schema, root, guarded);
    for (const [scope, key] of keys) {
      attempts += 1;
      if (!isMet(need, scope)) {
        for (const answer of [await ask(key, root, asks(theirs)[0]!, document)])
          expect(answer.text).toContain('FORBIDDEN');
      }
      const client = connect(app.url, key);
      const heard = listen(client, document, asks(theirs)[0]);
      // A query behind it: by the time it is answered a refusal would have been said.
      const fence = listen(client, '{ __typename }');
      await fence.ended;
      if (!isMet(need, scope)) await heard.ended;
      expect([root.name, scope, JSON.stringify(heard.errors).includes('FORBIDDEN')]).toEqual([
        root.name,
        scope,
        !isMet(need, scope),
      ]);
      await client.dispose();
    }
  });

  test.each(Object.entries(GUARDED))('%s is closed to a key with every other scope', async (field, need) => {
    const others = await keyWith(
      own,
      SCOPES.filter((one) => !need.includes(one)),
    );
    const [way] = everything.filter(({ name }) => name === field);
    const document = documentOf(schema, way!);
    const variables = ROOTS[way!.root.name]!.asks(own)[0]!;
    const answer = await ask(others.key, way!.root, variables, document);
    expect(codeOf(answer)).toBe('FORBIDDEN');
    expect((await ask(own.key, way!.root, variables, document)).errors).toBeUndefined();
  });

  test('a project and a key, asked for by id, keep to the same', async () => {
    const reader = await keyWith(ours, ['READ']);
    const found = await post(app.url, reader.key, `{ node(id: "${ours.keyId}") { id } }`);
    expect([codeOf(found), found.data?.node ?? null]).toEqual(['FORBIDDEN', null]);
    const project = `{ node(id: "${ours.projectId}") { ... on Project { apiKeys { id } auditLog { nodes { at } } } } }`;
    const refused = await post(app.url, reader.key, project);
    expect([codeOf(refused), refused.text.includes('"id"')]).toEqual(['FORBIDDEN', false]);
    expect((await post(app.url, ours.key, project)).text).toContain('"id"');
  });
});

describe('nothing of another project', () => {
  let before = 0;
  beforeAll(() => {
    before = attempts;
  });
  afterAll(() => record('cross-tenant attempts', attempts - before));
  const documents = (root: RootField): string[] => {
    // The operator key belongs to no project: webhooks are for keys of the project alone.
    const without = isOperators(root.name) ? new Set(['Project.webhooks']) : nothing;
    return [wholeDocument(schema, root, without), wholeDocument(schema, root, without, Object.keys(FILTERS))];
  };
  const withFilters = (of: Tenant, variables: Variables): Variables => ({
    ...variables,
    ...Object.fromEntries(Object.entries(FILTERS).map(([type, filter]) => [type, filter(of)])),
  });

  test('their own key reads what the walk asks for', async () => {
    for (const root of queries.filter(({ name }) => ROOTS[name]!.tells)) {
      for (const document of documents(root)) {
        const answer = await ask(
          isOperators(root.name) ? OPERATOR_KEY : theirs.key,
          root,
          withFilters(theirs, ROOTS[root.name]!.asks(theirs)[0]!),
          document,
        );
        expect([root.name, answer.errors]).toEqual([root.name, undefined]);
        expect(answer.text).toContain(theirs.secret);
      }
    }
  });

  test.each([...queries, ...mutations.filter(({ name }) => !isOperators(name))])(
    '$name, asked with their ids, tells nothing and changes nothing of theirs',
    async (root) => {
      const before = await stateOf(database, theirs.projectId);
      const token = await tokenOf(ours, { scopes: ['READ', 'PRESENCE', 'INGEST'] });
      for (const key of [ours.key, token]) {
        for (const variables of ROOTS[root.name]!.asks(theirs)) {
          for (const document of documents(root)) {
            const answer = await ask(key, root, withFilters(theirs, variables), document);
            expectNothingOf(theirs, answer.text);
            expect(answer.text).not.toContain('INTERNAL');
          }
        }
      }
      expect(await stateOf(database, theirs.projectId)).toBe(before);
    },
  );

  test('what is sent of somebody of the same identity is another user’s', async () => {
    const { data } = await post(
      app.url,
      ours.key,
      `query ($identity: String!) { user(identity: $identity) { name presence { status } sessions { nodes { eventCount } } } }`,
      { identity: theirs.identity },
    );
    expect(data.user?.name ?? null).not.toContain(theirs.secret);
  });

  test('subscriptions with their ids hear nothing of theirs, and one’s own go on', async () => {
    const client = connect(app.url, ours.key);
    const own = connect(app.url, theirs.key);
    const watches = (of: typeof client) =>
      subscriptions.flatMap((root) =>
        ROOTS[root.name]!.asks(theirs).map((variables) => {
          attempts += 1;
          return listen(of, wholeDocument(schema, root, guarded), variables);
        }),
      );
    const sse = createSseClient({
      url: `${app.url}/graphql`,
      headers: { Authorization: `Bearer ${ours.key}` },
      retryAttempts: 0,
    });
    const streams = subscriptions.flatMap((root) =>
      ROOTS[root.name]!.asks(theirs).map((variables) =>
        collect((sink) => sse.subscribe({ query: wholeDocument(schema, root, guarded), variables }, sink)),
      ),
    );
    const [watched, streamed, owners] = [watches(client), streams, watches(own)];
    const strangers = [...watched, ...streamed];
    // By turns there and gone, so that presence has something to say too.
    const sendRound = (of: Tenant, round: number) => {
      const type = round % 2 === 0 ? 'sessionend' : 'log';
      const message = `round ${round} ${of.secret}`;
      return send(of.key, [
        { type, message, user: { identity: of.identity, name: of.secret } },
        { type, message, sessionKey: of.sessionKey },
      ]);
    };
    // Each hears something of its own project first; what was said to the other has been said by then.
    for (let round = 0; owners.some(({ heard }) => heard.length < 2); round += 1) {
      await sendRound(theirs, round);
      await Promise.all(owners.map((one) => one.until((heard) => heard.length > 1, 400).catch(() => {})));
    }
    for (const heardByOwner of owners.slice(0, 3)) expect(JSON.stringify(heardByOwner.heard)).toContain(theirs.secret);
    const unfiltered = [watched, streamed].flatMap((all) => unfilteredPlaces().map((at) => all[at]!));
    for (let round = 0; unfiltered.some(({ heard }) => !JSON.stringify(heard).includes(ours.secret)); round += 1) {
      await sendRound(ours, round);
      await Promise.all(
        unfiltered.map((one) => one.until((heard) => JSON.stringify(heard).includes(ours.secret), 400).catch(() => {})),
      );
    }
    for (const { heard, errors } of strangers) expectNothingOf(theirs, JSON.stringify([heard, errors]));
    for (const stream of streams) stream.stop();
    await Promise.all([client.dispose(), own.dispose()]);
  });

  test('the collector takes their project’s path from nobody else, and tells nothing', async () => {
    const before = await stateOf(database, theirs.projectId);
    const uuid = uuidIn(theirs.projectId);
    const paths: [string, string][] = [
      ['POST', `/api/v2/projects/${uuid}/events`],
      ['POST', `/api/v2/projects/${encodeURIComponent(theirs.projectId)}/events`],
      ['GET', `/api/v2/projects/${uuid}/config`],
      ['POST', `/api/v2/projects/${uuid}/events/by-ref/${theirs.referenceId}/user-description`],
      ['POST', `/api/v2/events/by-ref/${theirs.referenceId}/user-description`],
      ['GET', `/api/v2/projects/${uuid}/events/submit?message=x`],
      ['GET', `/api/v2/events/session/heartbeat?id=${theirs.sessionKey}&close=true`],
      ['GET', `/api/v2/events/session/heartbeat?id=${theirs.identity}&close=true`],
      ['GET', '/api/v2/projects/config'],
    ];
    for (const [method, path] of paths) {
      attempts += 1;
      const response = await fetch(`${app.url}${path}`, {
        method,
        headers: { Authorization: `Bearer ${ours.key}`, 'Content-Type': 'application/json' },
        ...(method === 'POST' && { body: JSON.stringify({ message: 'x', description: 'a stranger' }) }),
      });
      expectNothingOf(theirs, await response.text());
      if (path.includes(uuid)) expect([path, response.status]).toEqual([path, 404]);
    }
    expect(await stateOf(database, theirs.projectId)).toBe(before);
  });
});

describe('a token narrowed to somebody else', () => {
  let narrowed: string;
  beforeAll(async () => {
    narrowed = await tokenOf(ours, { scopes: ['READ', 'PRESENCE', 'INGEST'], identities: ['somebody else'] });
    // The webhooks that were made above are tried again by themselves, and their rows say so.
    await database.query({ name: 'test', text: `DELETE FROM webhooks WHERE name = 'made'` });
  });
  // The project itself is everybody's who has a key of it.
  const personal = queries.filter(({ name }) => name !== 'Query.project');
  const without = new Set([...guarded, 'Project.name', 'Project.clientSettings']);

  test.each([...personal, ...mutations.filter(({ name }) => !isOperators(name))])(
    '$name tells and changes nothing of other users',
    async (root) => {
      const before = await stateOf(database, ours.projectId);
      for (const variables of ROOTS[root.name]!.asks(ours)) {
        const answer = await ask(narrowed, root, variables, wholeDocument(schema, root, without));
        expect(answer.text).not.toContain(ours.secret);
        expect(answer.text).not.toContain('INTERNAL');
        for (const id of [ours.sessionId, ours.namedSessionId, ours.eventId]) expect(answer.text).not.toContain(id);
      }
      expect(await stateOf(database, ours.projectId)).toBe(before);
    },
  );

  test('statistics count none of them', async () => {
    const { data } = await post(
      app.url,
      narrowed,
      `{ sessionStats { totals { sessions users sessionsWithErrors } series { sessions users } } eventStats { total users series { events } }
         sessionBreakdown(by: VERSION) { totalCount groups { count } } eventBreakdown(by: TYPE) { totalCount groups { count } }
         sessions { totalCount } events { totalCount } presence(status: null) { totalCount } }`,
    );
    expect(data).toEqual({
      sessionStats: { totals: { sessions: 0, users: 0, sessionsWithErrors: 0 }, series: [] },
      eventStats: { total: 0, users: 0, series: [] },
      sessionBreakdown: { totalCount: 0, groups: [] },
      eventBreakdown: { totalCount: 0, groups: [] },
      sessions: { totalCount: 0 },
      events: { totalCount: 0 },
      presence: { totalCount: 0 },
    });
  });

  test('subscriptions hear of their own user alone', async () => {
    const client = connect(app.url, narrowed);
    const watches = subscriptions.flatMap((root) =>
      ROOTS[root.name]!.asks(ours).map((variables) => listen(client, wholeDocument(schema, root, guarded), variables)),
    );
    const unfiltered = unfilteredPlaces();
    const hears = (at: number) => watches[at]!.heard.some((heard) => JSON.stringify(heard).includes('somebody else'));
    // By turns there and gone, so that presence has something to say too.
    for (let round = 0; !unfiltered.every(hears); round += 1) {
      const type = round % 2 === 0 ? 'log' : 'sessionend';
      await send(
        ours.key,
        [ours.identity, 'somebody else'].map((identity) => ({
          type,
          message: identity === ours.identity ? ours.secret : `round ${round}`,
          user: { identity },
        })),
      );
      await Promise.all(unfiltered.map((at) => watches[at]!.until(() => hears(at), 400).catch(() => {})));
    }
    for (const { heard, errors } of watches) expect(JSON.stringify([heard, errors])).not.toContain(ours.secret);
    await client.dispose();
  });

  test('an id of somebody else’s event, by the key of a session, is no repeat of one’s own', async () => {
    const id = `once ${ours.identity}`;
    const sessionKey = 'key-of-two-users';
    const first = await send(ours.key, [
      { sessionKey, user: { identity: ours.identity } },
      { id, sessionKey },
    ]);
    await send(narrowed, [{ sessionKey, user: { identity: 'somebody else' } }]);
    const again = await send(narrowed, [{ id, sessionKey }]);
    const own = await send(ours.key, [{ id, sessionKey }]);
    const { status, eventId, sessionId } = first.data.ingestEvents.results[1];
    expect(status).toBe('ACCEPTED');
    expect(again.text).not.toContain(eventId);
    expect(again.text).not.toContain(sessionId);
    expect([again, own].map(({ data }) => data.ingestEvents.results[0].status)).toEqual(['ACCEPTED', 'DUPLICATE']);
    expect(own.text).toContain(eventId);
  });

  test('an id that a narrowed token has taken stands in nobody else’s way', async () => {
    const id = `taken ${ours.identity}`;
    const taken = await send(narrowed, [{ id, user: { identity: 'somebody else' } }]);
    const own = await send(ours.key, [{ id, user: { identity: ours.identity } }]);
    expect([taken, own].map(({ data }) => data.ingestEvents.results[0].status)).toEqual(['ACCEPTED', 'ACCEPTED']);
  });
});

describe('tokens', () => {
  const claims = (): Record<string, unknown> => ({
    project: uuidIn(ours.projectId),
    key: uuidIn(ours.keyId),
    scopes: ['READ'],
    identities: null,
  });
  const secret = new TextEncoder().encode(TOKEN_SECRET);
  const signed = (
    payload: Record<string, unknown>,
    key: Uint8Array | CryptoKey,
    alg = 'HS256',
    issuer = 'footsteps',
    at = Date.now() / 1000 + 600,
  ) =>
    new SignJWT(payload)
      .setProtectedHeader({ alg, typ: 'JWT' })
      .setIssuer(issuer)
      .setIssuedAt()
      .setExpirationTime(Math.floor(at))
      .sign(key);
  const statusOf = async (token: string): Promise<number> => {
    attempts += 1;
    return (await post(app.url, token, '{ sessions { nodes { id } } }')).status;
  };

  test('one that the server would have made itself is let in; with another algorithm, issuer, time or project it is not', async () => {
    expect(await statusOf(await signed(claims(), secret))).toBe(200);
    const rsa = await generateKeyPair('RS256');
    const ec = await generateKeyPair('ES256');
    const now = Date.now() / 1000;
    const forged: Record<string, string> = {
      'no algorithm': new UnsecuredJWT(claims()).setIssuer('footsteps').setExpirationTime('1h').encode(),
      'HS512 with the secret': await signed(claims(), new Uint8Array([...secret, ...secret]), 'HS512'),
      RS256: await signed(claims(), rsa.privateKey, 'RS256'),
      ES256: await signed(claims(), ec.privateKey, 'ES256'),
      'another issuer': await signed(claims(), secret, 'HS256', 'footstep'),
      expired: await signed(claims(), secret, 'HS256', 'footsteps', now - 1),
      'not yet good': await signed({ ...claims(), nbf: Math.floor(now) + 600 }, secret),
      'another project': await signed({ ...claims(), project: uuidIn(theirs.projectId) }, secret),
      'another key': await signed({ ...claims(), key: uuidIn(theirs.keyId) }, secret),
      'a key that is none': await signed({ ...claims(), key: '00000000-0000-4000-8000-000000000000' }, secret),
      'no project': await signed({ ...claims(), project: undefined }, secret),
      'an unknown scope': await signed({ ...claims(), scopes: ['ADMIN'] }, secret),
      'identities of another type': await signed({ ...claims(), identities: 'ada' }, secret),
      'no end': await new SignJWT(claims()).setProtectedHeader({ alg: 'HS256' }).setIssuer('footsteps').sign(secret),
    };
    for (const [what, token] of Object.entries(forged)) expect([what, await statusOf(token)]).toEqual([what, 401]);
  });

  test('what everybody knows signs nothing', async () => {
    const known = [
      '\0',
      'footsteps',
      'secret',
      uuidIn(ours.projectId),
      uuidIn(ours.keyId),
      ours.projectId,
      ours.key.slice(0, 8),
      ours.key,
      OPERATOR_KEY,
    ];
    for (const text of known) {
      const key = new TextEncoder().encode(text.padEnd(32, '\0'));
      expect([text, await statusOf(await signed(claims(), key))]).toEqual([text, 401]);
    }
  });

  test('every character counts, of the header, the payload and the signature', async () => {
    const token = await signed(claims(), secret);
    // The last character of the signature holds two bits that mean nothing.
    for (let at = 0; at < token.length - 1; at += 1) {
      if (token[at] === '.') continue;
      const other = token[at] === 'A' ? 'B' : 'A';
      expect([at, await statusOf(`${token.slice(0, at)}${other}${token.slice(at + 1)}`)]).toEqual([at, 401]);
    }
    const [head, body, signature] = token.split('.') as [string, string, string];
    const wide = Buffer.from(JSON.stringify({ ...claims(), scopes: SCOPES })).toString('base64url');
    for (const broken of [
      `${head}.${wide}.${signature}`,
      `${head}.${body}.`,
      `${head}.${body}`,
      `${head}..${signature}`,
      `.${body}.${signature}`,
    ])
      expect(await statusOf(broken)).toBe(401);
  });

  test('a token is of no use once its time is over, though it was good before', async () => {
    const token = await tokenOf(ours, { scopes: ['READ'], expiresIn: 1 });
    await eventually(async () => (await statusOf(token)) === 401);
  });

  test('a token makes neither tokens nor keys, and widens nothing', async () => {
    const token = await tokenOf(ours, { scopes: ['READ', 'PRESENCE', 'INGEST'] });
    for (const root of mutations.filter(({ name }) => ROOTS[name]!.need[0] === 'MANAGE')) {
      const answer = await ask(token, root, ROOTS[root.name]!.asks(ours)[0]!);
      expect([root.name, codeOf(answer)]).toEqual([root.name, 'FORBIDDEN']);
    }
  });
});

/** A WebSocket client that says what it is told to, and nothing else. */
function rawSocket(headers: Record<string, string> = {}) {
  const socket = new WebSocket(`${app.url.replace('http', 'ws')}/graphql`, 'graphql-transport-ws', { headers });
  const said: { type: string; id?: string; payload?: unknown }[] = [];
  const waiting = new Set<() => void>();
  socket.on('message', (data: Buffer) => {
    said.push(JSON.parse(data.toString()) as (typeof said)[number]);
    for (const wake of waiting) wake();
  });
  const closed = new Promise<{ code: number; reason: string }>((resolve) =>
    socket.once('close', (code, reason) => resolve({ code, reason: reason.toString() })),
  );
  const opened = new Promise<void>((resolve) => socket.once('open', () => resolve()));
  return {
    socket,
    said,
    closed,
    opened,
    send: (message: object) => socket.send(JSON.stringify(message)),
    heard: (type: string) =>
      new Promise<void>((resolve) => {
        const look = (): void => {
          if (said.some((message) => message.type === type)) resolve();
        };
        waiting.add(look);
        look();
      }),
  };
}

const planted = (message: string) => `mutation { ingestEvents(events: [{ message: "${message}" }]) { accepted } }`;
const isStored = async (message: string): Promise<boolean> => {
  const rows = await database.query({
    name: 'test.planted',
    text: 'SELECT 1 FROM events WHERE message = $1',
    values: [message],
  });
  return rows.length > 0;
};

describe('WebSockets', () => {
  test('nothing is run before connection_init, nor after a second one', async () => {
    const early = rawSocket();
    await early.opened;
    early.send({ id: '1', type: 'subscribe', payload: { query: planted('early') } });
    expect((await early.closed).code).toBe(4401);
    const twice = rawSocket();
    await twice.opened;
    twice.send({ type: 'connection_init', payload: { authorization: `Bearer ${ours.key}` } });
    await twice.heard('connection_ack');
    twice.send({ type: 'connection_init', payload: { authorization: `Bearer ${theirs.key}` } });
    expect((await twice.closed).code).toBe(4429);
    // Both messages at once: the second must not overtake the look at the key.
    const racing = rawSocket();
    await racing.opened;
    racing.send({ type: 'connection_init', payload: { authorization: 'Bearer fs_wrong' } });
    racing.send({ id: '1', type: 'subscribe', payload: { query: planted('racing') } });
    expect((await racing.closed).code).toBe(4401);
    expect([await isStored('early'), await isStored('racing')]).toEqual([false, false]);
  });

  test('what only servers say closes the socket, and is no failure of ours', async () => {
    for (const type of ['next', 'error', 'connection_ack']) {
      const odd = rawSocket();
      await odd.opened;
      odd.send({ type, id: '1', payload: type === 'error' ? [{ message: 'x' }] : { data: {} } });
      expect([type, await odd.closed]).toEqual([type, { code: 4400, reason: 'Invalid message received' }]);
    }
    expect(app.observations.filter(({ kind }) => kind === 'task.failed')).toEqual([]);
  });

  test('a client that was turned away and does not hear it is not listened to', async () => {
    const deaf = rawSocket();
    await deaf.opened;
    deaf.socket.pause();
    deaf.send({ type: 'connection_init', payload: { authorization: 'Bearer fs_wrong' } });
    for (let id = 0; id < 20; id += 1) {
      deaf.send({ id: String(id), type: 'subscribe', payload: { query: planted('turned away') } });
      await post(app.url, ours.key, '{ project { name } }');
    }
    deaf.socket.resume();
    expect((await deaf.closed).code).toBe(4401);
    expect(await isStored('turned away')).toBe(false);
    expect(app.observations.filter(({ kind }) => kind === 'task.failed')).toEqual([]);
  });

  test('who says nothing is not waited for', async () => {
    const silent = rawSocket();
    expect((await silent.closed).code).toBe(4408);
  }, 15_000);

  test('a page of another origin is turned away, one of the project’s is not', async () => {
    const tenant = await createTenant(app.url);
    await post(
      app.url,
      tenant.key,
      'mutation { updateProject(settings: { allowedOrigins: ["https://app.example.com", "https://*.example.org"] }) { id } }',
    );
    const enter = async (origin: string | null) => {
      attempts += 1;
      const { socket, send, opened, closed, heard } = rawSocket(origin === null ? {} : { Origin: origin });
      await opened;
      send({ type: 'connection_init', payload: { authorization: `Bearer ${tenant.key}` } });
      const outcome = await Promise.race([heard('connection_ack').then(() => 'in'), closed.then(({ code }) => code)]);
      socket.terminate();
      return outcome;
    };
    for (const origin of ['https://app.example.com', 'https://a.example.org', null, app.url])
      expect([origin, await enter(origin)]).toEqual([origin, 'in']);
    for (const origin of [
      'https://evil.example',
      'http://app.example.com',
      'https://app.example.com.evil.example',
      'https://evilexample.org',
      'https://example.org',
      'https://app.example.com:8443',
      'null',
    ])
      expect([origin, await enter(origin)]).toEqual([origin, 4401]);
    const page = await post(app.url, tenant.key, '{ project { name } }', undefined, {
      headers: { Origin: 'https://evil.example' },
    });
    expect([page.status, codeOf(page)]).toEqual([403, 'FORBIDDEN']);
  });

  test('a client that does not hear that its key was revoked can do nothing more either', async () => {
    const { key, id } = await keyWith(ours, SCOPES);
    const deaf = rawSocket();
    await deaf.opened;
    deaf.send({ type: 'connection_init', payload: { authorization: `Bearer ${key}` } });
    await deaf.heard('connection_ack');
    deaf.socket.pause();
    await revoke(ours, id);
    deaf.send({ id: '1', type: 'subscribe', payload: { query: planted('from the deaf') } });
    deaf.send({ id: '2', type: 'subscribe', payload: { query: '{ project { name } }' } });
    deaf.socket.resume();
    expect((await deaf.closed).code).toBe(4401);
    // Stored in the order of arrival: what came before would be there by now.
    await post(app.url, ours.key, planted('after the deaf'));
    expect([await isStored('from the deaf'), await isStored('after the deaf')]).toEqual([false, true]);
    expect(deaf.said.filter(({ type }) => type === 'next')).toEqual([]);
  });

  test('an open socket goes by the project’s settings as they are, not as they were', async () => {
    const tenant = await createTenant(app.url);
    const client = connect(app.url, tenant.key);
    const sendAs = (identity: string) =>
      listen(client, INGEST, {
        events: [{ user: { identity }, data: { '@request': { client_ip_address: '203.0.113.8' } } }],
      }).ended;
    await sendAs('before');
    await post(app.url, tenant.key, 'mutation { updateProject(settings: { storeIpAddress: false }) { id } }');
    await sendAs('after');
    const { data } = await post(
      app.url,
      tenant.key,
      '{ before: sessions(filter: { identities: ["before"] }) { nodes { ipAddress } } after: sessions(filter: { identities: ["after"] }) { nodes { ipAddress } } }',
    );
    expect(data).toEqual({
      before: { nodes: [{ ipAddress: '203.0.113.8' }] },
      after: { nodes: [{ ipAddress: null }] },
    });
    await client.dispose();
  });
});

describe('what a browser sends unasked', () => {
  const types = [
    'text/plain',
    'text/plain; charset=utf-8',
    'text/plain; application/json',
    'application/x-www-form-urlencoded',
    'multipart/form-data; boundary=x',
    '',
  ];
  const bodies = (query: string): string[] => [
    JSON.stringify({ query }),
    new URLSearchParams({ query }).toString(),
    `--x\r\nContent-Disposition: form-data; name="operations"\r\n\r\n${JSON.stringify({ query })}\r\n--x\r\nContent-Disposition: form-data; name="map"\r\n\r\n{}\r\n--x--\r\n`,
  ];

  test('runs no mutation, in whatever form, though it bears a good key', async () => {
    let at = 0;
    const planting = (): string => planted(`forged ${(at += 1)}`);
    for (const type of types) {
      for (const body of bodies(planting())) {
        for (const accept of ['*/*', 'text/event-stream', 'multipart/mixed']) {
          attempts += 1;
          const response = await fetch(`${app.url}/graphql?access_token=${ours.key}`, {
            method: 'POST',
            headers: { 'Content-Type': type, Accept: accept, Origin: 'https://evil.example' },
            body: new TextEncoder().encode(body),
          });
          expect([type, response.status]).toEqual([type, 415]);
          await response.arrayBuffer();
        }
      }
    }
    for (const method of ['GET', 'HEAD', 'PUT', 'PATCH', 'DELETE']) {
      for (const accept of ['*/*', 'application/json', 'text/event-stream', 'multipart/mixed']) {
        attempts += 1;
        const query = encodeURIComponent(planting());
        const response = await fetch(`${app.url}/graphql?access_token=${ours.key}&query=${query}`, {
          method,
          headers: { Accept: accept },
        });
        await response.arrayBuffer();
        expect([method, accept, response.status >= 400]).toEqual([method, accept, true]);
        expect(response.status).toBeLessThan(500);
      }
    }
    expect(at).toBeGreaterThan(20);
    for (let one = 1; one <= at; one += 1) expect(await isStored(`forged ${one}`)).toBe(false);
  });

  test('a preflight needs no key, and learns nothing', async () => {
    const response = await fetch(`${app.url}/graphql?query={project{name}}&access_token=${ours.key}`, {
      method: 'OPTIONS',
      headers: { Origin: 'https://evil.example', 'Access-Control-Request-Method': 'POST' },
    });
    expect(await response.text()).not.toContain(ours.secret);
    expect(response.headers.get('access-control-allow-credentials')).toBeNull();
  });
});

test('no secret is ever logged, at the most talkative level', async () => {
  const password = 'pass-word-of-the-database';
  const databaseUrl = new URL(db.url);
  databaseUrl.password = password;
  const server = await startServer({
    DATABASE_URL: databaseUrl.href,
    TOKEN_SECRET,
    OPERATOR_KEY,
    LOG_LEVEL: 'trace',
  });
  const token = await tokenOf(ours, { scopes: ['READ', 'INGEST'] });
  const revoked = await keyWith(ours, SCOPES);
  await revoke(ours, revoked.id);
  const secrets = [ours.key, theirs.key, token, revoked.key, OPERATOR_KEY, TOKEN_SECRET, password];
  const mistyped = [`${ours.key}x`, `${token}x`, `x${ours.key}`];
  const { url } = server;
  for (const credential of [...secrets, ...mistyped]) {
    const inAddress = encodeURIComponent(credential);
    for (const query of ['{ project { name } }', '{ nope }', '{', 'mutation { revokeApiKey(id: "x") { id } }']) {
      await post(url, credential, query);
      await post(url, null, query, { key: credential });
    }
    for (const path of [
      `/graphql?access_token=${inAddress}&query={project{name}}`,
      `/nowhere?access_token=${inAddress}`,
      `/api/v2/events/submit?message=x&type=x&access_token=${inAddress}`,
      `/api/v2/projects/config?api_key=${inAddress}`,
      `/api/v2/nowhere?access_token=${inAddress}`,
    ])
      await (await fetch(`${url}${path}`)).arrayBuffer();
    await (
      await fetch(`${url}/api/v2/events`, {
        method: 'POST',
        headers: {
          Authorization: `Basic ${Buffer.from(`client:${credential}`).toString('base64')}`,
          'Content-Type': 'application/json',
        },
        body: JSON.stringify([{ date: 'never' }, 5]),
      })
    ).arrayBuffer();
    const client = connect(url, credential);
    await listen(client, '{ project { name } }').ended;
    await client.dispose();
  }
  await server.stop();
  const log = server.output();
  // It was talkative indeed.
  expect(log.split('\n').length).toBeGreaterThan(100);
  for (const secret of [...secrets, ...mistyped]) expect(log).not.toContain(secret);
  for (const secret of secrets) expect(JSON.stringify(app.observations)).not.toContain(secret);
  record('log lines searched for secrets', log.split('\n').length);
});
