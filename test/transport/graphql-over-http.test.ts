import { gzipSync } from 'node:zlib';
import { serverAudits } from 'graphql-http';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { createProject, startTestApp, type TestApp } from '../support/app.js';
import { createTestDatabase, type TestDatabase } from '../support/database.js';

/** The audits of the GraphQL over HTTP specification: what it says a server MUST, SHOULD and MAY do. */

let db: TestDatabase;
let app: TestApp;
let key: string;
beforeAll(async () => {
  db = await createTestDatabase();
  app = await startTestApp(db);
  key = await createProject(app.url);
});
afterAll(async () => {
  await app.close('test');
  await db.drop();
});

const audits = serverAudits({
  url: () => `${app.url}/graphql`,
  fetchFn: (url: string, init: RequestInit = {}) =>
    fetch(url, { ...init, headers: { ...(init.headers as Record<string, string>), authorization: `Bearer ${key}` } }),
});

test('all 61 audits are asked', () => {
  expect(audits).toHaveLength(61);
});

test.each(audits.map((audit) => [audit.name, audit] as const))('%s', async (_, audit) => {
  const result = await audit.fn();
  expect('reason' in result ? result.reason : result.status).toBe('ok');
});

test('a body that is encoded is refused with the reason', async () => {
  const response = await fetch(`${app.url}/graphql`, {
    method: 'POST',
    headers: { Authorization: `Bearer ${key}`, 'Content-Type': 'application/json', 'Content-Encoding': 'gzip' },
    body: gzipSync('{"query":"{ __typename }"}'),
  });
  expect(response.status).toBe(415);
  expect(await response.json()).toMatchObject({
    errors: [{ message: 'The body must come as it is: without Content-Encoding.' }],
  });
});

const send = (body: BodyInit, headers: Record<string, string> = {}) =>
  fetch(`${app.url}/graphql`, {
    method: 'POST',
    headers: { Authorization: `Bearer ${key}`, 'Content-Type': 'application/json', ...headers },
    body,
  });

test('a body is UTF-8: another charset, and bytes that are none, are refused', async () => {
  const latin = Buffer.from('{"query":"{ __typename }","variables":{"a":"\xe9"}}', 'latin1');
  for (const charset of ['iso-8859-1', 'utf-16', '"us-ascii"', 'bogus']) {
    const { status } = await send(latin, { 'Content-Type': `application/json; charset=${charset}` });
    expect([charset, status]).toEqual([charset, 415]);
  }
  const broken = await send(latin);
  expect([broken.status, await broken.json()]).toMatchObject([
    400,
    { errors: [{ message: 'The body is not UTF-8.', extensions: { code: 'BAD_USER_INPUT' } }] },
  ]);
  for (const charset of ['utf-8', 'UTF8', '"utf-8"', 'utf-8; x=1'])
    expect(
      (await send('{"query":"{ __typename }"}', { 'Content-Type': `application/json; charset=${charset}` })).status,
    ).toBe(200);
});

test('a variable that is wrong or missing is a fault of the request: 400 to who takes it', async () => {
  const query = 'query ($first: Int!) { sessions(first: $first) { nodes { id } } }';
  for (const variables of [{}, { first: 'x' }]) {
    for (let run = 0; run < 4; run += 1) {
      const body = JSON.stringify({ query, variables });
      const answer = await send(body, { Accept: 'application/graphql-response+json' });
      const { errors, data } = await answer.json();
      expect([answer.status, errors[0].extensions, data]).toEqual([400, { code: 'BAD_USER_INPUT' }, undefined]);
      expect((await send(body, { Accept: 'application/json' })).status).toBe(200);
    }
  }
});

test('a name that no operation has is a fault of the request', async () => {
  const query = 'query One { project { name } } query Two { project { name } }';
  for (const operationName of ['Three', null]) {
    const answer = await send(JSON.stringify({ query, operationName }));
    expect([answer.status, (await answer.json()).errors[0].extensions.code]).toEqual([400, 'BAD_USER_INPUT']);
  }
});
