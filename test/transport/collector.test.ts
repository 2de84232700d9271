import { deflateRawSync, deflateSync, gzipSync } from 'node:zlib';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import {
  connect,
  createProject,
  eventually,
  listen,
  OPERATOR_KEY,
  post,
  startTestApp,
  type TestApp,
} from '../support/app.js';
import { call, look, postEvents, rawGet } from '../support/collector.js';
import { createTestDatabase, type TestDatabase } from '../support/database.js';

/** The wire format of Exceptionless clients, endpoint by endpoint. */

let db: TestDatabase;
let app: TestApp;
let url: string;
let key: string;
beforeAll(async () => {
  db = await createTestDatabase();
  app = await startTestApp(db);
  ({ url } = app);
});
afterAll(async () => {
  await app.close('test');
  await db.drop();
});
beforeEach(async () => {
  key = await createProject(url);
});

const log = (message: string): object => ({ type: 'log', message });
const project = async (fields: string): Promise<any> =>
  (await post(url, key, `{ project { ${fields} } }`)).data.project;
const settle = (settings: string) => post(url, key, `mutation { updateProject(settings: { ${settings} }) { id } }`);
const messages = async (): Promise<string[]> => (await look(url, key)).events.map(({ message }) => message).toSorted();

/** A problem as clients can read it: JSON, with what is wrong; and nothing stored. */
async function expectProblem(reply: { status: number; headers: Headers; text: string }, status: number, code: string) {
  expect(reply.status).toBe(status);
  expect(reply.headers.get('content-type')).toContain('application/problem+json');
  const problem = JSON.parse(reply.text);
  expect(problem).toMatchObject({ status, code });
  expect(problem.message).toBe(problem.detail);
  expect(problem.message).toMatch(/.{15}/);
  expect(reply.text).not.toMatch(/node_modules|\.ts:|\.js:/);
  expect((await look(url, key)).events).toEqual([]);
}

describe('POST /api/v2/events', () => {
  test('answers exactly 202 with an empty body, the version of the configuration and the room that is left', async () => {
    const { status, text, headers } = await postEvents(url, key, [log('one')]);
    expect({ status, text }).toEqual({ status: 202, text: '' });
    expect(headers.get('x-exceptionless-configversion')).toBe('0');
    expect(Number(headers.get('x-ratelimit-limit'))).toBeGreaterThan(0);
    expect(Number(headers.get('x-ratelimit-remaining'))).toBeGreaterThan(0);
    // The answer came after the commit.
    expect(await messages()).toEqual(['one']);
  });

  test.each([
    ['an array', () => JSON.stringify([log('a'), log('b')]), ['a', 'b']],
    ['one object', () => JSON.stringify(log('a')), ['a']],
    ['text, a line an event', () => '  first line \r\n\r\n second\nthird', ['first line', 'second', 'third']],
    ['an array behind a byte order mark', () => `\uFEFF${JSON.stringify([log('a')])}`, ['a']],
    ['nothing but blanks', () => ' \n ', []],
    ['an empty array', () => '[]', []],
  ])('takes %s', async (_name, body, expected) => {
    expect((await postEvents(url, key, body())).status).toBe(202);
    expect(await messages()).toEqual(expected);
  });

  test('goes by the body, not by its Content-Type, where that is one of the two', async () => {
    expect((await postEvents(url, key, [log('json')], { 'Content-Type': 'text/plain' })).status).toBe(202);
    expect((await postEvents(url, key, 'text', { 'Content-Type': 'application/json; charset=utf-8' })).status).toBe(
      202,
    );
    expect(await messages()).toEqual(['json', 'text']);
  });

  test.each([
    ['gzip', gzipSync],
    ['deflate', deflateSync],
    ['deflate', deflateRawSync],
  ])('inflates %s, in chunks and without a length', async (encoding, compress) => {
    const bytes = new Uint8Array(compress(JSON.stringify(Array.from({ length: 50 }, (_, at) => log(`m${at}`)))));
    const body = new ReadableStream({
      start(controller) {
        for (let at = 0; at < bytes.length; at += 20) controller.enqueue(bytes.slice(at, at + 20));
        controller.close();
      },
    });
    const headers = { 'Content-Type': 'application/json', 'Content-Encoding': encoding };
    const init = { method: 'POST', key, body, headers, duplex: 'half' } as RequestInit & { key: string };
    expect((await call(url, '/api/v2/events', init)).status).toBe(202);
    expect(await messages()).toHaveLength(50);
  });

  test('takes other charsets', async () => {
    const body = new Uint8Array(Buffer.from('[{"message":"gr\u00fc\u00dfe"}]', 'latin1'));
    const headers = { 'Content-Type': 'application/json; charset=iso-8859-1' };
    expect((await call(url, '/api/v2/events', { method: 'POST', key, body, headers })).status).toBe(202);
    expect(await messages()).toEqual(['grüße']);
  });

  test('one bad event harms none of its neighbours, and the log says so', async () => {
    const bad = [
      { message: 'no date', date: 'yesterday' },
      { message: 'date of a wrong type', date: 5 },
      { message: 'too old', date: new Date(Date.now() - 4 * 86_400_000).toISOString() },
      { message: 'value', value: 'much' },
      { message: 'long type', type: 'x'.repeat(101) },
      'no object',
      null,
    ];
    const { status, text } = await postEvents(url, key, [log('good'), ...bad, log('better')]);
    expect({ status, text }).toEqual({ status: 202, text: '' });
    expect(await messages()).toEqual(['better', 'good']);
    expect(app.observations.findLast(({ kind }) => kind === 'collector.dropped')).toMatchObject({
      events: bad.length,
      code: 'INVALID_DATE',
    });
  });

  test.each([
    ['slashes that clients concatenate', '//api/v2/events'],
    ['a path prefix', '/footsteps//api/v2/events'],
    ['a slash at the end', '/api/v2/events/'],
  ])('is found behind %s', async (_name, path) => {
    const init = {
      method: 'POST',
      key,
      body: JSON.stringify([log('x')]),
      headers: { 'Content-Type': 'application/json' },
    };
    expect((await call(url, path, init)).status).toBe(202);
  });

  test('has a twin that names the project: 404 for the key of another', async () => {
    const { id } = await project('id');
    const uuid = Buffer.from(id, 'base64').toString().split(':')[1]!;
    const init = {
      method: 'POST',
      key,
      body: JSON.stringify([log('x')]),
      headers: { 'Content-Type': 'application/json' },
    };
    for (const named of [uuid, encodeURIComponent(id)]) {
      expect((await call(url, `/api/v2/projects/${named}/events`, init)).status).toBe(202);
    }
    const other = await createProject(url);
    expect((await call(url, `/api/v2/projects/${uuid}/events`, { ...init, key: other })).status).toBe(404);
  });
});

