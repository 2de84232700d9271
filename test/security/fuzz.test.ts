import { Agent, request as httpRequest } from 'node:http';
import { connect as openSocket } from 'node:net';
import { deflateSync, gzipSync } from 'node:zlib';
import fc from 'fast-check';
import { afterAll, beforeAll, expect, test } from 'vitest';
import WebSocket from 'ws';
import { schema } from '../../src/schema/schema.js';
import { createProject, post, startTestApp, type TestApp } from '../support/app.js';
import { createTestDatabase, type TestDatabase } from '../support/database.js';
import { Dice } from '../support/dice.js';
import { record } from '../support/ledger.js';
import { nested, oddInput, oddObject, oddOperation, oddText, oddValue } from '../support/odd-values.js';
import { rootFields } from '../support/whole-selection.js';
import type { Database } from '../../src/store/database.js';

/** Whatever is sent, by whichever door: an answer that says what was wrong, nothing half done, nobody harmed. */

/** FUZZ_SEED has other inputs tried, FUZZ_TIMES so many times as many. */
const SEED = Number(process.env['FUZZ_SEED'] ?? 20_261_005);
const TIMES = Number(process.env['FUZZ_TIMES'] ?? 1);
/** Within which every request is answered. Milliseconds. */
const PATIENCE = 15_000;

const tried = new Map<string, number>();
const count = (door: string, inputs = 1): void => void tried.set(door, (tried.get(door) ?? 0) + inputs);

let db: TestDatabase;
let database: Database;
let app: TestApp;
let key: string;
const agent = new Agent({ keepAlive: true, maxSockets: 16 });

beforeAll(async () => {
  process.stdout.write(`fuzz: FUZZ_SEED=${SEED} FUZZ_TIMES=${TIMES}\n`);
  db = await createTestDatabase();
  database = db.open();
  app = await startTestApp(db, { RATE_LIMIT_PER_KEY: '0', RATE_LIMIT_PER_ADDRESS: '0' });
  key = await createProject(app.url);
});
afterAll(async () => {
  let total = 0;
  for (const [door, inputs] of tried) {
    total += inputs;
    record(`fuzz: ${door}`, inputs);
  }
  record('fuzz: inputs in all', total);
  agent.destroy();
  await app.close('test');
  await db.drop();
});

/** Runs a check for one seed after the other, so many times. */
const times = (runs: number, check: (dice: Dice) => Promise<void>): Promise<void> =>
  fc.assert(
    fc.asyncProperty(fc.integer(), (seed) => check(new Dice(seed))),
    { seed: SEED, numRuns: runs * TIMES, endOnFailure: true },
  );

interface Reply {
  status: number;
  text: string;
}

function send(
  path: string,
  {
    method = 'POST',
    headers = {},
    body = '',
  }: { method?: string; headers?: Record<string, string>; body?: string | Buffer },
): Promise<Reply> {
  const { hostname, port } = new URL(app.url);
  return new Promise((resolve, reject) => {
    const asked = httpRequest(
      {
        hostname,
        port,
        path,
        method,
        agent,
        signal: AbortSignal.timeout(PATIENCE),
        headers: { 'Content-Length': Buffer.byteLength(body), ...headers },
      },
      (response) => {
        const chunks: Buffer[] = [];
        response.on('data', (chunk: Buffer) => chunks.push(chunk));
        response.on('end', () => resolve({ status: response.statusCode!, text: Buffer.concat(chunks).toString() }));
        response.on('error', reject);
      },
    );
    asked.on('error', reject);
    asked.end(body);
  });
}

const sendJson = (json: string, who = key, more: Record<string, string> = {}): Promise<Reply> =>
  send('/graphql', {
    headers: { 'Content-Type': 'application/json', Authorization: `Bearer ${who}`, ...more },
    body: json,
  });

/** What tells of our insides: stack traces, files, SQL, and what we do not know ourselves. */
const INSIDES =
  /"INTERNAL"|Something went wrong on our side|node_modules|\bat [\w.<> ]+ \(|file:\/\/|:\d+:\d+\)|\/src\/|\/dist\/|\.(?:ts|js):\d|SELECT .* FROM|INSERT INTO|syntax error at|violates|prisma|TypeError|RangeError|ReferenceError|Cannot read prop/i;

