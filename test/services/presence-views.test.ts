import { afterAll, beforeAll, expect, test } from 'vitest';
import { createMemoryBus } from '../../src/adapters/memory-bus.js';
import { readPresenceCursor } from '../../src/domain/presence-cursor.js';
import type { PresenceUpdate } from '../../src/domain/presence.js';
import { userIdOf } from '../../src/domain/identity.js';
import type { Bus, BusListener } from '../../src/services/bus.js';
import { createIngest } from '../../src/services/ingest/ingest.js';
import { PRESENCE_LIMITS } from '../../src/services/presence/presence-limits.js';
import { createPresence, type Presence } from '../../src/services/presence/watch-presence.js';
import { AppError } from '../../src/errors.js';
import { createEraseUser } from '../../src/services/projects/erase-user.js';
import type { Database } from '../../src/store/database.js';
import { presenceOf } from '../../src/store/presence/read-presence.js';
import { eventually } from '../support/app.js';
import { createTestDatabase, type TestDatabase } from '../support/database.js';
import { Dice } from '../support/dice.js';
import { SENDER, createStage, toIncoming, type Stage } from '../support/stage.js';

let db: TestDatabase;
beforeAll(async () => {
  db = await createTestDatabase();
});
afterAll(() => db.drop());

/** A bus that can be away: what is said meanwhile is lost, and listeners are told as the contract says. */
function createFragileBus(): Bus & { lose(): void; restore(): void } {
  const bus = createMemoryBus();
  const listeners = new Set<BusListener>();
  let isLost = false;
  return {
    ...bus,
    connected: true,
    async subscribe(channel, listener) {
      listeners.add(listener);
      const subscription = await bus.subscribe(channel, {
        ...listener,
        onMessage: (message) => void (isLost || listener.onMessage(message)),
      });
      return {
        async close() {
          listeners.delete(listener);
          await subscription.close();
        },
      };
    },
    lose() {
      if (isLost) return;
      isLost = true;
      for (const listener of listeners) listener.onLoss();
    },
    restore() {
      if (!isLost) return;
      isLost = false;
      for (const listener of listeners) listener.onGap();
    },
  };
}

/** A database whose transactions are held before they commit, while the gate is shut. */
function createGated(database: Database): { database: Database; shut(): void; open(): void; held(): number } {
  let gate: { readonly opened: Promise<void>; open(): void } | null = null;
  let held = 0;
  return {
    database: {
      ...database,
      transaction: (work) =>
        database.transaction(async (tx) => {
          const result = await work(tx);
          if (!gate) return result;
          held += 1;
          await gate.opened;
          held -= 1;
          return result;
        }),
    },
    shut() {
      let open = (): void => {};
      const opened = new Promise<void>((resolve) => (open = resolve));
      gate ??= { opened, open };
    },
    open() {
      gate?.open();
      gate = null;
    },
    held: () => held,
  };
}

/** What a front end knows, and where it would go on. */
class View {
  readonly known: Map<string, number>;
  cursor: string | null;
  private parts: PresenceUpdate['users'][number][] = [];

  constructor(from: View | null = null) {
    this.known = new Map(from?.known);
    this.cursor = from?.cursor ?? null;
  }

  read({ kind, users, cursor, hasMore }: PresenceUpdate): void {
    this.parts.push(...users);
    this.cursor = cursor;
    if (hasMore) return;
    if (kind === 'SNAPSHOT') this.known.clear();
    for (const { identity, onlineSessions } of this.parts) this.known.set(identity, onlineSessions);
    this.parts = [];
  }

  /** Who is online. */
  get online(): string {
    return JSON.stringify([...this.known].filter(([, sessions]) => sessions > 0).toSorted());
  }
}

/** Whom somebody asks for, and whom they may see at all; null: everybody. */
interface Of {
  readonly identities: readonly string[] | null;
  readonly within: readonly string[] | null;
}

/** One who comes back where it is told to, with what it knows. */
class Viewer {
  private pulling: Promise<void> | null = null;
  private isClosed = false;

  private constructor(
    private readonly begin: (after: string | null) => Promise<AsyncIterableIterator<PresenceUpdate>>,
    readonly of: Of,
    private updates: AsyncIterableIterator<PresenceUpdate>,
    public view: View,
  ) {}

  static async open(presence: Presence, { projectId }: Stage, of: Of, from: View | null) {
    const userIds = of.within?.map((identity) => userIdOf(projectId, identity)) ?? null;
    const begin = (text: string | null): Promise<AsyncIterableIterator<PresenceUpdate>> => {
      const after = text === null ? null : readPresenceCursor(text)!;
      return presence.watch({ projectId, userIds }, { identities: of.identities, after });
    };
    const view = new View(from);
    return new Viewer(begin, of, await begin(view.cursor), view);
  }

  /** Pulls one more, if it comes. */
  pull(): void {
    this.pulling ??= this.pullOnce();
  }

  async follow(): Promise<void> {
    await this.pulling;
    while (!this.isClosed) await this.pullOnce();
  }

  async close(): Promise<void> {
    this.isClosed = true;
    await this.updates.return!();
    await this.pulling;
  }