describe('credentials', () => {
  const basic = (pair: string) => `Basic ${Buffer.from(pair).toString('base64')}`;
  const config = (headers: Record<string, string>, query = '') =>
    call(url, `/api/v2/projects/config${query}`, { headers });

  test('every form that clients use', async () => {
    for (const Authorization of [
      `Bearer ${key}`,
      `bearer ${key}`,
      `Token ${key}`,
      basic(`client:${key}`),
      basic(`${key}:x-oauth-basic`),
      basic(`${key}:`),
    ]) {
      expect([Authorization, (await config({ Authorization })).status]).toEqual([Authorization, 200]);
    }
    for (const name of ['access_token', 'api_key', 'apikey', 'ApiKey']) {
      expect([name, (await config({}, `?${name}=${key}`)).status]).toEqual([name, 200]);
    }
    // A usable header counts, whatever the query says.
    expect((await config({ Authorization: `Bearer ${key}` }, '?access_token=wrong')).status).toBe(200);
    expect((await config({ Authorization: 'Bearer fs_wrong' }, `?access_token=${key}`)).status).toBe(401);
    expect((await config({ Authorization: basic('nonsense') }, `?access_token=${key}`)).status).toBe(200);
  });

  test('none, a wrong one, a person and a revoked one are 401; one that may not send is 403', async () => {
    for (const Authorization of ['', 'Bearer', `Bearer ${key}x`, basic('ada:secret')]) {
      expect((await config(Authorization ? { Authorization } : {})).status).toBe(401);
    }
    const made = await post(
      url,
      key,
      'mutation { reader: createApiKey(name: "r", scopes: [READ]) { key } sender: createApiKey(name: "s", scopes: [INGEST]) { key apiKey { id } } }',
    );
    const { reader, sender } = made.data;
    expect((await config({ Authorization: `Bearer ${reader.key}` })).status).toBe(403);
    expect((await config({ Authorization: `Bearer ${OPERATOR_KEY}` })).status).toBe(403);
    expect((await config({ Authorization: `Bearer ${sender.key}` })).status).toBe(200);
    await post(url, key, 'mutation ($id: ID!) { revokeApiKey(id: $id) { id } }', { id: sender.apiKey.id });
    expect((await config({ Authorization: `Bearer ${sender.key}` })).status).toBe(401);
    for (const path of ['/api/v2/events/session/heartbeat?id=ada', '/api/v2/events/submit?message=x']) {
      expect((await call(url, path)).status).toBe(401);
    }
  });

  test('a token narrowed to a user sends for that user alone', async () => {
    const made = await post(
      url,
      key,
      'mutation { createAccessToken(scopes: [INGEST], identities: ["ada"]) { token } }',
    );
    const { token } = made.data.createAccessToken;
    const of = (identity: string) => ({ message: identity, data: { '@user': { identity } } });
    expect((await postEvents(url, token, [of('ada'), of('bob')])).status).toBe(202);
    expect(await messages()).toEqual(['ada']);
    expect((await rawGet(url, '/api/v2/events/session/heartbeat?id=bob', token)).status).toBe(403);
  });
});

