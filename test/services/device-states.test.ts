import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { createMemoryBus } from '../../src/adapters/memory-bus.js';
import { readPresenceCursor } from '../../src/domain/presence-cursor.js';
import { createIngest } from '../../src/services/ingest/ingest.js';
import { createDeviceStates } from '../../src/services/presence/device-states.js';
import { PRESENCE_LIMITS } from '../../src/services/presence/presence-limits.js';
import { createPresence } from '../../src/services/presence/watch-presence.js';
import { eventually } from '../support/app.js';
import { createTestDatabase, type TestDatabase } from '../support/database.js';
import { createStage, SENDER, toIncoming, type Stage, type StageEvent } from '../support/stage.js';

/** What a server keeps of what devices say: bounded, and no longer than the session counts. */

let db: TestDatabase;
beforeAll(async () => {
  db = await createTestDatabase();
});
afterAll(() => db.drop());

const statesOf = (stage: Stage) => {
  const { database, bus } = stage;
  return createDeviceStates({ database, bus, clock: { now: () => stage.now() }, observe: () => {} });
};
const told = (text: string) => ({ state: JSON.stringify({ text }), away: false });

test('of a project 50,000 states are kept, and 32 MiB; the oldest go', async () => {
  const stage = await createStage(db);
  const states = statesOf(stage);
  const [many, large] = [randomUUID(), randomUUID()];
  const sessions = Array.from({ length: 50_001 }, () => randomUUID());
  for (const session of sessions) states.set(many, session, told(''));
  expect(states.of(many, sessions[0]!)).toBeNull();
  expect(states.of(many, sessions[1]!)).not.toBeNull();
  // Said again it is the newest.
  states.set(many, sessions[1]!, told(''));
  states.set(many, randomUUID(), told(''));
  expect([1, 2, 3].map((at) => states.of(many, sessions[at]!) !== null)).toEqual([true, false, true]);
  for (const session of sessions.slice(0, 20_000)) states.set(large, session, told('x'.repeat(1_000)));
  const kept = sessions.slice(0, 20_000).filter((session) => states.of(large, session) !== null);
  expect(kept.length).toBeGreaterThan(10_000);
  expect(kept.length).toBeLessThan(15_000);
  expect(kept).toEqual(sessions.slice(20_000 - kept.length, 20_000));
  await states.close();
});

test('where all projects hold too much, whoever holds most gives way', async () => {
  const stage = await createStage(db);
  const states = statesOf(stage);
  const small = { project: randomUUID(), session: randomUUID() };
  states.set(small.project, small.session, told('small'));
  const large = [randomUUID(), randomUUID(), randomUUID()];
  const sessions = Array.from({ length: 12_000 }, () => randomUUID());
  for (const project of large) for (const session of sessions) states.set(project, session, told('x'.repeat(1_000)));
  expect(states.of(small.project, small.session)).not.toBeNull();
  const kept = large.map((project) => sessions.filter((session) => states.of(project, session) !== null).length);
  const sum = kept.reduce((total, count) => total + count, 0);
  expect(sum).toBeLessThan(30_000);
  expect(sum).toBeGreaterThan(20_000);
  await states.close();
});

test('what a session said goes when it counts no more, though nobody heard the edge', async () => {
  const stage = await createStage(db);
  const states = statesOf(stage);
  const { projectId } = stage;
  const [ada, bob] = await stage.send({ user: 'ada', t: 0 }, { user: 'bob', t: 0 });
  for (const one of [ada, bob]) states.set(projectId, one!.sessionId!, told('here'));
  await states.sweep();
  expect(states.of(projectId, ada!.sessionId!)).toMatchObject(told('here'));
  stage.at(10);
  await stage.send({ user: 'ada', type: 'sessionend' });
  await states.sweep();
  expect(states.of(projectId, ada!.sessionId!)).toBeNull();
  expect(states.of(projectId, bob!.sessionId!)).not.toBeNull();
  await states.close();
});

test('a watcher that was too slow for what devices said is told it once more', async () => {
  const stage = await createStage(db);
  const bus = createMemoryBus();
  const clock = { now: () => stage.now() };
  const deps = { database: stage.database, bus, clock, observe: () => {} };
  const deviceStates = createDeviceStates(deps);
  const presence = createPresence({ ...deps, deviceStates, limits: { ...PRESENCE_LIMITS, kept: 3 } });
  const ingest = createIngest(deps);
  const send = (event: StageEvent) => ingest.ingestEvents(stage.caller, [toIncoming(event, stage.time)], SENDER);
  const { projectId, reach } = { ...stage, ...stage.caller };
  const [ada] = await send({ user: 'ada', t: 0 });
  const [slow, quick] = await Promise.all(
    [1, 2].map(() => presence.watch(reach, { asks: new Set(['devices' as const]) })),
  );
  for (const watch of [slow!, quick!]) await watch.next();
  stage.at(10);
  deviceStates.set(projectId, ada!.sessionId!, told('here'));
  expect((await quick!.next()).value.users).toMatchObject([{ identity: 'ada', onlineSessions: 1 }]);
  for (let at = 0; at < 5; at += 1) {
    await send({ user: 'bob', sessionKey: `device-${at}` });
    await quick!.next();
  }
  // What the other did not take is gone. It reads what has changed, and that is bob; and ada, of whom a device has said something.
  expect((await slow!.next()).value.users).toMatchObject([
    { identity: 'bob', onlineSessions: 5 },
    { identity: 'ada', onlineSessions: 1 },
  ]);
  await presence.close();
  await deviceStates.close();
  await ingest.close();
  await bus.close();
});