  private async pullOnce(): Promise<void> {
    try {
      const { value, done } = await this.updates.next();
      if (done) this.isClosed = true;
      else this.view.read(value);
    } catch (error) {
      if (!(error instanceof AppError && error.code === 'UNAVAILABLE')) throw error;
      this.view = new View(this.view);
      if (!this.isClosed) this.updates = await this.begin(this.view.cursor);
    }
    this.pulling = null;
  }
}

const USERS = Array.from({ length: 8 }, (_, at) => `user ${at}`);

/** Small, so that all that happens at a limit does. */
const SMALL = { ...PRESENCE_LIMITS, part: 3, kept: 6, told: 3, changed: 4, reuse: 20, held: 2 };

async function play(seed: number): Promise<{ happened: Record<string, number> }> {
  const dice = new Dice(seed);
  const stage = await createStage(db, { presenceTimeout: 60 });
  const happened: Record<string, number> = {};
  const note = (what: string): void => void (happened[what] = (happened[what] ?? 0) + 1);
  const gated = createGated(stage.database);
  const clock = { now: () => stage.now() };
  const observe = () => {};
  const bus = createFragileBus();
  const deps = { database: stage.database, bus, clock, observe };
  const [ingest, slowIngest] = [createIngest(deps), createIngest({ ...deps, database: gated.database })];
  const erase = createEraseUser(deps);
  const presence = createPresence({ ...deps, limits: SMALL });
  const viewers: Viewer[] = [];
  const left: { of: Of; view: View }[] = [];
  const underWay: Promise<unknown>[] = [];
  /** Users of transactions that are held: whoever touches them waits. */
  const busy = new Set<string>();
  const free = (): string => dice.pick(USERS.filter((user) => !busy.has(user)));
  const flip = (by: typeof ingest, user: string): Promise<unknown> => {
    const type = dice.pick(['log', 'sessionend', 'log', 'sessionend', 'session']);
    const device = dice.oneIn(3) ? { sessionKey: `device-${USERS.indexOf(user)}-${dice.below(20)}` } : {};
    return by.ingestEvents(stage.caller, [toIncoming({ user, type, ...device }, stage.time)], SENDER);
  };

  async function openGate(): Promise<void> {
    gated.open();
    await Promise.all(underWay.splice(0));
    busy.clear();
  }

  for (let step = 1; step <= 120; step += 1) {
    stage.at(step * 2);
    const action = dice.below(14);
    if (action < 4) await Promise.all([flip(ingest, free()), dice.oneIn(2) && flip(ingest, free())]);
    else if (action === 4 && busy.size < USERS.length / 2) {
      note('transactions held open');
      const user = free();
      gated.shut();
      const before = gated.held();
      busy.add(user);
      const sent = flip(slowIngest, user);
      underWay.push(sent);
      let isOver = false;
      void sent.then(() => (isOver = true));
      await eventually(() => gated.held() > before || isOver || underWay.length > 1);
    } else if (action === 5 && dice.oneIn(2)) await openGate();
    else if (action === 6) {
      note('erasures');
      await erase(stage.caller, free());
    } else if (action === 7) {
      note('gaps');
      bus.lose();
    } else if (action === 8) bus.restore();
    else if (action === 9) await presence.repair();
    else if (action === 10 && viewers.length < 8) {
      const some = (): readonly string[] | null => (dice.oneIn(2) ? null : USERS.filter(() => dice.oneIn(2)));
      const known = dice.oneIn(2) ? left[dice.below(left.length)] : undefined;
      if (known) note('resumed');
      // A copy: another may come back from the same place.
      const of = known?.of ?? { identities: some(), within: some() };
      viewers.push(await Viewer.open(presence, stage, of, known?.view ?? null));
    } else if (action === 11 && viewers.length > 2) {
      const [viewer] = viewers.splice(dice.below(viewers.length), 1);
      await viewer!.close();
      left.push({ of: viewer!.of, view: viewer!.view });
    } else for (const viewer of viewers) if (!dice.oneIn(3)) viewer.pull();
  }
  await openGate();
  bus.restore();
  await presence.repair();
  // An erasure that was not heard of is believed at the second look.
  await presence.repair();
  for (const one of left) viewers.push(await Viewer.open(presence, stage, one.of, one.view));
  const following = viewers.map((viewer) => viewer.follow());
  const rows = await presenceOf(stage.database, stage.caller.reach, USERS);
  for (const viewer of viewers) {
    const { identities, within } = viewer.of;
    const expected = JSON.stringify(
      rows
        .filter(({ identity }) => [identities, within].every((some) => some?.includes(identity) ?? true))
        .filter(({ onlineSessions }) => onlineSessions > 0)
        .map(({ identity, onlineSessions }) => [identity, onlineSessions])
        .toSorted(),
    );
    await eventually(() => viewer.view.online === expected).catch(() => {
      throw new Error(`${JSON.stringify(viewer.of)}: ${viewer.view.online} is not ${expected}`);
    });
  }
  await presence.close();
  await Promise.all(following);
  await Promise.all([ingest.close(), slowIngest.close()]);
  return { happened };
}

test.each(Array.from({ length: 12 }, (_, at) => at + 1))(
  'rule 30: whatever befalls them, what all viewers show in the end is what the rows say, history %i',
  async (seed) => {
    const { happened } = await play(seed * 7_919);
    expect(Object.keys(happened).length).toBeGreaterThan(2);
  },
  60_000,
);