function expectSane({ status, text }: Reply, input: unknown): void {
  const said = `${status} ${text.slice(0, 600)}\nfor ${JSON.stringify(input)?.slice(0, 1_500)}`;
  if (status >= 500 && status !== 503) throw new Error(`Failed: ${said}`);
  const inside = INSIDES.exec(text);
  if (inside) throw new Error(`Tells of its insides (${inside[0]}): ${said}`);
  if (!text.startsWith('{')) return;
  const { errors, code } = JSON.parse(text) as { errors?: { extensions?: { code?: unknown } }[]; code?: unknown };
  for (const error of errors ?? []) if (typeof error.extensions?.code !== 'string') throw new Error(`No code: ${said}`);
  if (status >= 400 && !errors && typeof code !== 'string') throw new Error(`No code: ${said}`);
}

const isWell = async (): Promise<void> => {
  expect((await post(app.url, key, '{ project { name } }')).status).toBe(200);
};

async function storedIn(who: string): Promise<number> {
  const { data } = await post(app.url, who, '{ events(first: 0) { totalCount } }');
  return data.events.totalCount;
}

const INGEST =
  'mutation ($events: [EventInput!]!) { ingestEvents(events: $events) { accepted discarded duplicates rejected results { index status code eventId sessionId } } }';
const identities = Array.from({ length: 60 }, (_, at) => oddText(new Dice(at)) || `user ${at}`);

/** An event that GraphQL's types let through. */
function oddEvent(dice: Dice): Record<string, unknown> {
  const maybe = (name: string, make: () => unknown): [string, unknown][] => (dice.oneIn(3) ? [[name, make()]] : []);
  return Object.fromEntries([
    ...maybe('id', () => oddText(dice)),
    ...maybe('type', () =>
      dice.oneIn(2) ? dice.pick(['log', 'error', 'session', 'sessionend', 'heartbeat']) : oddText(dice),
    ),
    ...maybe('source', () => oddText(dice)),
    ...maybe('message', () => oddText(dice)),
    ...maybe('occurredAt', () =>
      dice.oneIn(3) ? oddText(dice) : new Date(Date.now() - dice.below(10 ** dice.below(12))).toISOString(),
    ),
    ...maybe('value', () => dice.pick([0, -0, 1e308, -1.5, 5e-324, 2 ** 53])),
    ...maybe('tags', () => dice.list(4, () => oddText(dice))),
    ...maybe('referenceId', () => oddText(dice)),
    ...maybe('sessionKey', () => (dice.oneIn(2) ? `odd-session-${dice.below(20)}` : oddText(dice))),
    ...maybe('version', () => oddText(dice)),
    ...maybe('data', () => oddObject(dice)),
    [
      'user',
      dice.oneIn(4)
        ? null
        : { identity: dice.pick(identities), ...(dice.oneIn(4) && { name: oddText(dice), data: oddObject(dice) }) },
    ],
  ]);
}

test('events of every odd kind, a thousand at a time: each is answered, and what was accepted is what is stored', async () => {
  const who = await createProject(app.url);
  let accepted = 0;
  await times(60, async (dice) => {
    const events = Array.from({ length: 1_000 }, () => oddEvent(dice));
    const reply = await sendJson(JSON.stringify({ query: INGEST, variables: { events } }), who);
    expectSane(reply, 'a thousand events');
    const { data } = JSON.parse(reply.text) as { data: any };
    const { results, discarded, duplicates, rejected, ...more } = data.ingestEvents;
    expect(results.length).toBe(1_000);
    expect(more.accepted + discarded + duplicates + rejected).toBe(1_000);
    expect(results.filter(({ status, code }: any) => status === 'REJECTED' && typeof code !== 'string')).toEqual([]);
    accepted += more.accepted;
    count('events by GraphQL', 1_000);
  });
  expect(accepted).toBeGreaterThan(1_000);
  expect(await storedIn(who)).toBe(accepted);
}, 120_000);