describe('bad input: the status that clients expect, a problem that says what is wrong, nothing stored', () => {
  test('malformed JSON', async () => {
    await expectProblem(await postEvents(url, key, '[{"message": "x"'), 400, 'BAD_USER_INPUT');
  });
  test('a wrong content type', async () => {
    await expectProblem(
      await postEvents(url, key, '<a/>', { 'Content-Type': 'application/xml' }),
      415,
      'UNSUPPORTED_MEDIA_TYPE',
    );
  });
  test('an unknown encoding or charset', async () => {
    await expectProblem(
      await postEvents(url, key, [log('x')], { 'Content-Encoding': 'br' }),
      415,
      'UNSUPPORTED_MEDIA_TYPE',
    );
    const headers = { 'Content-Type': 'application/json; charset=klingon' };
    await expectProblem(await postEvents(url, key, [log('x')], headers), 415, 'UNSUPPORTED_MEDIA_TYPE');
  });
  test('what is called gzip and is none', async () => {
    await expectProblem(await postEvents(url, key, [log('x')], { 'Content-Encoding': 'gzip' }), 400, 'BAD_USER_INPUT');
  });
  test('a gzip bomb: refused at the limit, not inflated', async () => {
    const bomb = new Uint8Array(gzipSync(Buffer.alloc(400_000_000, '[')));
    expect(bomb.length).toBeLessThan(1_000_000);
    const before = process.memoryUsage.rss();
    const headers = { 'Content-Type': 'application/json', 'Content-Encoding': 'gzip' };
    await expectProblem(
      await call(url, '/api/v2/events', { method: 'POST', key, body: bomb, headers }),
      413,
      'PAYLOAD_TOO_LARGE',
    );
    expect(process.memoryUsage.rss() - before).toBeLessThan(150_000_000);
  });
  test('a body beyond the limit, with a length and without', async () => {
    const large = JSON.stringify([log('x'.repeat(9_000_000))]);
    await expectProblem(await postEvents(url, key, large), 413, 'PAYLOAD_TOO_LARGE');
    const body = new ReadableStream({
      start(controller) {
        for (let at = 0; at < 9; at += 1) controller.enqueue(new Uint8Array(1_000_000).fill(97));
        controller.close();
      },
    });
    const init = { method: 'POST', key, body, headers: { 'Content-Type': 'text/plain' }, duplex: 'half' };
    await expectProblem(await call(url, '/api/v2/events', init), 413, 'PAYLOAD_TOO_LARGE');
  });
  test('more events than are taken at a time', async () => {
    await expectProblem(
      await postEvents(
        url,
        key,
        Array.from({ length: 1_001 }, () => log('x')),
      ),
      413,
      'PAYLOAD_TOO_LARGE',
    );
    expect(
      (
        await postEvents(
          url,
          key,
          Array.from({ length: 1_000 }, () => log('x')),
        )
      ).status,
    ).toBe(202);
  });
  test('no body, a missing key, a path that is none, a method that is none', async () => {
    await expectProblem(await call(url, '/api/v2/events', { method: 'POST', key }), 411, 'LENGTH_REQUIRED');
    await expectProblem(await call(url, '/api/v2/events', { method: 'POST', body: '[]' }), 401, 'UNAUTHENTICATED');
    await expectProblem(await call(url, '/api/v2/nothing', { key }), 404, 'NOT_FOUND');
    await expectProblem(await call(url, '/api/v2/events', { method: 'DELETE', key }), 405, 'METHOD_NOT_ALLOWED');
    await expectProblem(await call(url, '/api/v2/Events/Session/Heartbeat?id=ada', { key }), 404, 'NOT_FOUND');
  });
});

