import { graphql } from 'graphql';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { AppError } from '../../src/errors.js';
import { schema } from '../../src/schema/schema.js';
import { createProjects } from '../../src/services/projects/projects.js';
import { revokeKey } from '../../src/store/access/api-keys.js';
import type { PrismaDatabase, PrismaQueryable } from '../../src/store/database.js';
import {
  createProject,
  eventually,
  OPERATOR_KEY,
  post,
  startTestApp,
  type Answer,
  type TestApp,
} from '../support/app.js';
import { createTestDatabase, type TestDatabase } from '../support/database.js';
import { uuidIn } from '../support/tenant.js';

/** What a mutation has made is not lost with what could not be answered of it, and no project locks itself out. */

let db: TestDatabase;
let database: PrismaDatabase;
let servers: [TestApp, TestApp];
let url: string;
beforeAll(async () => {
  db = await createTestDatabase();
  database = db.open();
  servers = await Promise.all([startTestApp(db), startTestApp(db)]);
  ({ url } = servers[0]);
});
afterAll(async () => {
  await Promise.all(servers.map((server) => server.close('test')));
  await db.drop();
});

const query = <Row>(text: string, values: unknown[] = []) => database.query<Row>({ name: 'test', text, values });
const count = async (table: string): Promise<number> =>
  (await query<{ count: number }>(`SELECT count(*)::integer AS count FROM ${table}`))[0]!.count;
const codesOf = ({ errors }: Answer): unknown[] => (errors ?? []).map(({ extensions }) => extensions['code']);
const asOperator = (text: string, variables?: Record<string, unknown>) => post(url, OPERATOR_KEY, text, variables);

async function newKey(key: string, scopes: string[]): Promise<{ key: string; id: string }> {
  const { data } = await post(
    url,
    key,
    'mutation ($scopes: [Scope!]!) { createApiKey(name: "made", scopes: $scopes) { key apiKey { id } } }',
    { scopes },
  );
  return { key: data.createApiKey.key, id: data.createApiKey.apiKey.id };
}

const REVOKE = 'mutation ($id: ID!) { revokeApiKey(id: $id) { id revokedAt } }';