test('variables of every input type, right and wrong: a request is taken whole or refused whole', async () => {
  const who = await createProject(app.url);
  let accepted = 0;
  const roots = rootFields(schema).filter(
    ({ operation, field }) => operation !== 'subscription' && field.args.length > 0,
  );
  const keep = new Set(['revokeApiKey', 'createProject', 'eraseUser']);
  await times(600, async (dice) => {
    await Promise.all(
      Array.from({ length: 8 }, async () => {
        const { operation, field } = dice.pick(roots.filter((root) => !keep.has(root.field.name)));
        const variables = Object.fromEntries(
          field.args.map(({ name, type }) => [name, oddInput(dice, type, dice.below(4))]),
        );
        // A limit that holds would keep the rest out.
        const { settings } = variables as { settings?: Record<string, unknown> };
        if (field.name === 'updateProject' && settings && typeof settings === 'object')
          settings['rateLimit'] = dice.pick([null, 100_000_000, 0, -1, 1.5, 'many']);
        const selection =
          field.name === 'ingestEvents' ? '{ accepted }' : field.name === 'createApiKey' ? '{ key }' : '{ __typename }';
        const defined = field.args.map(({ name, type }) => `$${name}: ${String(type)}`).join(', ');
        const given = field.args.map(({ name }) => `${name}: $${name}`).join(', ');
        const query = `${operation} (${defined}) { ${field.name}(${given}) ${selection} }`;
        let json = JSON.stringify({ query, variables });
        // What JSON can say and JavaScript cannot hold.
        if (dice.oneIn(10))
          json = json.replace(/:(?:-?\d[\d.e+-]*)/, () => `:${dice.pick(['1e999', '-1e999', '1E400', '0.1e-999'])}`);
        if (dice.oneIn(20)) json = json.replace(/:null/, () => `:${nested(dice.pick([10, 101, 3_000, 50_000]))}`);
        const reply = await sendJson(json, who);
        expectSane(reply, json);
        count('variables');
        const { data } = JSON.parse(reply.text) as { data?: any };
        accepted += data?.ingestEvents?.accepted ?? 0;
      }),
    );
  });
  expect(await storedIn(who)).toBe(accepted);
  await isWell();
}, 120_000);

test('documents made from the schema, and broken ones', async () => {
  const who = await createProject(app.url);
  await post(app.url, who, INGEST, { events: Array.from({ length: 50 }, () => oddEvent(new Dice(7))) });
  const roots = rootFields(schema).filter(
    ({ operation, field }) => operation !== 'subscription' && field.name !== 'revokeApiKey',
  );
  const answered = { with: 0, without: 0 };
  await times(500, async (dice) => {
    await Promise.all(
      Array.from({ length: 8 }, async () => {
        const asked = oddOperation(schema, dice, roots, dice.below(2));
        const query = dice.oneIn(2) ? asked.query : dice.mutate(asked.query, '{}()$:!@#"&|[]=. \n\u0000\uFEFFabc1');
        const json = JSON.stringify({
          ...asked,
          query,
          ...(dice.oneIn(10) && { operationName: oddValue(dice), extensions: oddValue(dice) }),
        });
        const reply = await sendJson(dice.oneIn(20) ? dice.mutate(json, '{}[]",:0\\') : json, who);
        expectSane(reply, json);
        answered[reply.text.includes('"errors"') ? 'without' : 'with'] += 1;
        count('documents');
      }),
    );
  });
  // Enough of them are good for the resolvers to have been tried too.
  expect(answered.with).toBeGreaterThan(200 * TIMES);
  await isWell();
}, 120_000);

