import pg from 'pg';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { connect, createProject, listen, post, startTestApp, type TestApp } from '../support/app.js';
import { createTestDatabase, type TestDatabase } from '../support/database.js';
import { uuidIn } from '../support/tenant.js';

/** What a key with MANAGE makes has an end, and is of use. */

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

const tokenFor = (identities: readonly string[]) =>
  post(app.url, key, 'mutation ($i: [String!]) { createAccessToken(scopes: [READ], identities: $i) { token } }', {
    i: identities,
  });
const createKey = () => post(app.url, key, 'mutation { createApiKey(name: "one", scopes: [READ]) { apiKey { id } } }');

test('a token is no longer than what can be sent: through a header and through a WebSocket', async () => {
  const email = (at: number): string => `somebody-${at}@example.com`;
  const refused = await tokenFor(Array.from({ length: 500 }, (_, at) => email(at)));
  expect(refused.errors?.[0]).toMatchObject({ extensions: { code: 'BAD_USER_INPUT', field: 'identities' } });
  const fits = Number(/about (\d+) identities/.exec(refused.errors![0]!.message)![1]);
  expect(fits).toBeGreaterThan(50);
  // A little less, since what every token says takes its room whatever it names.
  const { data } = await tokenFor(Array.from({ length: fits - 10 }, (_, at) => email(at)));
  const { token } = data.createAccessToken;
  expect((await post(app.url, token, '{ events { nodes { id } } }')).errors).toBeUndefined();
  const client = connect(app.url, token);
  const asked = listen(client, '{ events { nodes { id } } }');
  await asked.ended;
  expect(asked.errors).toEqual([]);
  await client.dispose();
  expect((await tokenFor(Array.from({ length: 12 }, (_, at) => `${at}${'x'.repeat(253)}`))).errors).toHaveLength(1);
});

test('a project has 250 keys, revoked ones among them; one that was revoked long ago makes room', async () => {
  const { data } = await post(app.url, key, '{ project { id } }');
  const projectId = uuidIn(data.project.id);
  const client = new pg.Client({ connectionString: db.url });
  await client.connect();
  await client.query(
    `INSERT INTO api_keys (project_id, id, name, prefix, hash, scopes, created_at, revoked_at)
     SELECT '${projectId}', gen_random_uuid(), 'old', 'fs_old', sha256(n::text::bytea), '{READ}', now() - interval '1 year',
            CASE WHEN n < 3 THEN now() - n * interval '20 hours' END
     FROM generate_series(1, 249) n`,
  );
  await client.end();
  // One of them was revoked 40 hours ago, one 20.
  const made = await Promise.all(Array.from({ length: 4 }, createKey));
  const codes = made.map(({ errors }) => errors?.[0]?.extensions['code'] ?? 'MADE').toSorted();
  expect(codes).toEqual(['MADE', 'TOO_MANY_KEYS', 'TOO_MANY_KEYS', 'TOO_MANY_KEYS']);
  const listed = await post(app.url, key, '{ project { apiKeys { id revokedAt } } }');
  expect(listed.data.project.apiKeys).toHaveLength(250);
  expect(listed.data.project.apiKeys.filter(({ revokedAt }: any) => revokedAt)).toHaveLength(1);
});

test('the list of keys is charged as what it may hold', async () => {
  const { errors } = await post(
    app.url,
    key,
    `{ project { ${Array.from({ length: 90 }, (_, at) => `a${at}: apiKeys { id }`).join(' ')} } }`,
  );
  expect(errors?.[0]?.extensions['code']).toBe('QUERY_TOO_COMPLEX');
});
