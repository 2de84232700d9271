import { parse, print, stripIgnoredCharacters, visit } from 'graphql';
import { readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { createClient, FootstepsError, type Client } from '../../src/client/client.js';
import { textOf } from '../../src/client/print-document.js';
import { IngestEventsDocument, SessionsOfDocument } from '../generated/graphql.js';
import { createProject, startTestApp, type TestApp } from '../support/app.js';
import { createTestDatabase, type TestDatabase } from '../support/database.js';
import { ROOT } from '../support/server.js';

let db: TestDatabase;
let app: TestApp;
let client: Client;
beforeAll(async () => {
  db = await createTestDatabase();
  app = await startTestApp(db, { REDIS_URL: '' });
  client = createClient({ url: app.url, key: await createProject(app.url) });
});
afterAll(async () => {
  await client.close();
  await app.close('test');
  await db.drop();
});

test('typed documents are queries with typed answers', async () => {
  const events = [{ user: { identity: 'ada' } }, { type: 'error', user: { identity: 'ada' } }];
  const sent = await client.query(IngestEventsDocument, { events });
  expect(sent.ingestEvents.accepted satisfies number).toBe(2);
  const found = await client.query(SessionsOfDocument, { identities: ['ada'] });
  const [session] = found.sessions.nodes;
  expect(session!.eventCount satisfies number).toBe(2);
  // @ts-expect-error The variables have types, too.
  await expect(client.query(SessionsOfDocument, { identities: 7 })).rejects.toThrow(FootstepsError);
});

test('a list is read page after page', async () => {
  const events = Array.from({ length: 25 }, (_, value) => ({ type: 'step', value, user: { identity: 'ben' } }));
  await client.query(IngestEventsDocument, { events });
  const document = `query ($after: String, $types: [String!]) {
    events(first: 10, after: $after, filter: { types: $types }) { nodes { value } pageInfo { hasNextPage endCursor } }
  }`;
  const values: number[] = [];
  for await (const { value } of client.paginate(document, { types: ['step'] }, ({ events }) => events))
    values.push(value);
  expect(values.toReversed()).toEqual(events.map(({ value }) => value));
});

test('errors are typed', async () => {
  const wrong = await client.query('{ nothing }').catch((error: unknown) => error);
  expect(wrong).toMatchObject({ name: 'FootstepsError', code: 'GRAPHQL_VALIDATION_FAILED' });
  const stranger = createClient({ url: app.url, key: 'fs_wrong' });
  await expect(stranger.query('{ project { id } }')).rejects.toMatchObject({ code: 'UNAUTHENTICATED', status: 401 });
  const nowhere = createClient({ url: 'http://127.0.0.1:1', key: 'fs_wrong' });
  await expect(nowhere.query('{ project { id } }')).rejects.toMatchObject({ code: 'NETWORK', status: 0 });
  const locked = createClient({
    url: app.url,
    token: () => {
      throw new Error('signed out');
    },
  });
  await expect(locked.query('{ project { id } }')).rejects.toMatchObject({ code: 'TOKEN' });
  const control = new AbortController();
  control.abort();
  await expect(client.query('{ project { id } }', {}, { signal: control.signal })).rejects.toMatchObject({
    code: 'ABORTED',
  });
});

test('documents are written as graphql writes them', () => {
  const folders = ['src/dashboard/operations', 'test/operations'];
  const texts = folders.flatMap((folder) =>
    readdirSync(path.join(ROOT, folder)).map((file) => readFileSync(path.join(ROOT, folder, file), 'utf8')),
  );
  texts.push(`query Every($a: [ID!]! = ["x", "y\\n\\"z\\""] @old, $b: In = { at: 1.5, on: true, no: null, kind: SOME }) @live(if: $c) {
      one: two(first: 3, after: $a, in: { deep: [$b, { a: 1 }] }) @include(if: true) { ... on Event @skip(if: $c) { id } ...Part @x ... { id } }
    }
    { a }
    mutation { b }
    subscription S { c(text: """block "text" here""") }
    fragment Part on Session @y { id }`);
  for (const text of texts) {
    const plain = JSON.parse(JSON.stringify(parse(text, { noLocation: true })));
    // A block text and a plain one are the same text.
    const blocks = visit(parse(textOf(plain)), {});
    const expected = visit(parse(print(plain)), { StringValue: (node) => ({ ...node, block: false }) });
    expect(stripIgnoredCharacters(print(blocks))).toBe(stripIgnoredCharacters(print(expected)));
  }
  expect(textOf('{ a }')).toBe('{ a }');
  // oxlint-disable-next-line no-new-wrappers, unicorn/new-for-builtins
  expect(textOf(new String('{ a }'))).toBe('{ a }');
  expect(textOf(parse('{ a # as written\n}'))).toBe('{ a # as written\n}');
});
