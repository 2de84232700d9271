import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { connect, createProject, OPERATOR_KEY, post, startTestApp, type TestApp } from '../support/app.js';
import { createTestDatabase, type TestDatabase } from '../support/database.js';

let db: TestDatabase;
let app: TestApp;
let other: TestApp;
let guarded: TestApp;
let key: string;

beforeAll(async () => {
  db = await createTestDatabase();
  // Two servers that count together, and one that counts addresses alone: those of other tests are the same.
  app = await startTestApp(db, { RATE_LIMIT_PER_ADDRESS: '0', RATE_LIMIT_PER_KEY: '100' });
  other = await startTestApp(db, { RATE_LIMIT_PER_ADDRESS: '0', RATE_LIMIT_PER_KEY: '100' });
  guarded = await startTestApp(db, { REDIS_URL: '', RATE_LIMIT_PER_ADDRESS: '50', TRUSTED_PROXIES: 'loopback' });
  key = await createProject(app.url);
});
afterAll(async () => {
  await Promise.all([app, other, guarded].map((one) => one.close('test')));
  await db.drop();
});

const from = (address: string) => ({ headers: { 'X-Forwarded-For': address } });
const NESTED = '{ sessions(first: 50) { nodes { id events(first: 20) { nodes { id } } } } }';

describe('cost', () => {
  test('every answer tells what it cost: 1, and 1 for each row it can return', async () => {
    const { extensions } = JSON.parse((await post(app.url, key, NESTED)).text);
    expect(extensions.cost).toEqual({ requested: 1 + 50 + 50 * 20, limit: 20_000 });
  });

  test('each event that is sent costs 1, in variables and in the text', async () => {
    const event = { type: 'log', user: { identity: 'ada' } };
    const query = 'mutation ($events: [EventInput!]!) { ingestEvents(events: $events) { accepted } }';
    const sent = await post(app.url, key, query, { events: [event, event, event] });
    expect(JSON.parse(sent.text).extensions.cost.requested).toBe(4);
    const text = 'mutation { ingestEvents(events: [{ type: "log" }, { type: "log" }]) { accepted } }';
    expect(JSON.parse((await post(app.url, key, text)).text).extensions.cost.requested).toBe(3);
  });

  test('what fields charge beside it is told too', async () => {
    const own = await createProject(app.url);
    await post(
      app.url,
      own,
      'mutation { ingestEvents(events: [{ type: "log", user: { identity: "ada" } }]) { accepted } }',
    );
    const minutes = Math.floor(Date.now() / 60_000);
    const at = (minute: number) => new Date(minute * 60_000).toISOString();
    const costOf = async (query: string): Promise<number> =>
      JSON.parse((await post(app.url, own, query)).text).extensions.cost.requested;
    const past = at(minutes - 5);
    expect(await costOf(`{ presence(at: "${past}", first: 10) { nodes { identity } } }`)).toBe(1 + 10 + 1_000);
    expect(await costOf('{ presenceHistory(identities: ["ada", "eve"], first: 10) { nodes { id } } }')).toBe(
      1 + 10 + 2 + 2 * 10,
    );
    // One row more for each 50 minutes.
    const figures = `{ concurrency(range: { from: "${at(minutes - 1_000)}" }, interval: HOUR) { peak } }`;
    expect(await costOf(figures)).toBe(1 + 1_000 + 21);
  });

  test('what costs more than the limit is refused before anything is read', async () => {
    const answer = await post(
      app.url,
      key,
      '{ sessions(first: 100) { nodes { events(first: 100) { nodes { session { events(first: 100) { nodes { id } } } } } } } }',
    );
    expect(answer.errors![0]!.extensions['code']).toBe('QUERY_TOO_COMPLEX');
    expect(answer.data).toBeUndefined();
  });

  test('an operation that comes again is answered alike, errors too', async () => {
    const query = 'query ($first: Int, $after: String) { sessions(first: $first, after: $after) { nodes { id } } }';
    const answers = [];
    for (let run = 0; run < 6; run += 1) {
      const fresh = await createProject(app.url);
      const good = await post(app.url, fresh, query, { first: 1 });
      const bad = await post(app.url, fresh, query, { first: 101 });
      const unfit = await post(app.url, fresh, query, { first: 'many' });
      const { locations: _, ...error } = bad.errors![0] as { locations?: unknown };
      answers.push([good.data, bad.status, error, unfit.status, unfit.errors]);
    }
    for (const answer of answers) expect(answer).toEqual(answers[0]);
  });
});