test('documents that are large in one way or another are refused, in time', async () => {
  const many = (text: string, times: number): string => text.repeat(times);
  const documents = [
    `{ ${many('project { name } ', 1_600)} }`,
    `{ ${many('project { ...f } ', 800)} } fragment f on Project { ${many('name ', 800)} }`,
    `{ ${many('a: project { b: name } ', 700)} }`,
    `{ project { ${many('... on Project { ', 600)} name ${many('}', 600)} } }`,
    `{ project { name(${many('a: 1 ', 1_500)}) } }`,
    `query (${Array.from({ length: 900 }, (_, at) => `$v${at}: Int`).join(' ')}) { project { name } }`,
    `{ sessions(filter: { dataContains: ${many('{ a: ', 1_000)} 1 ${many('}', 1_000)} }) { totalCount } }`,
    `{ sessions(filter: { search: ${many('[', 2_400)} ${many(']', 2_400)} }) { totalCount } }`,
    `{ ${Array.from({ length: 600 }, (_, at) => `nope${at}`).join(' ')} }`,
    many('query A { __typename } ', 900),
    `${Array.from({ length: 400 }, (_, at) => `fragment f${at} on Project { ...f${(at + 1) % 400} name }`).join(' ')} { project { ...f0 } }`,
    `{ __schema { ${many('types { fields { type { ', 20)} name ${many('} } }', 20)} } }`,
    `{ project { name @include(if: true) ${many('@skip(if: false) ', 900)} } }`,
    '#'.repeat(2_000_000),
    `"${'x'.repeat(2_000_000)}"`,
    '"""'.repeat(100_000),
    '\uFEFF'.repeat(100_000),
  ];
  for (const query of documents) {
    const start = performance.now();
    const reply = await sendJson(JSON.stringify({ query }));
    expectSane(reply, query.slice(0, 200));
    expect([query.slice(0, 60), performance.now() - start < 20_000]).toEqual([query.slice(0, 60), true]);
    count('documents');
  }
  // The counts that a query asks for are counted, however it says them.
  const rows = await post(
    app.url,
    key,
    'query ($n: Int = 100) { sessions(first: $n) { nodes { events(first: $n) { nodes { session { events(first: $n) { nodes { id } } } } } } } }',
  );
  expect(rows.errors?.[0]?.extensions['code']).toBe('QUERY_TOO_COMPLEX');
}, 60_000);

test('what was stored with a NUL or half a pair is found by the same text', async () => {
  const who = await createProject(app.url);
  for (const odd of ['a\0b', 'a\uD800b']) {
    await post(app.url, who, INGEST, {
      events: [{ source: odd, message: odd, tags: [odd], data: { [odd]: odd }, user: { identity: odd, name: odd } }],
    });
    for (const filter of [
      { sources: [odd] },
      { search: odd },
      { tags: [odd] },
      { dataContains: { [odd]: odd } },
      { identities: [odd] },
    ]) {
      const query = 'query ($filter: EventFilter) { events(filter: $filter) { totalCount } }';
      const { data } = await post(app.url, who, query, { filter });
      expect([filter, data?.events.totalCount]).toEqual([filter, odd.includes('\0') ? 1 : 2]);
    }
    const asked =
      'query ($identity: String!) { user(identity: $identity) { presence { status } } presence(identities: [$identity]) { nodes { status } } }';
    const { data } = await post(app.url, who, asked, { identity: odd });
    expect(data).toEqual({ user: { presence: { status: 'ONLINE' } }, presence: { nodes: [{ status: 'ONLINE' }] } });
  }
});

test('cursors of every odd kind', async () => {
  const who = await createProject(app.url);
  await post(app.url, who, INGEST, {
    events: Array.from({ length: 30 }, (_, at) => ({ message: `m${at}`, user: { identity: `u${at}` } })),
  });
  const lists = [
    'sessions',
    'sessions(orderBy: { field: DURATION })',
    'sessions(orderBy: { field: EVENT_COUNT, direction: ASC })',
    'events',
    'presence',
    'presence(identities: ["u1", "u2", "u3"])',
  ].map((list) => (list.includes('(') ? list.slice(0, -1) : `${list}(first: 5`));
  const real = await Promise.all(
    lists.map(async (list) => {
      const { data } = await post(app.url, who, `{ page: ${list}) { edges { cursor } } }`);
      return data.page.edges.map(({ cursor }: { cursor: string }) => cursor) as string[];
    }),
  );
  await times(400, async (dice) => {
    await Promise.all(
      Array.from({ length: 8 }, async () => {
        const cursor = dice.pick(dice.pick(real));
        const parts = JSON.parse(Buffer.from(cursor, 'base64url').toString()) as [string, unknown];
        const [kind, place] = parts;
        const encode = (value: unknown): string => Buffer.from(JSON.stringify(value) ?? '').toString('base64url');
        const odd = dice.pick([
          () => dice.mutate(cursor, 'ABCDEFabcdef0123456789-_=+/ \0'),
          () =>
            Buffer.from(dice.mutate(Buffer.from(cursor, 'base64url').toString(), '[]{},"0:T-Ze9')).toString(
              'base64url',
            ),
          () => dice.bytes(60).toString('base64'),
          () => encode(oddValue(dice)),
          () => encode([kind, oddValue(dice)]),
          () =>
            encode([
              kind,
              Array.isArray(place)
                ? place.map((one: unknown) => (dice.oneIn(2) ? oddValue(dice) : one))
                : oddText(dice),
            ]),
          () => encode([oddText(dice), place]),
          () => oddText(dice),
        ])();
        const way = dice.pick(['after', 'before']);
        const query = `query ($cursor: String) { ${dice.pick(lists)}, ${way}: $cursor) { totalCount nodes { __typename } } }`;
        expectSane(await sendJson(JSON.stringify({ query, variables: { cursor: odd } }), who), [query, odd]);
        count('cursors');
      }),
    );
  });
}, 120_000);

