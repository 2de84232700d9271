import { afterAll, beforeAll, expect, test } from 'vitest';
import { readFeedCursor } from '../../src/domain/feed-cursor.js';
import { isBefore, type FeedPlace } from '../../src/domain/change.js';
import { createView, WHOLE_FEED, type FeedChange, type FeedFilter } from '../../src/services/feed/feed-view.js';
import { createFeedReader, type FeedReader } from '../../src/services/feed/read-feed.js';
import { createEraseUser } from '../../src/services/projects/erase-user.js';
import { createNaming } from '../../src/store/database-name.js';
import { dropForeignChanges } from '../../src/store/feed/foreign-changes.js';
import { createTestDatabase, type TestDatabase } from '../support/database.js';
import { createExecutor } from '../support/execute.js';
import { createStage, type Stage } from '../support/stage.js';
import { untilReadable } from '../support/webhooks.js';

/** The feed of changes, read page by page: what each transaction tells, and where a reader goes on. */

let db: TestDatabase;
beforeAll(async () => {
  db = await createTestDatabase();
});
afterAll(() => db.drop());

const free = async (): Promise<void> => {};

function readerOf(stage: Stage): FeedReader {
  return createFeedReader({ database: stage.database, naming: createNaming(stage.database), clock: stage });
}

/** Reads pages until there is no more. */
async function readAll(
  stage: Stage,
  from: FeedPlace,
  filter: Partial<FeedFilter> = {},
  limit = 100,
): Promise<{ changes: FeedChange[]; next: FeedPlace }> {
  const reader = readerOf(stage);
  const view = createView(stage.caller.reach, { ...WHOLE_FEED, ...filter });
  const changes: FeedChange[] = [];
  for (let place = from; ;) {
    const page = await reader.read(view, place, { limit, pay: free });
    changes.push(...page.changes);
    place = page.next;
    // A transaction of another test may hold the feed back.
    if (!page.isMore && page.heldSince === null) return { changes, next: place };
  }
}

/** A change in few letters: `STARTED ada`, `log`, `ada 1 ENDED` (one session is online after one has ended). */
function shown(change: FeedChange): string {
  if (change.kind === 'EVENT') return change.event.type;
  if (change.kind === 'SESSION') return `${change.change} ${change.session.identity}`;
  if (change.kind === 'PRESENCE') return `${change.identity} ${change.onlineSessions} ${change.cause}`;
  return change.kind;
}

test('each transaction tells what it has changed, once, in the order of the commits', async () => {
  const stage = await createStage(db, { inactivityTimeout: 300 });
  const start = await readerOf(stage).now();
  await stage.send({ type: 'log', user: 'ada', t: 0 });
  stage.at(10);
  await stage.send({ type: 'error', user: 'ada', t: 10 });
  stage.at(20);
  await stage.send({ type: 'sessionend', user: 'ada', t: 20 }, { type: 'log', t: 21 });
  await stage.send({ type: 'usage', user: 'grace', t: 20 });
  stage.at(1_000);
  await stage.close();
  const { changes, next } = await readAll(stage, start);
  expect(changes.map(shown)).toEqual([
    'STARTED ada',
    'log',
    'ada 1 STARTED',
    'error',
    'ENDED ada',
    'sessionend',
    'log',
    'ada 0 ENDED',
    'STARTED grace',
    'usage',
    'grace 1 STARTED',
    'ENDED grace',
    'grace 0 CLOSED',
  ]);
  expect((await readAll(stage, next)).changes).toEqual([]);
  // From each change on, the rest follows, also in small pages.
  for (const [at, { cursor }] of changes.entries()) {
    const rest = await readAll(stage, readFeedCursor(cursor)!, {}, 2);
    expect(rest.changes.map(shown)).toEqual(changes.slice(at + 1).map(shown));
  }
  const updated = await readAll(stage, start, { kinds: ['SESSION'], sessionChanges: ['UPDATED'] });
  expect(updated.changes.map(shown)).toEqual(['UPDATED ada']);
  const ofGrace = await readAll(stage, start, { identities: ['grace'] });
  expect(ofGrace.changes.map(shown)).toEqual(changes.slice(-5).map(shown));
});

