import { setImmediate as nextTurn } from 'node:timers/promises';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { createMemoryBus } from '../../src/adapters/memory-bus.js';
import { readSnapshot, type Beside, type PresenceUpdate } from '../../src/domain/presence.js';
import { createIngest } from '../../src/services/ingest/ingest.js';
import { Audience } from '../../src/services/presence/audience.js';
import { createDeviceStates } from '../../src/services/presence/device-states.js';
import { PRESENCE_LIMITS } from '../../src/services/presence/presence-limits.js';
import { createPresence } from '../../src/services/presence/watch-presence.js';
import type { Database } from '../../src/store/database.js';
import { neverSeen, presenceOf } from '../../src/store/presence/read-presence.js';
import { eventually } from '../support/app.js';
import { createTestDatabase, type TestDatabase } from '../support/database.js';
import { Dice } from '../support/dice.js';
import { createStage, SENDER, toIncoming, type StageEvent } from '../support/stage.js';

/** What is told again stands in order with the edges, however late it was read: nobody is shown an older state after a newer one. */

let db: TestDatabase;
beforeAll(async () => {
  db = await createTestDatabase();
});
afterAll(() => db.drop());

const USERS = ['ada', 'bob', 'cyd', 'dan'];
const ASKS: readonly (readonly Beside[])[] = [[], ['devices'], ['lastSeenAt'], ['devices', 'lastSeenAt']];

interface View {
  readonly identities: readonly string[] | null;
  readonly heard: PresenceUpdate[];
  /** Pulls nothing for so many turns of the test. */
  pause: number;
}

test('whoever is told again, by whatever was read late, is never shown an older state, and all of it in the end', async () => {
  const stage = await createStage(db, { inactivityTimeout: 86_400 });
  const dice = new Dice(Number(process.env['SEED'] ?? 8));
  const roll = (count: number): number => dice.below(count);
  const bus = createMemoryBus();
  const clock = { now: () => stage.now() };
  // What is read to be told again comes late, as it would from a Postgres that has much to do.
  const slow: Database = {
    ...stage.database,
    async query(statement) {
      const rows = await stage.database.query<never>(statement);
      if (/presence\.of(Online|Sessions)/.test(statement.name))
        for (let turns = roll(200); turns > 0; turns -= 1) await nextTurn();
      return rows;
    },
  };
  const deps = { database: slow, bus, clock, observe: () => {} };
  const deviceStates = createDeviceStates(deps);
  const presence = createPresence({ ...deps, deviceStates });
  const ingest = createIngest({ ...deps, database: stage.database });
  const { reach } = stage.caller;
  const send = (event: StageEvent) => ingest.ingestEvents(stage.caller, [toIncoming(event, stage.time)], SENDER);

  const views: View[] = [];
  async function watch(): Promise<void> {
    const identities = roll(2) ? null : USERS.filter(() => roll(2));
    const view: View = { identities, heard: [], pause: roll(3) ? 0 : 10 };
    views.push(view);
    const updates = await presence.watch(reach, { identities, asks: new Set(ASKS[roll(ASKS.length)]) });
    void (async () => {
      for await (const update of updates) {
        view.heard.push(update);
        await eventually(() => view.pause === 0, 60_000);
      }
    })();
  }

  let name = 0;
  const sessions = new Map<string, string>();
  for (let step = 0; step < 250; step += 1) {
    stage.at(step * 61);
    const user = USERS[roll(USERS.length)]!;
    const device = `device-${roll(2)}-${Math.floor(step / 50)}`;
    for (const view of views) view.pause = Math.max(0, view.pause - 1);
    const what = roll(10);
    if (what < 2) await send({ user, sessionKey: device, type: 'sessionend', name: String((name += 1)) });
    else if (what < 5) {
      const [outcome] = await send({ user, sessionKey: device, name: String((name += 1)) });
      if (outcome!.sessionId) sessions.set(outcome!.sessionId, user);
    } else if (what < 8) {
      for (const sessionId of sessions.keys())
        if (roll(2)) deviceStates.set(reach.projectId, sessionId, { state: `{"step":${step}}`, away: false });
    } else if (what < 9) await presence.repair();
    if (step % 25 === 0) await watch();
    void presence.tellLastSeen();
    for (let turns = roll(20); turns > 0; turns -= 1) await nextTurn();
  }
  for (const view of views) view.pause = 0;

  const rows = new Map((await presenceOf(stage.database, reach, USERS)).map((user) => [user.identity, user]));
  const shown = ({ heard }: View): Map<string, string> => {
    const all = new Map<string, string>();
    for (const { kind, users } of heard) {
      if (kind === 'SNAPSHOT') all.clear();
      for (const user of users) all.set(user.identity, `${user.name} ${user.status} ${user.onlineSessions}`);
    }
    return all;
  };
  for (const view of views) {
    await eventually(() => {
      const all = shown(view);
      // A view of everybody has at least those who are online.
      const due = view.identities ?? USERS.filter((user) => all.has(user) || rows.get(user)!.status === 'ONLINE');
      return due.every((identity) => {
        const row = rows.get(identity)!;
        return all.get(identity) === `${row.name} ${row.status} ${row.onlineSessions}`;
      });
    });
    const names = new Map<string, number>();
    for (const { users } of view.heard) {
      for (const user of users) {
        expect(Number(user.name)).toBeGreaterThanOrEqual(names.get(user.identity) ?? 0);
        names.set(user.identity, Number(user.name));
      }
    }
  }
  // There was something to be told again.
  const again = views.flatMap(({ heard }) => heard).filter(({ kind }) => kind === 'DIFF').length;
  expect(again).toBeGreaterThan(200);
  await presence.close();
  await deviceStates.close();
  await ingest.close();
  await bus.close();
}, 120_000);

test('what was read before a start is left out after it, what was read later is not; and each takes what it asks for', () => {
  const audience = new Audience(null, PRESENCE_LIMITS, () => {});
  const snapshot = readSnapshot('100:100:');
  const place = { database: 'here', snapshot: '100:100:', at: 0 };
  const look = { number: 1, place, snapshot, cursor: 'cursor' };
  const view = { snapshot, looks: 1, readAt: 10 };
  const again = (identity: string, beside: Beside, readFrom: number) => ({
    userId: identity,
    presence: { ...neverSeen(identity), status: 'ONLINE' as const },
    version: 1,
    transaction: '50',
    beside,
    readFrom,
  });
  const edges = [
    again('before', 'devices', 9),
    again('after', 'devices', 11),
    again('seen', 'lastSeenAt', 11),
    { userId: 'edge', presence: neverSeen('edge'), version: 1, transaction: '100', previous: null, sessionId: null },
  ];
  audience.add({ edges, at: new Date(), look });
  const takes = (asks: readonly Beside[]) =>
    audience.take(0, view, new Set(asks)).updates.flatMap(({ users }) => users.map(({ identity }) => identity));
  expect(takes([])).toEqual(['edge']);
  expect(takes(['devices'])).toEqual(['after', 'edge']);
  expect(takes(['lastSeenAt'])).toEqual(['seen', 'edge']);
  expect(takes(['devices', 'lastSeenAt'])).toEqual(['after', 'seen', 'edge']);
});