test('tokens changed in any way let nobody in', async () => {
  const made = await post(
    app.url,
    key,
    'mutation { createAccessToken(scopes: [READ, PRESENCE], identities: ["ada"]) { token } }',
  );
  const { token } = made.data.createAccessToken as { token: string };
  const bytes = (text: string): string =>
    text
      .split('.')
      .map((part) => Buffer.from(part, 'base64url').toString('hex'))
      .join('.');
  await times(400, async (dice) => {
    await Promise.all(
      Array.from({ length: 8 }, async () => {
        const [head, body, signature] = token.split('.') as [string, string, string];
        const claims = JSON.parse(Buffer.from(body, 'base64url').toString()) as Record<string, unknown>;
        const encode = (value: unknown): string => Buffer.from(JSON.stringify(value) ?? '').toString('base64url');
        const odd = dice.pick([
          () => dice.mutate(token, 'ABCabc012-_.=+/ '),
          () => `${head}.${encode({ ...claims, [dice.pick(Object.keys(claims))]: oddValue(dice) })}.${signature}`,
          () =>
            `${encode({ alg: dice.pick(['none', 'None', 'HS256', 'RS256', 'HS512', oddText(dice)]), typ: oddValue(dice) })}.${body}.${dice.oneIn(2) ? signature : ''}`,
          () => `${encode(oddValue(dice))}.${encode(oddValue(dice))}.${dice.bytes(40).toString('base64url')}`,
          () => dice.mutate(key, 'ABCabc012_'),
        ])();
        // Headers hold no more than this.
        const sent = odd.replaceAll(/[^\x21-\x7e]/g, '').slice(0, 10_000);
        if (sent === key || bytes(sent) === bytes(token)) return;
        const reply = await sendJson('{"query":"{ project { name } }"}', sent);
        expectSane(reply, sent);
        expect([sent, reply.status]).toEqual([sent, 401]);
        count('tokens');
      }),
    );
  });
}, 120_000);

/** Bytes as they are, on a connection of their own; what comes back until it ends. */
function raw(bytes: Buffer): Promise<string> {
  const { hostname, port } = new URL(app.url);
  return new Promise((resolve, reject) => {
    const socket = openSocket(Number(port), hostname);
    const chunks: Buffer[] = [];
    const timer = setTimeout(() => {
      socket.destroy();
      reject(new Error(`Not answered: ${JSON.stringify(bytes.toString('latin1')).slice(0, 1_000)}`));
    }, PATIENCE);
    socket.on('data', (chunk: Buffer) => chunks.push(chunk));
    socket.on('error', () => {});
    // Where more was announced than is sent, the end of it is.
    const end = setTimeout(() => socket.end(), 300);
    socket.on('close', () => {
      clearTimeout(timer);
      clearTimeout(end);
      resolve(Buffer.concat(chunks).toString());
    });
    socket.write(bytes);
  });
}

/** The status and body of a raw answer. */
function replyOf(answer: string): Reply {
  const [head = '', ...rest] = answer.split('\r\n\r\n');
  return { status: Number(/^HTTP\/1\.1 (\d+)/.exec(head)?.[1] ?? 0), text: rest.join('\r\n\r\n') };
}