test('an erasure is told, and nothing of before', async () => {
  const stage = await createStage(db);
  const start = await readerOf(stage).now();
  await stage.send({ type: 'log', user: 'ada', t: 0 });
  const erase = createEraseUser({ database: stage.database, bus: stage.bus, clock: stage, observe: () => {} });
  const { cursor } = await erase(stage.caller, 'ada');
  await stage.send({ type: 'back', user: 'ada', t: 0 });
  const { changes } = await readAll(stage, start);
  expect(changes.map(shown)).toEqual(['ERASURE', 'STARTED ada', 'back', 'ada 1 STARTED']);
  expect(changes[0]!.cursor).toBe(cursor);
  await expect(readerOf(stage).check(stage.caller.reach, start)).resolves.toBeUndefined();
  const elsewhere = { ...start, database: 'another' };
  await expect(readerOf(stage).check(stage.caller.reach, elsewhere)).rejects.toMatchObject({ code: 'CURSOR_EXPIRED' });
});

test('a dump restored into another cluster begins the feed anew; a start in the same one keeps it', async () => {
  const stage = await createStage(db);
  const { database } = stage;
  const naming = createNaming(database);
  const rows = async () =>
    (
      await database.query({
        name: 'test',
        text: 'SELECT FROM changes WHERE project_id = $1',
        values: [stage.projectId],
      })
    ).length;
  await database.query({
    name: 'test',
    text: `INSERT INTO installation (token_secret, created_at) VALUES ('', now()) ON CONFLICT DO NOTHING`,
  });
  await dropForeignChanges(database, naming);
  await stage.send({ type: 'log', user: 'ada', t: 0 });
  await dropForeignChanges(database, naming);
  expect(await rows()).toBeGreaterThan(0);
  await database.query({ name: 'test', text: `UPDATE installation SET cluster = '1'` });
  await Promise.all([dropForeignChanges(database, naming), dropForeignChanges(database, naming)]);
  expect(await rows()).toBe(0);
});

test('a change of presence has the same cursor wherever it is read', async () => {
  const stage = await createStage(db);
  const { data } = await createExecutor(stage);
  await stage.send({ type: 'log', user: 'ada', t: 0 }, { type: 'log', user: 'grace', deviceId: 'the-phone', t: 0 });
  stage.at(10);
  // A session takes the place of another: the number stays, and the change is told all the same.
  await stage.send(
    { type: 'sessionend', user: 'grace', deviceId: 'the-phone', t: 10 },
    { type: 'log', user: 'grace', deviceId: 'the-laptop', t: 10 },
    { type: 'log', user: 'linus', t: 10 },
  );
  stage.at(20);
  await stage.send({ type: 'sessionend', user: 'ada', t: 20 });
  await untilReadable(stage.database);
  const { changes, presenceHistory } = await data(`{
    changes(first: 100, filter: { kinds: [PRESENCE] }) { nodes { cursor ... on PresenceChange { id } } }
    presenceHistory(first: 100) { nodes { id cursor } }
  }`);
  const byId = (nodes: { id: string; cursor: string }[]) =>
    Object.fromEntries(nodes.map(({ id, cursor }) => [id, cursor]));
  expect(changes.nodes).toHaveLength(5);
  expect(byId(presenceHistory.nodes)).toEqual(byId(changes.nodes));
  const [newest] = presenceHistory.nodes;
  const read = 'query ($id: ID!) { node(id: $id) { ... on PresenceChange { cursor } } }';
  expect((await data(read, { id: newest.id })).node).toEqual({ cursor: newest.cursor });
  // Of a change that the feed does not have, the cursor is a place before it.
  const [erased] = changes.nodes;
  await stage.database.query({
    name: 'test.forget',
    text: 'DELETE FROM changes WHERE project_id = $1',
    values: [stage.projectId],
  });
  const before = readFeedCursor((await data(read, { id: erased.id })).node.cursor)!;
  expect(isBefore(before, readFeedCursor(erased.cursor)!)).toBe(true);
});