test('who comes back is told what devices said meanwhile, and pays for it; the others are told nothing again', async () => {
  const stage = await createStage(db);
  const bus = createMemoryBus();
  const deps = { database: stage.database, bus, clock: { now: () => stage.now() }, observe: () => {} };
  const deviceStates = createDeviceStates(deps);
  const presence = createPresence({ ...deps, deviceStates });
  const ingest = createIngest(deps);
  const send = (event: StageEvent) => ingest.ingestEvents(stage.caller, [toIncoming(event, stage.time)], SENDER);
  const { projectId, reach } = { ...stage, ...stage.caller };
  const asks = new Set(['devices' as const]);
  const [[ada], [bob]] = [await send({ user: 'ada', t: 0 }), await send({ user: 'bob', t: 0 })];
  const live = await presence.watch(reach, { asks });
  const after = readPresenceCursor((await live.next()).value.cursor)!;
  stage.at(10);
  for (const one of [ada, bob]) deviceStates.set(projectId, one!.sessionId!, told('here'));
  const heard = new Set<string>();
  while (heard.size < 2) for (const { identity } of (await live.next()).value.users) heard.add(identity);
  const charged: number[] = [];
  const charge = async (users: number): Promise<void> => void charged.push(users);
  const startOf = async (identities: string[] | null, ask = asks) => {
    const watch = await presence.watch(reach, { asks: ask, after, identities, charge });
    const { value } = await watch.next();
    expect(value).toMatchObject({ kind: 'DIFF', hasMore: false });
    await watch.return!();
    return value.users.map(({ identity }: { identity: string }) => identity).toSorted();
  };
  expect(await startOf(null)).toEqual(['ada', 'bob']);
  expect(await startOf(['ada'])).toEqual(['ada']);
  expect(await startOf(null, new Set())).toEqual([]);
  // Before it is read: a first page each, of which enough is left for what devices have said.
  expect(charged).toEqual([50, 2, 50]);
  // If bob were told again, it would be with ada or before.
  deviceStates.set(projectId, ada!.sessionId!, told('there'));
  expect((await live.next()).value.users).toMatchObject([{ identity: 'ada' }]);
  await presence.close();
  await deviceStates.close();
  await ingest.close();
  await bus.close();
});

test('those who come back with the same cursor share what is read for them', async () => {
  const stage = await createStage(db);
  const statements: string[] = [];
  const database = db.open((seen) => seen.kind === 'statement' && statements.push(seen.name));
  const bus = createMemoryBus();
  const deps = { database, bus, clock: { now: () => stage.now() }, observe: () => {} };
  const deviceStates = createDeviceStates(deps);
  const presence = createPresence({ ...deps, deviceStates });
  const { projectId, reach } = { ...stage, ...stage.caller };
  const [ada] = await stage.send({ user: 'ada', t: 0 });
  const asks = new Set(['devices' as const]);
  const live = await presence.watch(reach, { asks });
  const after = readPresenceCursor((await live.next()).value.cursor)!;
  deviceStates.set(projectId, ada!.sessionId!, told('here'));
  await live.next();
  statements.length = 0;
  const views = await Promise.all(Array.from({ length: 5 }, () => presence.watch(reach, { asks, after })));
  const updates = await Promise.all(views.map((view) => view.next()));
  expect(updates[0]!.value).toMatchObject({ kind: 'DIFF', users: [{ identity: 'ada' }] });
  expect(new Set(updates.map(({ value }) => value)).size).toBe(1);
  const read = (name: string): number => statements.filter((one) => one === name).length;
  expect([read('presence.since'), read('presence.ofSessions')]).toEqual([1, 1]);
  await presence.close();
  await deviceStates.close();
  await bus.close();
});

test('what was said some seconds before somebody left is told too: it may have come later', async () => {
  const stage = await createStage(db);
  const states = statesOf(stage);
  const { projectId } = stage;
  const [ada] = await stage.send({ user: 'ada', t: 0 });
  stage.at(100);
  states.set(projectId, ada!.sessionId!, told('here'));
  const since = async (seconds: number, watched: Set<string> | null = null) =>
    (await states.since(projectId, stage.time(seconds).getTime(), { watched, most: 10, pay: async () => {} }))!.map(
      ({ presence }) => presence.identity,
    );
  expect(await since(105)).toEqual(['ada']);
  expect(await since(105, new Set([randomUUID()]))).toEqual([]);
  expect(await since(111)).toEqual([]);
  // Said again, it is nothing new.
  stage.at(200);
  states.set(projectId, ada!.sessionId!, told('here'));
  expect(await since(200)).toEqual([]);
  states.set(projectId, ada!.sessionId!, { ...told('here'), away: true });
  expect(await since(200)).toEqual(['ada']);
  await states.close();
});