describe('rate limits', () => {
  test('a key has its points a minute, told in the standard headers, over all servers together', async () => {
    const own = await createProject(app.url);
    const first = await post(app.url, own, NESTED);
    expect(first.headers.get('RateLimit-Policy')).toBe('"key";q=100;w=60');
    expect(first.headers.get('RateLimit')).toMatch(/^"key";r=89;t=\d+$/);
    const second = await post(other.url, own, NESTED);
    expect(second.headers.get('RateLimit')).toMatch(/^"key";r=78;t=\d+$/);
    for (let run = 0; run < 7; run += 1) await post(app.url, own, NESTED);
    const refused = await post(other.url, own, NESTED);
    expect(refused.status).toBe(429);
    expect(refused.errors![0]!.extensions['code']).toBe('RATE_LIMITED');
    expect(Number(refused.headers.get('Retry-After'))).toBeGreaterThan(0);
    expect(refused.headers.get('RateLimit-Policy')).toBe('"key";q=100;w=60');
    expect(refused.headers.get('RateLimit')).toMatch(/^"key";r=0;t=\d+$/);
    expect(refused.data).toBeUndefined();
    // Others go on.
    expect((await post(app.url, key, '{ project { name } }')).status).toBe(200);
  });

  test("a project's own limit holds in place of the server's", async () => {
    const own = await createProject(app.url, { rateLimit: 1_000 });
    const { headers } = await post(app.url, own, '{ project { settings { rateLimit } } }');
    expect(headers.get('RateLimit-Policy')).toBe('"key";q=1000;w=60');
    await post(app.url, own, 'mutation { updateProject(settings: { rateLimit: null }) { id } }');
    const { headers: later } = await post(app.url, own, '{ project { name } }');
    expect(later.get('RateLimit-Policy')).toBe('"key";q=100;w=60');
  });

  test('an address that guesses keys is stopped soon, before its guesses are looked at', async () => {
    const statuses: number[] = [];
    for (let guess = 0; guess < 7; guess += 1) {
      statuses.push(
        (await post(guarded.url, `fs_guess${guess}`, '{ project { name } }', undefined, from('10.0.1.3'))).status,
      );
    }
    expect(statuses).toEqual([401, 401, 401, 401, 401, 429, 429]);
    // Its neighbours are let in; so is a good key from elsewhere.
    expect((await post(guarded.url, key, '{ project { name } }', undefined, from('10.0.1.4'))).status).toBe(200);
  });

  test('addresses of one IPv6 network are one', async () => {
    for (let host = 0; host < 5; host += 1)
      await post(guarded.url, 'fs_guess', '{ __typename }', undefined, from(`2001:db8:1:2::${host}`));
    const refused = await post(guarded.url, key, '{ __typename }', undefined, from('2001:db8:1:2:ffff::9'));
    expect(refused.status).toBe(429);
    expect((await post(guarded.url, key, '{ __typename }', undefined, from('2001:db8:1:3::9'))).status).toBe(200);
  });

  test('the collector keeps to the same limits, and says 429, after which clients send again', async () => {
    const own = await createProject(app.url, { rateLimit: 60 });
    const events = Array.from({ length: 1_000 }, () => ({ type: 'log', message: 'x' }));
    const send = () =>
      fetch(`${app.url}/api/v2/events`, {
        method: 'POST',
        headers: { Authorization: `Bearer ${own}`, 'Content-Type': 'application/json' },
        body: JSON.stringify(events),
      });
    const statuses = [];
    for (let batch = 0; batch < 7; batch += 1) statuses.push((await send()).status);
    expect(statuses).toEqual([202, 202, 202, 202, 202, 202, 429]);
    const refused = await send();
    expect(Number(refused.headers.get('Retry-After'))).toBeGreaterThan(0);
    expect(refused.headers.get('RateLimit-Policy')).toBe('"key";q=60;w=60');
    expect(refused.headers.get('RateLimit')).toMatch(/^"key";r=0;t=\d+$/);
  });

  test('an operation that costs more than the whole limit is told so, and not to wait', async () => {
    const own = await createProject(app.url, { rateLimit: 60 });
    const costly = '{ sessions(first: 100) { nodes { events(first: 90) { nodes { id } } } } }';
    const { status, errors } = await post(app.url, own, costly);
    expect(status).toBe(429);
    expect(errors?.[0]?.message).toMatch(/^This costs 9\d points, and this key has 60 a minute in all\./);
  });

  test('operations of a WebSocket are charged too', async () => {
    const own = await createProject(app.url, { rateLimit: 60 });
    const client = connect(app.url, own);
    // While they are asked, more are given: one a second.
    let answered = 0;
    let refusal: unknown = null;
    while (refusal === null && answered < 600) {
      try {
        const { value } = await client.iterate({ query: '{ project { name } }' }).next();
        expect(value.errors).toBeUndefined();
        answered += 1;
      } catch (error) {
        refusal = error;
      }
    }
    expect(refusal).toMatchObject([{ extensions: { code: 'RATE_LIMITED' } }]);
    expect(answered).toBeGreaterThanOrEqual(60);
    await client.dispose();
  });
});