describe('what is in an event', () => {
  const first = async (event: object): Promise<any> => {
    expect((await postEvents(url, key, [event])).status).toBe(202);
    return (await look(url, key)).events[0];
  };

  test('fields are found whatever their case; unknown ones go into the data without harming what is there', async () => {
    const event = await first({
      Type: 'usage',
      SOURCE: 'button',
      ReferenceId: 'reference-0001',
      plan: 'gold',
      '@user': { identity: 'second' },
      stack_id: 'x',
      organization_id: 'y',
      data: { plan: 'silver', '@user': { Identity: 'ada', Name: 'Ada' } },
    });
    expect(event).toMatchObject({
      type: 'usage',
      source: 'button',
      referenceId: 'reference-0001',
      user: { identity: 'ada', name: 'Ada' },
    });
    expect(event.data).toMatchObject({
      plan: 'silver',
      plan1: 'gold',
      '@user': { identity: 'ada' },
      '_@user': { identity: 'second' },
    });
    expect(event.data).not.toHaveProperty('stack_id');
  });

  test('a type where none is given: error for data with an error, else log', async () => {
    expect(await first({ data: { '@simple_error': { message: 'x' } } })).toMatchObject({ type: 'error' });
    key = await createProject(url);
    expect(await first({ type: ' ' })).toMatchObject({ type: 'log' });
  });

  test('long texts are cut, never through a character; tags are a set of 50', async () => {
    const tags = [...Array.from({ length: 60 }, (_, at) => `t${at}`), 'T1', '', 'x'.repeat(101), 'Critical'];
    const event = await first({ source: 's'.repeat(3_000), message: `${'m'.repeat(1_999)}😀`, tags });
    expect(event.source).toHaveLength(2_000);
    expect(event.message).toBe('m'.repeat(1_999));
    expect(event.tags).toHaveLength(50);
    expect(event.tags).toContain('Critical');
    expect(event.tags).not.toContain('T1');
  });

  test('a reference that is none is kept in the data, and makes no session and no repeat', async () => {
    await postEvents(url, key, [
      { message: 'a', reference_id: 'no good' },
      { message: 'b', reference_id: 'no good' },
      { type: 'session', reference_id: '!', data: { '@user': { identity: 'ada' } } },
    ]);
    const { events, sessions } = await look(url, key);
    expect(events.map(({ referenceId }) => referenceId).toSorted()).toEqual([
      'invalid-reference-id',
      'invalid-reference-id',
      null,
    ]);
    expect(events.find(({ message }) => message === 'a').data).toMatchObject({ InvalidReferenceId: 'no good' });
    expect(sessions).toMatchObject([{ key: null }]);
  });

  test('a reference is seen once; a posted id is the reference of what has none', async () => {
    const event = { message: 'once', reference_id: 'reference-0001' };
    await postEvents(url, key, [event, event]);
    await postEvents(url, key, [event, { message: 'by id', id: '0123456789abcdef01234567' }]);
    const { events } = await look(url, key);
    expect(events.map(({ message, referenceId }) => [message, referenceId]).toSorted()).toEqual([
      ['by id', '0123456789abcdef01234567'],
      ['once', 'reference-0001'],
    ]);
  });

  test('client and sender: what the server notes of them cannot be sent', async () => {
    const { data } = await first({ data: { '@submission_client': { ip_address: '6.6.6.6' } } });
    expect(data['@submission_client']).toMatchObject({ ip_address: '127.0.0.1' });
    const named = { 'X-Exceptionless-Client': 'exceptionless-js/1.6.4' };
    await postEvents(url, key, [log('named')], named);
    const { events } = await look(url, key);
    expect(events.find(({ message }) => message === 'named').data['@submission_client']).toMatchObject({
      user_agent: 'exceptionless-js',
      version: '1.6.4',
    });
  });

  test('count and geo are kept in the data; a whitespace identity is none', async () => {
    const event = await first({ count: 3, geo: '52.5,13.4', data: { '@user': { identity: '  ', name: 'x' } } });
    expect(event.data).toMatchObject({ '@count': 3, '@geo': '52.5,13.4' });
    expect(event.user).toBeNull();
  });
});