test('what devices said is paid before it is read, and not read if it is too much', async () => {
  const stage = await createStage(db);
  const statements: string[] = [];
  const database = db.open((seen) => seen.kind === 'statement' && statements.push(seen.name));
  const states = createDeviceStates({ database, bus: createMemoryBus(), clock: stage, observe: () => {} });
  const { projectId } = stage;
  const sent = await stage.send(...['ada', 'bob', 'cyd'].map((user) => ({ user, t: 0 })));
  const heard: unknown[] = [];
  states.watch(projectId, (users) => void heard.push(...users));
  for (const { sessionId } of sent) states.set(projectId, sessionId!, told('here'));
  await eventually(() => heard.length === 3);
  statements.length = 0;
  const asked: number[] = [];
  const since = (most: number, isPoor = false) =>
    states.since(projectId, stage.time(0).getTime(), {
      watched: null,
      most,
      async pay(sessions) {
        asked.push(sessions);
        if (isPoor) throw new Error('poor');
      },
    });
  expect(await since(2)).toBeNull();
  await expect(since(3, true)).rejects.toThrow('poor');
  expect(asked).toEqual([3]);
  expect(statements).toEqual([]);
  expect(await since(3)).toHaveLength(3);
  expect(statements).toEqual(['presence.ofSessions']);
  await states.close();
});

test('what a device says again, unchanged, is told to nobody', async () => {
  const stage = await createStage(db);
  const bus = createMemoryBus();
  const deps = { database: stage.database, bus, clock: { now: () => stage.now() }, observe: () => {} };
  const states = createDeviceStates(deps);
  const { projectId } = stage;
  const [ada, bob] = await stage.send({ user: 'ada', t: 0 }, { user: 'bob', t: 0 });
  const messages: string[] = [];
  await bus.subscribe(`devices:{${projectId}}`, {
    onMessage: (text) => void messages.push(text),
    onLoss() {},
    onGap() {},
  });
  await states.ready(projectId);
  const heard: string[] = [];
  states.watch(projectId, (users) => void heard.push(...users.map(({ presence }) => presence.identity)));
  const say = (one: typeof ada, text: string) => states.set(projectId, one!.sessionId!, told(text));
  say(ada, 'here');
  await eventually(() => heard.length === 1 && messages.some((text) => text.includes(ada!.sessionId!)));
  messages.length = 0;
  // Another server says it too, with a later time.
  stage.at(10);
  const state = { ...told('here'), sessionId: ada!.sessionId!, at: stage.now().getTime() };
  await bus.publish(`devices:{${projectId}}`, JSON.stringify({ states: [state] }));
  await eventually(() => messages.length === 1);
  say(ada, 'here');
  say(bob, 'here');
  await eventually(() => heard.includes('bob'));
  // If ada were told again, it would be with this or before.
  say(bob, 'there');
  await eventually(() => heard.length > 2 && messages.some((text) => text.includes('there')));
  expect(heard).toEqual(['ada', 'bob', 'bob']);
  expect(messages.slice(1).join()).not.toContain(ada!.sessionId!);
  await states.close();
  await bus.close();
});

test('the latest counts, whoever says it, and what is of the future counts as said now', async () => {
  const stage = await createStage(db);
  const bus = createMemoryBus();
  const clock = { now: () => stage.now() };
  const states = createDeviceStates({ database: stage.database, bus, clock, observe: () => {} });
  const { projectId } = stage;
  const [ada] = await stage.send({ user: 'ada', t: 0 });
  const sessionId = ada!.sessionId!;
  stage.at(100);
  await states.ready(projectId);
  const say = async (text: string, seconds: number): Promise<void> => {
    const at = stage.time(seconds).getTime();
    await bus.publish(`devices:{${projectId}}`, JSON.stringify({ states: [{ ...told(text), sessionId, at }] }));
    // The bus hands it on a turn later.
    await new Promise((resolve) => setImmediate(() => setImmediate(resolve)));
  };
  await say('new', 90);
  await say('old', 80);
  expect(states.of(projectId, sessionId)).toMatchObject(told('new'));
  await say('far ahead', 1e6);
  expect(states.of(projectId, sessionId)).toMatchObject(told('far ahead'));
  states.set(projectId, sessionId, told('set'));
  expect(states.of(projectId, sessionId)).toMatchObject(told('set'));
  for (const state of ['[]', '1', '{', `{"text":"${'ä'.repeat(600)}"}`])
    await bus.publish(
      `devices:{${projectId}}`,
      JSON.stringify({ states: [{ sessionId, state, away: true, at: stage.time(101).getTime() }] }),
    );
  await say('old', 99);
  expect(states.of(projectId, sessionId)).toMatchObject(told('set'));
  await states.close();
  await bus.close();
});
