import type { ProjectCaller } from '../../domain/access.js';
import type { Clock } from '../../domain/clock.js';
import { OLDEST_EVENT } from '../../domain/session.js';
import { isLarger, toStorableJson, wellFormed } from '../../domain/well-formed.js';
import { AppError } from '../../errors.js';
import type { Observer } from '../../observation.js';
import type { Database } from '../../store/database.js';
import {
  describeEvent,
  dropBeyond,
  dropDescriptions,
  keepDescription,
  takeDescriptions,
} from '../../store/ingest/user-descriptions.js';
import { createTimedDuty } from '../timed-duty.js';

/**
 * A user's own words about an event ("I had just pressed save"), by the reference that the client gave the event. The
 * description often arrives before its event: clients send events in batches, but descriptions at once. So a description
 * waits in the database until its event is stored, 3 days at most (rule 10: no event comes later).
 */
export interface UserDescriptions {
  /**
   * Resolves when the description is stored: in the event (`@user_description` of its data), or waiting for the event. An
   * event gets only its first description; later ones change nothing. Throws BAD_USER_INPUT if the description is larger
   * than 64 KiB or nests deeper than 100 levels, and FORBIDDEN for a token narrowed to identities.
   */
  add(
    caller: ProjectCaller,
    description: {
      referenceId: string;
      emailAddress: string | null;
      description: string | null;
      /** What else the user sent with it. */
      data: Readonly<Record<string, unknown>>;
    },
  ): Promise<void>;
  /** Adds the descriptions received since `since` to their events, if these are stored. Safe on several servers at once. */
  runOnce(since: Date): Promise<void>;
  start(): void;
  close(): Promise<void>;
}

const INTERVAL = 5_000;
/** Clients send events within seconds, so older descriptions are checked only once an hour (RARELY). Milliseconds. */
const FRESH = 10 * 60_000;
const RARELY = 60 * 60_000;
const CHUNK = 200;
/**
 * The most descriptions of one key that wait; beyond that, the oldest are dropped. Events come within seconds of their
 * descriptions, so a dropped one has mostly waited in vain, and a flood of useless descriptions keeps out no later one.
 */
const MOST_WAITING = 1_000;
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
    async add({ reach, keyId }, { referenceId, emailAddress, description, data }) {
      if (reach.userIds) {
        throw new AppError('FORBIDDEN', 'A token that is narrowed to certain users cannot describe events.');
      }
      const json = toStorableJson({
        ...(emailAddress !== null && { email_address: wellFormed(emailAddress) }),
        ...(description !== null && { description: wellFormed(description) }),
        ...(Object.keys(data).length > 0 && { data }),
      });
      if (json === null || isLarger(json, MOST_BYTES)) {
        throw new AppError(
          'BAD_USER_INPUT',
          `The description is too large; at most ${MOST_BYTES} bytes as JSON and 100 levels of nesting are allowed.`,
        );
      }
      await database.transaction(async (tx) => {
        if (await describeEvent(tx, reach, referenceId, json)) return;
        await keepDescription(tx, reach, { referenceId, keyId, json, now: clock.now() });
        await dropBeyond(tx, reach, { keyId, most: MOST_WAITING });
      });
    },
    start: () => duty.start(),
    close: () => duty.close(),
  };
}