describe('what the .NET client sends', () => {
  const headers = {
    'User-Agent': 'exceptionless/6.2.0.0',
    'Content-Type': 'application/json; charset=utf-8',
    Connection: 'close',
  };
  const at = (seconds: number): string => {
    const local = new Date(Date.now() - 5 * 3_600_000 - (60 - seconds) * 1_000);
    return local.toISOString().replace('Z', '1234-05:00');
  };
  const event = (type: string, seconds: number, message: string | null, more: object = {}) => ({
    type,
    source: null,
    date: at(seconds),
    tags: [],
    message,
    geo: null,
    value: null,
    count: null,
    data: { '@user': '{"identity":"u1","name":null,"data":{}}', '@version': '1.0.0', ...more },
    reference_id: null,
  });

  test('the default identity as JSON in a string, explicit nulls, newest first', async () => {
    const batch = [event('log', 30, 'third'), event('log', 20, 'second'), event('session', 10, null)];
    expect((await postEvents(url, key, batch, headers)).status).toBe(202);
    const { sessions } = await look(url, key);
    expect(sessions).toHaveLength(1);
    expect(sessions[0]).toMatchObject({
      user: { identity: 'u1', name: null },
      version: '1.0.0',
      duration: 20,
      eventCount: 3,
      status: 'ACTIVE',
    });
    expect(sessions[0].events.nodes.map(({ type, message }: any) => message ?? type)).toEqual([
      'session',
      'second',
      'third',
    ]);
    expect(sessions[0].events.nodes[0].occurredAt).toBe(new Date(batch[2]!.date).toISOString());
  });

  test('JSON in a string that is no object is kept beside', async () => {
    await postEvents(
      url,
      key,
      [{ ...event('log', 1, 'x'), data: { '@user': 'just text', '@request': '[1]' } }],
      headers,
    );
    const { events } = await look(url, key);
    expect(events[0].data).toMatchObject({ '_@user': 'just text', '_@request': '[1]' });
    expect(events[0].user).toBeNull();
  });

  test('PascalCase within, from older versions', async () => {
    const request = {
      UserAgent: 'Mozilla/5.0 (X11; Linux x86_64; rv:130.0) Gecko/20100101 Firefox/130.0',
      ClientIpAddress: '9.8.7.6',
    };
    await postEvents(
      url,
      key,
      [event('log', 1, 'x', { '@request': request, '@environment': '{"OSName":"Windows"}' })],
      headers,
    );
    const { sessions, events } = await look(url, key);
    expect(sessions[0]).toMatchObject({ browser: { name: 'Firefox' }, ipAddress: '9.8.7.6' });
    expect(events[0].data['@environment']).toEqual({ o_s_name: 'Windows' });
  });

  test('close=True ends the session', async () => {
    await postEvents(url, key, [event('session', 10, null)], headers);
    expect(await rawGet(url, '/api/v2/events/session/heartbeat?id=u1&close=False', key)).toEqual({
      status: 200,
      text: '',
    });
    expect((await look(url, key)).sessions).toMatchObject([{ status: 'ACTIVE' }]);
    expect(await rawGet(url, '/api/v2/events/session/heartbeat?id=u1&close=True', key)).toEqual({
      status: 200,
      text: '',
    });
    expect((await look(url, key)).sessions).toMatchObject([{ status: 'ENDED', endReason: 'CLIENT' }]);
  });
});

describe('GET /api/v2/events/session/heartbeat', () => {
  const beat = (query: string) => rawGet(url, `/api/v2/events/session/heartbeat${query}`, key);

  test.each(['blake+test@x', 'a b&c', 'a=b', 'ümlaut', '100%', 'a&close=b'])(
    'finds %s, which clients do not encode',
    async (identity) => {
      await postEvents(url, key, [{ message: 'x', data: { '@user': { identity } } }]);
      // As the HTTP stacks send it: blanks and what is no ASCII encoded, nothing else.
      const sent = identity.replace(/[ ü%]/g, encodeURIComponent);
      expect(await beat(`?id=${sent}&close=true`)).toEqual({ status: 200, text: '' });
      expect((await look(url, key)).sessions).toMatchObject([{ user: { identity }, status: 'ENDED' }]);
    },
  );

  test('finds ids that were encoded as forms are, and ids with a credential beside them', async () => {
    await postEvents(url, key, [{ message: 'x', data: { '@user': { identity: 'ada lovelace' } } }]);
    await beat(`?access_token=${key}&close=TRUE&id=ada+lovelace`);
    expect((await look(url, key)).sessions).toMatchObject([{ user: { identity: 'ada lovelace' }, status: 'ENDED' }]);
  });

  test('takes a session by its key before a user of that name, and keeps it alive', async () => {
    const id = '63cde381f7744466af5715090be21d00';
    await postEvents(url, key, [
      { type: 'session', reference_id: id, data: { '@user': { identity: 'ada' } } },
      { type: 'log', message: 'x', data: { '@ref:session': id, '@user': { identity: 'ada' } } },
    ]);
    await beat(`?id=${id}&close=true`);
    const { sessions } = await look(url, key);
    expect(sessions).toMatchObject([{ key: id, eventCount: 2, status: 'ENDED', endReason: 'CLIENT' }]);
  });

  test('an unknown id is accepted: a user who is just here, but no session that never began', async () => {
    expect(await beat('?id=63cde381f7744466af5715090be21d00&close=false')).toEqual({ status: 200, text: '' });
    expect((await look(url, key)).sessions).toEqual([]);
    expect(await beat('?id=quiet@example.com&close=false')).toEqual({ status: 200, text: '' });
    expect((await look(url, key)).sessions).toMatchObject([
      { user: { identity: 'quiet@example.com', presence: { status: 'ONLINE' } } },
    ]);
  });

  test.each(['', '?', '?id=', '?id=&close=true', '?close=true', `?id=${'x'.repeat(300)}`])(
    '%s says nothing, and is answered',
    async (query) => {
      expect(await beat(query)).toEqual({ status: 200, text: '' });
      expect((await look(url, key)).sessions).toEqual([]);
    },
  );

  test('a preflight ends nothing', async () => {
    await postEvents(url, key, [{ message: 'x', data: { '@user': { identity: 'ada' } } }]);
    const { status } = await call(url, '/api/v2/events/session/heartbeat?id=ada&close=true', {
      method: 'OPTIONS',
      headers: { Origin: 'https://a.example' },
    });
    expect(status).toBe(204);
    expect((await look(url, key)).sessions).toMatchObject([{ status: 'ACTIVE' }]);
  });
});