const PATHS = [
  '/graphql?query={project{name}}&variables=%5B',
  '/graphql?query={project{name}}&extensions=x',
  '/graphql?query={project{name}}&operationName=nope',
  '/graphql',
  '/graphql/',
  '//graphql',
  '/health/live',
  '/api/v2/events',
  '/api/v2/events/submit/log',
  '/api/v2/projects/config',
  '/api/v2/events/session/heartbeat?id=x',
  '/api/v2/events/by-ref/12345678/user-description',
  '/api/v1/error',
  '/api/v1/error/12345678',
  'http://localhost/graphql',
  'http://[',
  '/\\[',
  '*',
  '/%',
  '/%00',
  '/..%2f..%2fetc/passwd',
  '/api/v2/projects/%E0%A4%A/events',
  '/graphql?query=%7B',
  '/graphql?query={project{name}}',
  '/graphql?variables=%5B',
  '/graphql?extensions=x',
  '/?',
  '//',
  '///api/v2//events',
  '/api/v2/../v2/events',
];

test('headers and paths of every odd kind', async () => {
  let answered = 0;
  const chars = 'abc/%?#&=.:;,*[]{}\\"\'<>@!~|^`+-_ 0123456789\u00e9';
  const odds = [
    'Bearer ',
    'Basic ',
    'Basic Og==',
    'gzip',
    'gzip, br',
    'deflate',
    'br',
    'application/json',
    'text/plain',
    'application/json; charset=utf-7',
    'multipart/form-data',
    'text/event-stream',
    'multipart/mixed',
    'text/html',
    '*/*',
    'a/b;q=x',
    '127.0.0.1',
    '::1, 10.0.0.1',
    'http://evil',
    'null',
    'chunked',
    '100-continue',
    '0',
    '-1',
    '99999999999',
    'websocket',
    'Upgrade',
  ];
  const names = [
    'Authorization',
    'Content-Type',
    'Content-Encoding',
    'X-Forwarded-For',
    'Accept',
    'Origin',
    'User-Agent',
    'X-Request-Id',
    'X-Exceptionless-Client',
    'Access-Control-Request-Headers',
    'Expect',
    'Content-Length',
    'Transfer-Encoding',
    'Upgrade',
    'Connection',
    'Sec-WebSocket-Key',
    'Sec-WebSocket-Version',
    'Sec-WebSocket-Protocol',
    'Cookie',
    'Host',
    'Range',
    '__proto__',
  ];
  await times(500, async (dice) => {
    await Promise.all(
      Array.from({ length: 10 }, async () => {
        const path = dice.oneIn(2) ? dice.pick(PATHS) : dice.mutate(dice.pick(PATHS), chars);
        const body = dice.pick([
          '',
          '{"query":"{ project { name } }"}',
          '[{"message":"x"}]',
          dice.bytes(50).toString('latin1'),
        ]);
        const headers = dice.list(4, () => {
          const value = dice.oneIn(3)
            ? dice.bytes(30).toString('latin1')
            : dice.oneIn(2)
              ? dice.pick(odds)
              : `${dice.pick(odds)}${oddText(dice).slice(0, 500)}`;
          return `${dice.pick(names)}: ${value}`;
        });
        const known = dice.below(4) > 0 ? [`Authorization: Bearer ${key}`, 'Content-Type: application/json'] : [];
        const lines = [
          `${dice.pick(['GET', 'POST', 'POST', 'OPTIONS', 'HEAD', 'PUT', 'PATCH', 'DELETE', 'QUERY', oddText(dice)])} ${path} HTTP/1.1`,
          'Host: x',
          'Connection: close',
          `Content-Length: ${Buffer.byteLength(body, 'latin1')}`,
          ...known,
          ...headers,
        ];
        const bytes = Buffer.from(`${lines.join('\r\n')}\r\n\r\n${body}`, dice.oneIn(2) ? 'latin1' : 'utf8');
        const reply = replyOf(await raw(bytes));
        // HTML is GraphiQL's page, which is full of code.
        if (!reply.text.startsWith('<'))
          expectSane(
            { ...reply, text: reply.text.startsWith('{') && !reply.text.endsWith('}') ? '' : reply.text },
            lines,
          );
        count('headers and paths');
        if (reply.status > 0) answered += 1;
      }),
    );
  });
  expect(answered).toBeGreaterThan(4_000 * TIMES);
  await isWell();
}, 120_000);

