import type { ProjectCaller } from '../domain/access.js';
import type { Clock } from '../domain/clock.js';
import { OLDEST_EVENT } from '../domain/session.js';
import { toStorableJson, wellFormed } from '../domain/well-formed.js';
import { AppError } from '../errors.js';
import type { Observer } from '../observation.js';
import type { Database } from '../store/database.js';
import { describeEvent, dropDescriptions, keepDescription, takeDescriptions } from '../store/user-descriptions.js';
import { createTimedDuty } from './timed-duty.js';

/**
 * What a user says of an event ("I had just pressed save"), by the reference the client gave it. The words
 * often come first: clients send events in batches, and descriptions at once. So a description waits in the
 * database until its event is here, 3 days at most (rule 10: no event comes later).
 */
export interface UserDescriptions {
  /**
   * Resolves when it is stored: with the event (`@user_description` of its data), or waiting for it. BAD_USER_INPUT
   * where it is too large, FORBIDDEN for a token narrowed to identities, OVERLOADED where too many wait.
   */
  add(
    caller: ProjectCaller,
    description: {
      referenceId: string;
      emailAddress: string | null;
      description: string | null;
      /** Goes into the event's data as it is. */
      data: Readonly<Record<string, unknown>>;
    },
  ): Promise<void>;
  /** Gives the descriptions received since then to the events that have come. Safe on several servers at once. */
  runOnce(since: Date): Promise<void>;
  start(): void;
  close(): Promise<void>;
}

const INTERVAL = 5_000;
/** Clients send events within seconds: older descriptions are looked after seldom. */
const FRESH = 10 * 60_000;
const RARELY = 60 * 60_000;
const CHUNK = 200;
/** Of one project, waiting. */
const MOST_WAITING = 5_000;
const MOST_BYTES = 65_536;

export function createUserDescriptions(deps: {
  database: Database;
  clock: Clock;
  observe: Observer;
}): UserDescriptions {
  const { database, clock, observe } = deps;
  let lookedAtAll = 0;

  async function runOnce(since: Date): Promise<void> {
    for (let taken = CHUNK; taken === CHUNK;) {
      taken = await database.transaction(async (tx) => {
        const ready = await takeDescriptions(tx, since, CHUNK);
        for (const { projectId, referenceId, json } of ready) {
          await describeEvent(tx, { projectId, userIds: null }, referenceId, json);
        }
        return ready.length;
      });
    }
  }

  async function look(): Promise<void> {
    const now = clock.now().getTime();
    if (now - lookedAtAll < RARELY) {
      await runOnce(new Date(now - FRESH));
      return;
    }
    await runOnce(new Date(0));
    for (let dropped = CHUNK; dropped === CHUNK;) {
      dropped = await dropDescriptions(database, new Date(now - OLDEST_EVENT), CHUNK);
    }
    lookedAtAll = now;
  }

  const duty = createTimedDuty(INTERVAL, look, (error) =>
    observe({ kind: 'task.failed', task: 'user descriptions', error }),
  );
  return {
    runOnce,
    async add({ reach }, { referenceId, emailAddress, description, data }) {
      if (reach.userIds) {
        throw new AppError('FORBIDDEN', 'A token that is narrowed to certain users cannot describe events.');
      }
      const json = toStorableJson({
        ...data,
        '@user_description': {
          ...(emailAddress !== null && { email_address: wellFormed(emailAddress) }),
          ...(description !== null && { description: wellFormed(description) }),
        },
      });
      if (json === null || Buffer.byteLength(json) > MOST_BYTES) {
        throw new AppError('BAD_USER_INPUT', `A description has at most ${MOST_BYTES} bytes and nests 100 levels.`);
      }
      const kept = await database.transaction(
        async (tx) =>
          (await describeEvent(tx, reach, referenceId, json)) ||
          (await keepDescription(tx, reach, { referenceId, json, now: clock.now(), most: MOST_WAITING })),
      );
      if (!kept) {
        throw new AppError('OVERLOADED', 'Too many descriptions wait for their events. Try again later.', {
          retryAfter: 60,
        });
      }
    },
    start: () => duty.start(),
    close: () => duty.close(),
  };
}