describe('sessions as the clients send them', () => {
  const start = (identity = 'ada') => ({ type: 'session', data: { '@user': { identity } } });

  test('a tab that is shown again starts once more: one session, whatever the policy of the project', async () => {
    await settle('sessionStart: RESTART');
    await postEvents(url, key, [start()]);
    await postEvents(url, key, [start()]);
    expect((await look(url, key)).sessions).toMatchObject([{ eventCount: 1, status: 'ACTIVE' }]);
  });

  test('a page load sends a close and then a start: one session, and no offline edge (rules 12, 18 and 21)', async () => {
    const client = connect(url, key);
    const presence = listen(client, 'subscription { userPresence { kind users { identity status } } }');
    await presence.until((heard) => heard.length > 0);
    await postEvents(url, key, [start()]);
    for (let page = 0; page < 3; page += 1) {
      await rawGet(url, '/api/v2/events/session/heartbeat?id=ada&close=true', key);
      await postEvents(url, key, [start(), { message: `page ${page}`, data: { '@user': { identity: 'ada' } } }]);
    }
    await presence.until((heard) => JSON.stringify(heard).includes('ada'));
    const { sessions } = await look(url, key);
    expect(sessions).toMatchObject([{ status: 'ACTIVE', eventCount: 4 }]);
    expect(JSON.stringify(presence.heard)).not.toContain('OFFLINE');
    presence.stop();
    await client.dispose();
  });
});

describe('GET /api/v2/projects/config', () => {
  const change = (settings: object[]) =>
    post(
      url,
      key,
      'mutation ($settings: [ClientSettingInput!]!) { setClientSettings(settings: $settings) { clientSettings { version entries { key value } } } }',
      { settings },
    );
  const config = (query = '') => call(url, `/api/v2/projects/config${query}`, { key });

  test('the settings and their version; 304 for who has them', async () => {
    expect(JSON.parse((await config()).text)).toEqual({ version: 0, settings: {} });
    const { data } = await change([
      { key: '@@log:*', value: 'debug' },
      { key: '@@DataExclusions', value: 'password' },
    ]);
    expect(data.setClientSettings.clientSettings).toEqual({
      version: 2,
      entries: [
        { key: '@@DataExclusions', value: 'password' },
        { key: '@@log:*', value: 'debug' },
      ],
    });
    const { status, headers, text } = await config('?v=0');
    expect(status).toBe(200);
    expect(headers.get('content-type')).toBe('application/json; charset=utf-8');
    expect(JSON.parse(text)).toEqual({ version: 2, settings: { '@@log:*': 'debug', '@@DataExclusions': 'password' } });
    expect(await config('?v=2')).toMatchObject({ status: 304, text: '' });
    for (const v of ['1', '3', 'x', '', '2.0']) expect((await config(`?v=${v}`)).status).toBe(200);
    expect((await postEvents(url, key, [log('x')])).headers.get('x-exceptionless-configversion')).toBe('2');
    await change([{ key: '@@log:*', value: null }]);
    expect(JSON.parse((await config()).text)).toEqual({ version: 3, settings: { '@@DataExclusions': 'password' } });
  });

  test('needs MANAGE to change; says what is wrong', async () => {
    const made = await post(url, key, 'mutation { createApiKey(name: "s", scopes: [INGEST, READ]) { key } }');
    const refused = await post(
      url,
      made.data.createApiKey.key,
      'mutation { setClientSettings(settings: [{ key: "a", value: "b" }]) { id } }',
    );
    expect(refused.errors![0]!.extensions['code']).toBe('FORBIDDEN');
    for (const settings of [
      [],
      [{ key: ' ', value: 'x' }],
      [{ key: 'x', value: 'x'.repeat(2_001) }],
      Array.from({ length: 201 }, (_, at) => ({ key: `k${at}`, value: 'x' })),
    ]) {
      const { errors } = await change(settings);
      expect(errors![0]!.extensions).toMatchObject({ code: 'BAD_USER_INPUT', field: 'settings' });
    }
    expect(await project('clientSettings { version }')).toEqual({ clientSettings: { version: 0 } });
  });
});

