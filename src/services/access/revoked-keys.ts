import type { Clock } from '../../domain/clock.js';
import type { Observer } from '../../observation.js';
import { keysRevokedAfter, type RevokedKey } from '../../store/access/api-keys.js';
import type { Database } from '../../store/database.js';
import type { Bus } from '../bus.js';
import { hear, keysChannel, readKeyId } from '../messages.js';
import { publish } from '../publish-changes.js';
import { createTimedDuty } from '../timed-duty.js';

/**
 * Finds out which keys are revoked, on any server, so that the open streams of their callers end. The bus reports a
 * revocation at once, if both servers can reach it. In addition, the rows are read every 2 seconds, so that a lost
 * message cannot keep a stream open.
 */
export interface RevokedKeys {
  /**
   * Calls the listener with the id of each key that is revoked from now on, at least once. Returns a function that
   * stops this.
   */
  onRevoked(listener: (keyId: string) => void): () => void;
  /** Tells this server and the other servers that a key has been revoked. Never rejects. */
  tell(keyId: string): Promise<void>;
  /** Reads from the rows which keys were revoked since the last look. */
  look(): Promise<void>;
  /** From now on, looks every 2 seconds. */
  start(): void;
  close(): Promise<void>;
}

const INTERVAL = 2_000;
/**
 * How far before the last look a look begins, in milliseconds. A revocation has the time at which its transaction
 * began, but is visible only after the commit. The transaction is rolled back after 30 s, as soon as its running
 * statement has ended, and Postgres ends a statement after 30 s. So a revocation is committed in less time than this.
 */
const OVERLAP = 150_000;
/** The number of keys that one statement reads. A look runs as many statements as it needs. */
const PAGE = 1_000;

const NO_ID = '00000000-0000-0000-0000-000000000000';

export async function createRevokedKeys(deps: {
  database: Database;
  bus: Bus;
  clock: Clock;
  observe: Observer;
}): Promise<RevokedKeys> {
  const { database, bus, clock, observe } = deps;
  const listeners = new Set<(keyId: string) => void>();
  /**
   * The listeners already know every key revoked before this time minus the overlap. It begins with the start of the
   * server; every open stream was opened later.
   */
  let seenUntil = clock.now();

  function revoked(keyId: string): void {
    for (const listener of listeners) listener(keyId);
  }

  const subscription = await bus.subscribe(keysChannel, {
    onMessage: hear(keysChannel, readKeyId, observe, revoked),
    // The next look finds revocations whose messages were lost.
    onLoss: () => {},
    onGap: () => {},
  });

  async function look(): Promise<void> {
    const now = clock.now();
    const since = new Date(seenUntil.getTime() - OVERLAP);
    let page: RevokedKey[];
    let after: RevokedKey = { revokedAt: since, projectId: NO_ID, id: NO_ID };
    do {
      page = await keysRevokedAfter(database, after, PAGE);
      for (const { id } of page) revoked(id);
      after = page.at(-1) ?? after;
    } while (page.length === PAGE);
    seenUntil = now;
  }

  const duty = createTimedDuty(INTERVAL, look, (error) =>
    observe({ kind: 'task.failed', task: 'keys.lookForRevoked', error }),
  );

  return {
    onRevoked(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    async tell(keyId) {
      revoked(keyId);
      await publish(bus, observe, keysChannel, keyId);
    },
    look,
    start: () => duty.start(),
    async close() {
      listeners.clear();
      await duty.close();
      await subscription.close();
    },
  };
}
