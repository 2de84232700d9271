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