describe('POST /api/v2/events/by-ref/:reference/user-description', () => {
  const describeEvent = (reference: string, body: unknown) =>
    call(url, `/api/v2/events/by-ref/${reference}/user-description`, {
      method: 'POST',
      key,
      body: typeof body === 'string' ? body : JSON.stringify(body),
      headers: { 'Content-Type': 'application/json' },
    });
  const words = {
    email_address: 'ada@example.com',
    description: 'I had just pressed save',
    data: { page: 'editor', '@error': 'mine' },
  };

  test('becomes part of the newest event of that reference', async () => {
    await postEvents(url, key, [
      { type: 'error', reference_id: 'reference-0001', data: { page: 'home', kept: 1, '@error': { message: 'x' } } },
    ]);
    const { status, text, headers } = await describeEvent('reference-0001', words);
    expect({ status, text }).toEqual({ status: 202, text: '' });
    expect(headers.get('x-exceptionless-configversion')).toBe('0');
    const { events } = await look(url, key);
    // The event's own fields stay its own.
    expect(events[0].data).toMatchObject({
      page: 'home',
      kept: 1,
      '@error': { message: 'x' },
      '@user_description': words,
    });
  });

  test('waits for an event that comes later', async () => {
    expect((await describeEvent('reference-0002', words)).status).toBe(202);
    await postEvents(url, key, [{ type: 'error', message: 'late', reference_id: 'reference-0002' }]);
    await eventually(async () => '@user_description' in (await look(url, key)).events[0].data, 15_000);
  }, 20_000);

  test('404 for a reference that is none, 422 for no words or no address, 400 for no JSON', async () => {
    expect((await describeEvent('short', words)).status).toBe(404);
    expect((await describeEvent('not%20one%20at%20all', words)).status).toBe(404);
    expect((await describeEvent('reference-0001', {})).status).toBe(422);
    expect((await describeEvent('reference-0001', { email_address: ' ', description: '' })).status).toBe(422);
    expect((await describeEvent('reference-0001', { email_address: 'nobody' })).status).toBe(422);
    expect((await describeEvent('reference-0001', 'nothing')).status).toBe(400);
    expect((await describeEvent('reference-0001', { description: 'alone' })).status).toBe(202);
  });
});

describe('GET /api/v2/events/submit', () => {
  test('every parameter, repeated ones as a list, credentials left out', async () => {
    const date = new Date(Date.now() - 60_000).toISOString();
    const path = `/api/v2/events/submit/usage?access_token=${key}&Source=link&MESSAGE=hello&reference=reference-0001&date=${date}&count=2&value=1.5&geo=1,2&tags=a,b&tags=c&identity=ada&identity.name=Ada&color=red&color=blue&empty=`;
    const { status, text, headers } = await call(url, path);
    expect({ status, text }).toEqual({ status: 200, text: '' });
    expect(headers.get('x-exceptionless-configversion')).toBe('0');
    const { events } = await look(url, key);
    expect(events).toMatchObject([
      {
        type: 'usage',
        source: 'link',
        message: 'hello',
        referenceId: 'reference-0001',
        occurredAt: date,
        value: 1.5,
        tags: ['a', 'b', 'c'],
        user: { identity: 'ada', name: 'Ada' },
      },
    ]);
    expect(events[0].data).toMatchObject({ color: ['red', 'blue'], '@count': 2, '@geo': '1,2' });
    expect(JSON.stringify(events[0].data)).not.toContain(key);
  });

  test('a log where no type is given; nothing where nothing is said; a project may be named', async () => {
    expect((await call(url, '/api/v2/events/submit?message=x', { key })).status).toBe(200);
    expect((await call(url, `/api/v2/events/submit?apikey=${key}&empty=`)).status).toBe(200);
    const { id } = await project('id');
    expect(
      (await call(url, `/api/v2/projects/${encodeURIComponent(id)}/events/submit?message=y`, { key })).status,
    ).toBe(200);
    expect((await look(url, key)).events.map(({ type, message }) => `${type} ${message}`).toSorted()).toEqual([
      'log x',
      'log y',
    ]);
    expect((await call(url, '/api/v2/events/submit?message=z&date=never', { key })).status).toBe(400);
  });
});