describe('what a mutation has made is not lost', () => {
  test('the operator reads all of a project that it makes', async () => {
    const { data, errors } = await asOperator(
      `mutation { createProject(name: "Whole") { key project {
         id name settings { bots } clientSettings { version } apiKeys { id name scopes } auditLog { nodes { action } } } } }`,
    );
    expect(errors).toBeUndefined();
    expect(data.createProject).toMatchObject({
      key: expect.stringMatching(/^fs_/),
      project: {
        name: 'Whole',
        clientSettings: { version: 0 },
        apiKeys: [{ name: 'First key', scopes: ['INGEST', 'READ', 'PRESENCE', 'MANAGE'] }],
        auditLog: { nodes: [{ action: 'PROJECT_CREATED' }] },
      },
    });
  });

  test('a project and its key are made together or not at all', async () => {
    await query(`CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'no keys today'; END $$`);
    await query(`CREATE TRIGGER refuse BEFORE INSERT ON api_keys EXECUTE FUNCTION refuse()`);
    const before = await count('projects');
    const refused = await asOperator('mutation { createProject(name: "Half") { key } }');
    await query(`DROP TRIGGER refuse ON api_keys`);
    expect([codesOf(refused), await count('projects')]).toEqual([['INTERNAL'], before]);
  });

  test('what the caller may not have refuses a mutation before any of it is done', async () => {
    const { key } = await newKey(await createProject(url), ['MANAGE']);
    const refused = [
      'mutation { createApiKey(name: "lost", scopes: [READ]) { key } recordHeartbeat(input: { identity: "ada" }) { acknowledged } }',
      'mutation { createApiKey(name: "lost", scopes: [READ]) { key } ...More } fragment More on Mutation { ... on Mutation { ingestEvents(events: []) { accepted } } }',
      'mutation { setClientSettings(settings: [{ key: "a", value: "b" }]) { id } createProject(name: "lost") { key } }',
    ];
    const before = [await count('api_keys'), await count('audit_log'), await count('projects')];
    // Three times: what comes again may be run in another way.
    for (const text of [refused, refused, refused].flat()) {
      const answer = await post(url, key, text);
      expect([codesOf(answer), answer.data ?? null]).toEqual([['FORBIDDEN'], null]);
    }
    const operators = await asOperator(
      'mutation { createProject(name: "lost") { key } updateProject(name: "x") { id } }',
    );
    expect([codesOf(operators), operators.data ?? null]).toEqual([['FORBIDDEN'], null]);
    expect([await count('api_keys'), await count('audit_log'), await count('projects')]).toEqual(before);
    // What stands under a condition sees to itself.
    const { data } = await post(
      url,
      key,
      'mutation ($no: Boolean = false) { createApiKey(name: "kept", scopes: [READ]) { key } recordHeartbeat(input: { identity: "ada" }) @include(if: $no) { acknowledged } }',
    );
    expect(data.createApiKey.key).toMatch(/^fs_/);
  });

  test('what cannot be answered beside a new key leaves the key', async () => {
    const answer = await asOperator(
      'mutation { createProject(name: "Asked wrongly") { key project { auditLog(first: 1000) { totalCount } } } }',
    );
    expect(codesOf(answer)).toEqual(['BAD_USER_INPUT']);
    expect(answer.data.createProject).toEqual({ key: expect.stringMatching(/^fs_/), project: { auditLog: null } });
  });

  test('a project is answered with its key where nothing more can be read', async () => {
    const gone = () => Promise.reject(new AppError('UNAVAILABLE', 'The database has gone.'));
    const projects = createProjects({
      database,
      clock: { now: () => new Date() },
      timeouts: { reach: async () => {} },
    });
    const services = { projects, keys: { list: gone }, clientSettings: { read: gone } };
    const { data, errors } = await graphql({
      schema,
      source: `mutation { createProject(name: "Read no more") { key project {
        id name createdAt settings { bots } apiKeys { name scopes revokedAt } clientSettings { version } } } }`,
      contextValue: { caller: { kind: 'operator' }, services },
    });
    expect(errors?.map(({ path }) => path)).toEqual([['createProject', 'project', 'clientSettings']]);
    expect(data!['createProject']).toMatchObject({
      key: expect.stringMatching(/^fs_/),
      project: { name: 'Read no more', apiKeys: [{ name: 'First key', revokedAt: null }], clientSettings: null },
    });
  });

  test('a heartbeat whose session the key may not see is acknowledged all the same', async () => {
    const { key } = await newKey(await createProject(url), ['INGEST']);
    const answer = await post(
      url,
      key,
      'mutation { recordHeartbeat(input: { identity: "ada" }) { acknowledged session { id } } }',
    );
    expect(codesOf(answer)).toEqual(['FORBIDDEN']);
    expect(answer.data.recordHeartbeat).toEqual({ acknowledged: true, session: null });
  });
});