test('collector bodies of every odd kind: what is refused left nothing behind', async () => {
  const who = await createProject(app.url);
  const refused: string[] = [];
  let body = 0;
  const fields = [
    'type',
    'message',
    'source',
    'date',
    'geo',
    'value',
    'tags',
    'reference_id',
    'count',
    'data',
    '@user',
    '@request',
    '@error',
    '@simple_error',
    '@environment',
    '@version',
    '@stack',
    'Message',
    'ClientInfo',
    'OccurrenceDate',
    '__proto__',
  ];
  await times(350, async (dice) => {
    await Promise.all(
      Array.from({ length: 4 }, async () => {
        body += 1;
        // Said twice, so that no mutation makes it another's.
        const marker = `body-${body}-${body}-`;
        const events = Array.from({ length: 1 + dice.below(40) }, () =>
          dice.oneIn(12)
            ? oddValue(dice)
            : {
                ...Object.fromEntries(dice.list(5, () => [dice.pick(fields), oddValue(dice)])),
                message: `${marker}${oddText(dice)}`,
              },
        );
        const json = JSON.stringify(dice.oneIn(8) ? events[0] : events);
        const text = dice.pick([
          () => json,
          () => json,
          () => json,
          () => dice.mutate(json, '{}[]",:0\\\0'),
          () => `${marker}${oddText(dice)}\n${marker}${oddText(dice)}`,
          () => `[{"message":"${marker}","data":${nested(dice.pick([99, 101, 20_000]))}}]`,
          () => dice.bytes(200).toString('latin1'),
        ])();
        const plain = Buffer.from(text, dice.oneIn(5) ? 'utf16le' : 'utf8');
        const [encoding, bytes] = dice.pick([
          () => [null, plain] as const,
          () => ['gzip', gzipSync(plain)] as const,
          () => ['deflate', deflateSync(plain)] as const,
          () => ['gzip', plain] as const,
          () => ['deflate', gzipSync(plain).subarray(0, 30)] as const,
          () => ['br', plain] as const,
        ])();
        const path = dice.pick([
          '/api/v2/events',
          '/api/v2/events',
          '/api/v1/error',
          '/api/v1/events',
          '/api/v2/events/by-ref/12345678/user-description',
        ]);
        const reply = await send(path, {
          headers: {
            Authorization: `Bearer ${who}`,
            'Content-Type': dice.pick([
              'application/json',
              'application/json',
              'text/plain',
              'application/json; charset=utf-16le',
              'text/plain; charset=nope',
              'text/html',
            ]),
            ...(encoding && { 'Content-Encoding': encoding }),
          },
          body: Buffer.from(bytes),
        });
        expectSane(reply, [path, text]);
        if (reply.status >= 300) refused.push(marker);
        count('collector bodies');
        count('events in them', events.length);
      }),
    );
  });
  const rows = await database.query<{ marker: string }>({
    name: 'test.refused',
    text: `SELECT DISTINCT substring(message FROM '^(body-([0-9]+)-\\2-)') AS marker FROM events WHERE message LIKE 'body-%'`,
  });
  const stored = new Set(rows.map(({ marker }) => marker));
  expect(stored.size).toBeGreaterThan(100);
  expect(refused.length).toBeGreaterThan(100);
  expect(refused.filter((marker) => stored.has(marker))).toEqual([]);
}, 120_000);