describe('/metrics', () => {
  test('is for the operator alone, and holds what has happened', async () => {
    const get = (credential: string) =>
      fetch(`${app.url}/metrics`, { headers: { Authorization: `Bearer ${credential}` } });
    expect((await get(key)).status).toBe(403);
    expect((await get('wrong')).status).toBe(401);
    const answer = await get(OPERATOR_KEY);
    expect(answer.headers.get('Content-Type')).toContain('text/plain; version=0.0.4');
    const text = await answer.text();
    for (const name of [
      'request_seconds',
      'statement_seconds',
      'events_total',
      'batch_events',
      'ingest_queue_events',
      'closer_lag_seconds',
    ]) {
      expect(text).toContain(`footsteps_${name}`);
    }
    expect(text).toMatch(/footsteps_events_total\{outcome="ACCEPTED"\} \d/);
    expect(text).toContain('nodejs_eventloop_lag_seconds');
    // Labels are names from the code: a stranger cannot fill the registry.
    expect(text).not.toContain('10.0.');
  });
});

describe('the audit log', () => {
  test('tells who changed what, and never a secret', async () => {
    const own = await createProject(app.url);
    const run = (query: string, credential = own) => post(app.url, credential, query);
    const made = await run('mutation { createApiKey(name: "web", scopes: [INGEST]) { key apiKey { id } } }');
    const { key: secret, apiKey } = made.data.createApiKey;
    await run('mutation { updateProject(settings: { presenceTimeout: 60 }) { id } }');
    await run('mutation { setClientSettings(settings: [{ key: "a", value: "b" }]) { id } }');
    await run(`mutation { revokeApiKey(id: "${apiKey.id}") { id } }`);
    await run(`mutation { revokeApiKey(id: "${apiKey.id}") { id } }`);
    await run('mutation { ingestEvents(events: [{ user: { identity: "ada@example.com" } }]) { accepted } }');
    await run('mutation { eraseUser(identity: "ada@example.com") { events } }');
    const { data, text } = await run(
      '{ project { auditLog(first: 10) { totalCount nodes { at action apiKeyId details } } } }',
    );
    const { nodes, totalCount } = data.project.auditLog;
    expect(totalCount).toBe(6);
    expect(nodes.map(({ action }: { action: string }) => action)).toEqual([
      'USER_ERASED',
      'API_KEY_REVOKED',
      'CLIENT_SETTINGS_CHANGED',
      'PROJECT_UPDATED',
      'API_KEY_CREATED',
      'PROJECT_CREATED',
    ]);
    expect(nodes[3].details).toEqual({ presenceTimeout: 60 });
    expect(nodes.map(({ apiKeyId }: { apiKeyId: string | null }) => apiKeyId === null)).toEqual([
      false,
      false,
      false,
      false,
      false,
      true,
    ]);
    expect(text).not.toContain(secret);
    expect(text).not.toContain('ada@');
    const reader = await run('mutation { createApiKey(name: "reader", scopes: [READ]) { key } }');
    const refused = await run('{ project { auditLog { totalCount } } }', reader.data.createApiKey.key);
    expect(refused.errors![0]!.extensions['code']).toBe('FORBIDDEN');
  });
});