describe('no project locks itself out', () => {
  test('the last good key with MANAGE is not revoked; with another one it is', async () => {
    const first = await createProject(url);
    const { data } = await post(url, first, '{ project { apiKeys { id } } }');
    const [{ id }] = data.project.apiKeys;
    await newKey(first, ['READ', 'INGEST', 'PRESENCE']);
    const gone = await newKey(first, ['MANAGE']);
    expect((await post(url, first, REVOKE, { id: gone.id })).errors).toBeUndefined();
    const refused = await post(url, first, REVOKE, { id });
    expect([codesOf(refused), refused.errors![0]!.extensions['field']]).toEqual([['LAST_MANAGE_KEY'], 'id']);
    expect(refused.errors![0]!.message).toMatch(/MANAGE/);
    // The key works on, and nothing was noted.
    const { data: after } = await post(url, first, '{ project { auditLog(first: 1) { nodes { action details } } } }');
    expect(after.project.auditLog.nodes).toMatchObject([{ action: 'API_KEY_REVOKED', details: { name: 'made' } }]);
    await newKey(first, ['MANAGE']);
    expect((await post(url, first, REVOKE, { id })).data.revokeApiKey.revokedAt).toEqual(expect.any(String));
  });

  test('a revocation waits for another that is under way, and sees it', async () => {
    const first = await createProject(url);
    const second = await newKey(first, ['MANAGE']);
    const keys = await query<{ projectId: string; id: string }>(
      `SELECT project_id AS "projectId", id FROM api_keys
       WHERE project_id = (SELECT project_id FROM api_keys WHERE id = $1) ORDER BY created_at`,
      [uuidIn(second.id)],
    );
    const reach = { projectId: keys[0]!.projectId, userIds: null };
    const revoke = (tx: PrismaQueryable, at: number) => revokeKey(tx, reach, keys[at]!.id, new Date());
    let waiting: ReturnType<typeof revoke> | undefined;
    await database.prismaTransaction(async (tx) => {
      expect((await revoke(tx, 0))?.revokedAt).toEqual(expect.any(Date));
      waiting = database.prismaTransaction((other) => revoke(other, 1));
      await eventually(async () => {
        const held = await query(
          `SELECT FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'`,
        );
        return held.length > 0;
      });
    });
    expect((await waiting)?.revokedAt).toBeNull();
  });

  test('of two revocations at once, on two servers, one is refused', async () => {
    for (let round = 0; round < 20; round += 1) {
      const first = await createProject(url);
      const second = await newKey(first, ['MANAGE']);
      const { data } = await post(url, first, '{ project { apiKeys { id } } }');
      const other = data.project.apiKeys.find(({ id }: { id: string }) => id !== second.id).id;
      const answers = await Promise.all([
        post(servers[0].url, first, REVOKE, { id: second.id }),
        post(servers[1].url, second.key, REVOKE, { id: other }),
      ]);
      const good = await query(
        `SELECT FROM api_keys WHERE project_id = (SELECT project_id FROM api_keys WHERE id = $1) AND revoked_at IS NULL`,
        [uuidIn(second.id)],
      );
      expect([round, good.length]).toEqual([round, 1]);
      expect(answers.flatMap(codesOf).every((code) => code === 'LAST_MANAGE_KEY' || code === 'UNAUTHENTICATED')).toBe(
        true,
      );
    }
  });

  test('the operator finds every project in pages, the newest first, and makes a key for one', async () => {
    const key = await createProject(url);
    const { data: own } = await post(url, key, '{ project { id name } }');
    const seen: string[] = [];
    let after: string | null = null;
    do {
      const { data }: Answer = await asOperator(
        'query ($after: String) { projects(first: 2, after: $after) { totalCount nodes { id name } pageInfo { hasNextPage endCursor } } }',
        { after },
      );
      seen.push(...data.projects.nodes.map(({ id }: { id: string }) => id));
      expect(data.projects.totalCount).toBe(await count('projects'));
      after = data.projects.pageInfo.hasNextPage ? data.projects.pageInfo.endCursor : null;
    } while (after !== null);
    expect(seen[0]).toBe(own.project.id);
    expect(new Set(seen).size).toBe(await count('projects'));
    const { data: last } = await asOperator('{ projects(last: 1) { nodes { id } pageInfo { hasPreviousPage } } }');
    expect(last.projects).toEqual({ nodes: [{ id: seen.at(-1) }], pageInfo: { hasPreviousPage: true } });

    const CREATE =
      'mutation ($projectId: ID) { createApiKey(projectId: $projectId, name: "rescued", scopes: [MANAGE]) { key apiKey { name } } }';
    const { data: made } = await asOperator(CREATE, { projectId: own.project.id });
    const { data: entered } = await post(
      url,
      made.createApiKey.key,
      '{ project { id auditLog(first: 1) { nodes { action apiKeyId } } } }',
    );
    expect(entered.project).toEqual({
      id: own.project.id,
      auditLog: { nodes: [{ action: 'API_KEY_CREATED', apiKeyId: null }] },
    });

    const nowhere = '00000000-0000-7000-8000-000000000000';
    const wrong: [string, string | null, string][] = [
      [OPERATOR_KEY, null, 'BAD_USER_INPUT'],
      [OPERATOR_KEY, 'x', 'BAD_USER_INPUT'],
      [OPERATOR_KEY, nowhere, 'NOT_FOUND'],
      [key, nowhere, 'NOT_FOUND'],
      [key, seen.at(-1)!, 'NOT_FOUND'],
    ];
    const before = await count('api_keys');
    for (const [who, projectId, code] of wrong) {
      const answer = await post(url, who, CREATE, { projectId });
      expect([projectId, codesOf(answer), answer.errors![0]!.extensions['field']]).toEqual([
        projectId,
        [code],
        'projectId',
      ]);
    }
    expect(await count('api_keys')).toBe(before);
    expect((await post(url, key, CREATE, { projectId: own.project.id })).errors).toBeUndefined();
  });
});