test('WebSocket frames of every odd kind, and the protocol’s messages in any order', async () => {
  const url = `${app.url.replace('http', 'ws')}/graphql`;
  const roots = rootFields(schema).filter(({ name }) => !name.startsWith('Mutation'));
  const messages = (dice: Dice): string | Buffer =>
    dice.pick<() => string | Buffer>([
      () => JSON.stringify({ type: 'connection_init', payload: { authorization: `Bearer ${key}` } }),
      () => JSON.stringify({ type: 'connection_init', payload: { authorization: `Bearer ${key}` } }),
      () => JSON.stringify({ type: 'connection_init', payload: oddValue(dice) }),
      () => JSON.stringify({ type: 'ping', payload: oddValue(dice) }),
      () => JSON.stringify({ type: 'ping', payload: { authorization: dice.pick([`Bearer ${key}`, oddText(dice)]) } }),
      () => JSON.stringify({ type: 'pong' }),
      () => JSON.stringify({ type: 'complete', id: dice.pick(['1', '2', '']) }),
      () =>
        JSON.stringify({
          id: dice.pick(['1', '2', '3']),
          type: 'subscribe',
          payload: oddOperation(schema, dice, roots, 1),
        }),
      () =>
        JSON.stringify({
          id: dice.pick(['1', '2', '3']),
          type: 'subscribe',
          payload: oddOperation(schema, dice, roots, 1),
        }),
      () =>
        JSON.stringify({
          id: oddText(dice),
          type: 'subscribe',
          payload: {
            query: '{ project { name } }',
            variables: oddValue(dice),
            operationName: oddValue(dice),
            extensions: oddValue(dice),
          },
        }),
      () => JSON.stringify({ id: '4', type: 'subscribe', payload: oddValue(dice) }),
      () =>
        JSON.stringify({
          id: oddValue(dice),
          type: dice.pick(['next', 'error', 'connection_ack', 'start', oddText(dice)]),
          payload: oddValue(dice),
        }),
      () => dice.mutate('{"id":"1","type":"subscribe","payload":{"query":"{ project { name } }"}}', '{}[]",:0\\'),
      () => nested(dice.pick([100, 20_000])),
      () => oddText(dice),
      () => dice.bytes(100),
    ])();
  await times(400, async (dice) => {
    await Promise.all(
      Array.from({ length: 3 }, async () => {
        const socket = new WebSocket(url, 'graphql-transport-ws');
        const heard: string[] = [];
        socket.on('message', (data: Buffer) => heard.push(data.toString()));
        const closed = new Promise<number>((resolve, reject) => {
          const timer = setTimeout(() => reject(new Error('Not closed')), PATIENCE);
          socket.once('close', (code) => {
            clearTimeout(timer);
            resolve(code);
          });
        });
        await new Promise<void>((resolve) => socket.once('open', () => resolve()));
        const sent: (string | Buffer)[] = [];
        // Mostly it begins as it should.
        if (dice.below(3) > 0)
          sent.push(JSON.stringify({ type: 'connection_init', payload: { authorization: `Bearer ${key}` } }));
        sent.push(...Array.from({ length: 1 + dice.below(6) }, () => messages(dice)));
        for (const message of sent) socket.send(message);
        // Then what the protocol forbids: whoever is still there is sent away, after all the rest.
        socket.send('no message');
        const code = await closed;
        count('WebSocket frames', sent.length + 1);
        // What comes before the socket is let in has 4 KiB: it ends at more.
        const isMuch = sent.reduce((sum, message) => sum + Buffer.byteLength(message), 0) > 4_000;
        // 1011 and 4500 are failures of ours.
        if ([1011, 4500].includes(code) || (code === 1006 && !isMuch))
          throw new Error(`Closed with ${code} after ${JSON.stringify(sent.map(String)).slice(0, 2_000)}`);
        for (const text of heard) {
          const { payload, type } = JSON.parse(text) as { type: string; payload?: { errors?: unknown[] } | unknown[] };
          const errors =
            type === 'error' ? (payload as unknown[]) : ((payload as { errors?: unknown[] } | undefined)?.errors ?? []);
          expectSane({ status: 200, text: JSON.stringify({ errors }) }, sent.map(String));
        }
      }),
    );
  });
  await isWell();
}, 120_000);

test('nothing of all that failed inside, unseen from outside', () => {
  const failures = app.observations.filter(({ kind }) =>
    ['request.failed', 'task.failed', 'batch.poisoned'].includes(kind),
  );
  expect(failures).toEqual([]);
});

test('a hundred thousand inputs and more', () => {
  const total = [...tried.values()].reduce((sum, inputs) => sum + inputs, 0);
  expect(total).toBeGreaterThan(100_000);
});
