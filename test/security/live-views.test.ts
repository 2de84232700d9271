import { afterAll, beforeAll, expect, test } from 'vitest';
import { createMemoryBus } from '../../src/adapters/memory-bus.js';
import type { EventFilter } from '../../src/domain/filters.js';
import { userIdOf } from '../../src/domain/identity.js';
import { createLive, type Live } from '../../src/services/live/watch-live.js';
import { eventsChannel } from '../../src/services/messages.js';
import type { Database } from '../../src/store/database.js';
import { listEvents } from '../../src/store/sessions/events.js';
import { eventually } from '../support/app.js';
import { createTestDatabase, type TestDatabase } from '../support/database.js';
import { createStage, type Stage } from '../support/stage.js';

/** Whoever watches much, or what is hard to tell, delays nobody else's live feed. */

let db: TestDatabase;
let stage: Stage;
let ids: string[];
beforeAll(async () => {
  db = await createTestDatabase();
  stage = await createStage(db);
  stage.at(600);
  await stage.send(
    ...Array.from({ length: 40 }, (_, at) => ({ user: at % 2 ? 'eve' : 'ada', message: `message ${at}`, t: at })),
  );
  const page = { limit: 100, after: null, before: null, backwards: true } as const;
  ids = (await listEvents(stage.database, stage.caller.reach, null, page)).rows.map(({ id }) => id);
  expect(ids).toHaveLength(40);
});
afterAll(() => db.drop());

const reachOf = (...users: string[]) => {
  const { projectId } = stage.caller.reach;
  return { projectId, userIds: users.length > 0 ? users.map((user) => userIdOf(projectId, user)) : null };
};

/** A live feed whose questions to the database are answered when the test says so. */
function liveWithSlowAnswers() {
  let answer = (): void => {};
  const gate = new Promise<void>((resolve) => (answer = resolve));
  const asked: string[] = [];
  const database: Database = {
    ...stage.database,
    async query(statement) {
      asked.push(statement.name);
      // Whatever asks for a part of a text or of data.
      if (/LIKE|@>/.test(statement.text)) await gate;
      return stage.database.query(statement);
    },
  };
  const bus = createMemoryBus();
  const say = () => bus.publish(eventsChannel(stage.caller.reach.projectId), JSON.stringify({ ids }));
  return { live: createLive({ database, bus, observe: () => {} }), say, asked, answer };
}

async function follow(live: Live, users: string[], filter: EventFilter | null) {
  const heard: string[] = [];
  const watch = await live.watchEvents(reachOf(...users), filter);
  const ended = (async () => {
    for await (const { message } of watch) heard.push(message!);
  })();
  ended.catch(() => {});
  return { heard, ended };
}

test('views that the database is slow to tell delay themselves alone, and miss nothing', async () => {
  const { live, say, asked, answer } = liveWithSlowAnswers();
  const slow = await Promise.all(
    Array.from({ length: 50 }, (_, at) => follow(live, ['eve'], { search: `message ${at}` })),
  );
  const others = [await follow(live, [], null), await follow(live, ['ada'], null), await follow(live, ['eve'], null)];
  for (let times = 1; times <= 3; times += 1) {
    await say();
    await eventually(() => others[0]!.heard.length === 40 * times);
  }
  await eventually(() => others[1]!.heard.length === 60 && others[2]!.heard.length === 60);
  expect(slow.every(({ heard }) => heard.length === 0)).toBe(true);
  // One statement of theirs at a time.
  expect(asked.filter((name) => name === 'events.met')).toHaveLength(1);
  answer();
  // Eve's are the odd ones: 1, 11, 13, 15, 17 and 19 hold "message 1".
  const own = ['message 1', ...[11, 13, 15, 17, 19].map((at) => `message ${at}`)];
  await eventually(() => slow[1]!.heard.length === 3 * own.length && slow[39]!.heard.length === 3);
  expect(slow[1]!.heard).toEqual([...own, ...own, ...own]);
  await live.close();
});

test('one holder watches so many different things; who watches the same shares, and others are not concerned', async () => {
  const { live } = liveWithSlowAnswers();
  const watch = (user: string, at: number) => live.watchEvents(reachOf(user), { types: [`type ${at}`] });
  const watches = [];
  for (let at = 0; at < 100; at += 1) watches.push(await watch('eve', at));
  await expect(watch('eve', 100)).rejects.toMatchObject({ code: 'RATE_LIMITED' });
  await watch('eve', 50);
  await watch('ada', 100);
  await watches[0]!.return!();
  await watch('eve', 101);
  await expect(watch('eve', 102)).rejects.toMatchObject({ code: 'RATE_LIMITED' });
  await live.close();
});

test('a view that stays behind ends, and says so', async () => {
  const { live, say, answer } = liveWithSlowAnswers();
  const slow = await follow(live, [], { search: 'message' });
  const other = await follow(live, [], null);
  for (let times = 1; times <= 81; times += 1) {
    await say();
    await eventually(() => other.heard.length === 40 * times);
  }
  await expect(slow.ended).rejects.toMatchObject({ code: 'OVERLOADED' });
  expect(slow.heard).toEqual([]);
  answer();
  await live.close();
}, 60_000);