describe('version 1', () => {
  const document = {
    Id: '0123456789abcdef01234567',
    OccurrenceDate: new Date(Date.now() - 1_000).toISOString(),
    Tags: ['old'],
    Message: 'It broke',
    Type: 'System.Exception',
    StackTrace: [{ Name: 'Main', LineNumber: 7 }],
    RequestInfo: { UserAgent: 'Mozilla/5.0 (X11; Linux x86_64; rv:130.0) Gecko/20100101 Firefox/130.0' },
    EnvironmentInfo: { OSName: 'Windows' },
    ExtendedData: { OrderId: 5 },
    UserName: 'ada',
  };
  const json = { 'Content-Type': 'application/json' };

  test('error documents are upgraded', async () => {
    const { status, headers, text } = await call(url, '/api/v1/error', {
      method: 'POST',
      key,
      body: JSON.stringify(document),
      headers: json,
    });
    expect({ status, text, v: headers.get('v') }).toEqual({ status: 202, text: '', v: '0' });
    const { events, sessions } = await look(url, key);
    expect(events).toMatchObject([
      { type: 'error', message: 'It broke', tags: ['old'], referenceId: document.Id, user: { identity: 'ada' } },
    ]);
    expect(events[0].data).toMatchObject({
      OrderId: 5,
      '@error': { type: 'System.Exception', message: 'It broke', stack_trace: [{ name: 'Main', line_number: 7 }] },
      '@environment': { o_s_name: 'Windows' },
    });
    expect(sessions).toMatchObject([{ errorCount: 1, browser: { name: 'Firefox' } }]);
    const patched = await call(url, `/api/v1/error/${document.Id}`, {
      method: 'PATCH',
      key,
      body: JSON.stringify({ UserEmail: 'a@b', UserDescription: 'oh' }),
      headers: json,
    });
    expect(patched.status).toBe(200);
    expect((await look(url, key)).events[0].data['@user_description']).toEqual({
      email_address: 'a@b',
      description: 'oh',
    });
    expect((await call(url, `/api/v1/error/${document.Id}`, { method: 'PATCH', key, headers: json })).status).toBe(200);
  });

  test('its other paths', async () => {
    const { id } = await project('id');
    const missing = JSON.stringify({ ...document, Id: undefined, Code: '404' });
    for (const path of ['/api/v1/events', `/api/v1/projects/${encodeURIComponent(id)}/events`]) {
      expect((await call(url, path, { method: 'POST', key, body: missing, headers: json })).status).toBe(202);
    }
    expect((await look(url, key)).events.map(({ type }) => type)).toEqual(['404', '404']);
    expect((await call(url, '/api/v1/events/submit?message=x', { key })).status).toBe(200);
    const config = await call(url, '/api/v1/project/config', { key });
    expect(JSON.parse(config.text)).toEqual({ version: 0, settings: {} });
  });
});

describe('pages of other origins', () => {
  const page = { Origin: 'https://shop.example' };

  test('a preflight is granted what it asks for, and remembered', async () => {
    const { status, headers, text } = await call(url, '/api/v2/events', {
      method: 'OPTIONS',
      headers: {
        ...page,
        'Access-Control-Request-Method': 'POST',
        'Access-Control-Request-Headers': 'authorization,content-type,user-agent',
      },
    });
    expect({ status, text }).toEqual({ status: 204, text: '' });
    expect(headers.get('access-control-allow-origin')).toBe(page.Origin);
    expect(headers.get('access-control-allow-headers')).toBe('authorization,content-type,user-agent');
    expect(headers.get('access-control-allow-methods')).toContain('POST');
    expect(Number(headers.get('access-control-max-age'))).toBeGreaterThanOrEqual(300);
  });

  test('answers and errors can be read by the page', async () => {
    const good = await postEvents(url, key, [log('x')], page);
    const bad = await postEvents(url, 'fs_nobody', [log('x')], page);
    for (const [{ status, headers }, expected] of [
      [good, 202],
      [bad, 401],
    ] as const) {
      expect(status).toBe(expected);
      expect(headers.get('access-control-allow-origin')).toBe(page.Origin);
      expect(headers.get('access-control-expose-headers')).toMatch(
        /X-Exceptionless-ConfigVersion.*X-RateLimit-Remaining/,
      );
    }
  });

  test('a project limits them to its own, at every door; who is no browser is not concerned', async () => {
    await settle('allowedOrigins: ["https://shop.example", "https://*.Shop.example"]');
    expect(await project('settings { allowedOrigins }')).toEqual({
      settings: { allowedOrigins: ['https://shop.example', 'https://*.shop.example'] },
    });
    for (const Origin of ['https://shop.example', 'https://www.shop.example', url]) {
      expect([Origin, (await postEvents(url, key, [log('x')], { Origin })).status]).toEqual([Origin, 202]);
    }
    for (const Origin of [
      'https://evil.example',
      'http://shop.example',
      'https://shop.example.evil',
      'https://evilshop.example',
      'null',
    ]) {
      const reply = await postEvents(url, key, [log('evil')], { Origin });
      expect([Origin, reply.status]).toEqual([Origin, 403]);
      expect(reply.headers.get('access-control-allow-origin')).toBe(Origin);
      const { status, errors } = await post(url, key, '{ project { id } }', {}, { headers: { Origin } });
      expect([status, errors![0]!.extensions['code']]).toEqual([403, 'FORBIDDEN']);
    }
    expect((await postEvents(url, key, [log('server')])).status).toBe(202);
    expect(await messages()).not.toContain('evil');
    await settle('allowedOrigins: []');
    expect((await postEvents(url, key, [log('x')], { Origin: 'https://evil.example' })).status).toBe(202);
  });

  test('an origin that is none is refused as a setting', async () => {
    for (const origin of ['shop.example', 'https://shop.example/', 'https://', '*', 'https://a b', 'https://u@x']) {
      const { errors } = await settle(`allowedOrigins: ["${origin}"]`);
      expect(errors![0]!.extensions).toMatchObject({ code: 'BAD_USER_INPUT', field: 'settings.allowedOrigins' });
    }
  });
});
