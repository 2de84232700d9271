import { afterAll, beforeAll, expect, test } from 'vitest';
import { toGlobalId } from '../../src/schema/global-id.js';
import { createTestDatabase, type TestDatabase } from '../support/database.js';
import { createExecutor } from '../support/execute.js';
import { createStage } from '../support/stage.js';

/** Rule 27: the id of a session that was merged goes on answering, with what it became. */

let db: TestDatabase;
beforeAll(async () => {
  db = await createTestDatabase();
});
afterAll(() => db.drop());

/** Three sessions that late events make one: the third becomes part of the second, and that of the first. */
async function mergedStage() {
  const stage = await createStage(db);
  const ids: string[] = [];
  for (const t of [0, 500, 1000]) {
    stage.at(t);
    const [outcome] = await stage.send({ user: 'ada', t, message: `at ${t}` });
    ids.push(toGlobalId('Session', outcome!.sessionId!));
  }
  await stage.send({ user: 'ada', t: 750 });
  await stage.send({ user: 'ada', t: 250 });
  return { stage, ids, ...(await createExecutor(stage)) };
}

test('session and node, one or many in a request, answer with the session that it became', async () => {
  const { ids, data } = await mergedStage();
  const fields = '{ id eventCount startedAt }';
  const all = await data(
    `query ($a: ID!, $b: ID!, $c: ID!) {
      a: session(id: $a) ${fields} b: session(id: $b) ${fields} c: session(id: $c) ${fields}
      node(id: $c) { ... on Session ${fields} }
    }`,
    { a: ids[0], b: ids[1], c: ids[2] },
  );
  expect(all.a).toMatchObject({ id: ids[0], eventCount: 5 });
  expect([all.b, all.c, all.node]).toEqual([all.a, all.a, all.a]);
});

test('filters that name it find the events', async () => {
  const { ids, data } = await mergedStage();
  const { events, session } = await data(
    `query ($ids: [ID!]!, $id: ID!) {
      events(filter: { sessionIds: $ids }) { totalCount }
      session(id: $id) { events(filter: { sessionIds: $ids }) { totalCount } }
    }`,
    { ids: [ids[2]], id: ids[1] },
  );
  expect(events.totalCount).toBe(5);
  expect(session.events.totalCount).toBe(5);
});

test('whoever may not see the user is told nothing, and erasure forgets it', async () => {
  const { stage, ids, data } = await mergedStage();
  const query = 'query ($id: ID!) { session(id: $id) { id } }';
  const { reach } = stage.caller;
  expect(await data(query, { id: ids[2] }, { reach: { ...reach, userIds: [reach.projectId] } })).toEqual({
    session: null,
  });
  await data('mutation { eraseUser(identity: "ada") { sessions } }');
  expect(await data(query, { id: ids[2] })).toEqual({ session: null });
  expect(
    await stage.database.query({
      name: 'test',
      text: 'SELECT 1 FROM merged_sessions WHERE project_id = $1',
      values: [stage.projectId],
    }),
  ).toEqual([]);
});
