import type { ProjectCaller } from '../../domain/access.js';
import { rejected, type IncomingEvent, type IngestOutcome } from '../../domain/event.js';
import type { ReadyEvent } from '../../domain/planned-event.js';
import type { Sender } from '../../domain/sender.js';
import { createAdmitEvents, isRefused, type Heartbeat } from './admit-events.js';
import { createEventQueue } from './event-queue.js';
import { createShortcut, type Shortcut } from './extend-sessions.js';
import type { Geography } from './geography.js';
import type { GroupCommitLimits } from './group-commit.js';
import type { BatchDeps } from './plan-again.js';
import { createTakeBatch } from './take-batch.js';

/** Takes in events and heartbeats, in the same way for every entry point, and answers after the commit. */
export interface Ingest {
  /**
   * Takes 1 to 1,000 events; answers one outcome for each, in order. `sentAt`: the client's clock at sending (rule 10);
   * null where the request does not say. Throws TOO_MANY_EVENTS, PAYLOAD_TOO_LARGE, BAD_USER_INPUT (no event, an invalid
   * sentAt) or OVERLOADED (the queue is full): then nothing was stored. Throws UNAVAILABLE (no database) or any other
   * error: then some events may be stored; if the caller sends the request again, events with ids are not stored twice. A
   * request that is sent before the answer to another one may be processed after that one.
   */
  ingestEvents(
    caller: ProjectCaller,
    events: readonly IncomingEvent[],
    sender: Sender,
    sentAt?: Date | null,
  ): Promise<IngestOutcome[]>;
  /** Rule 18. Throws BAD_USER_INPUT unless either sessionKey is given, or identity, deviceId or both. */
  recordHeartbeat(
    caller: ProjectCaller,
    heartbeat: Heartbeat,
    sender: Sender,
  ): Promise<{ acknowledged: boolean; sessionId: string | null }>;
  /** How many events the queue can hold, and how many more it can take now. */
  readonly room: { readonly limit: number; readonly remaining: number };
  /** Whether one more event would have to wait for the database. */
  readonly busy: boolean;
  /** Accepts nothing new, and finishes what is queued. */
  close(): Promise<void>;
}

export function createIngest(
  deps: BatchDeps & {
    readonly geography?: Geography | null;
    readonly limits?: GroupCommitLimits;
    /** The shortcut; a test replaces it to run without. */
    readonly shortcut?: Shortcut;
  },
): Ingest {
  const { clock, observe, geography = null, limits, shortcut = createShortcut() } = deps;
  const door = createAdmitEvents({ clock, geography });
  const queue = createEventQueue({ takeBatch: createTakeBatch({ ...deps, shortcut }), observe, limits });

  return {
    async ingestEvents(caller, events, sender, sentAt = null) {
      const admitted = await door.admit(caller, events, sender, sentAt);
      const good: ReadyEvent[] = [];
      for (const event of admitted) if (!isRefused(event)) good.push(event);
      const outcomes = good.length > 0 ? await queue.store(good) : [];
      let next = 0;
      const answers = admitted.map((event) => (isRefused(event) ? rejected(event) : outcomes[next++]!));
      const counts = { ACCEPTED: 0, DISCARDED: 0, DUPLICATE: 0, REJECTED: 0 };
      for (const { status } of answers) counts[status] += 1;
      observe({ kind: 'events.taken', outcomes: counts });
      return answers;
    },

    async recordHeartbeat(caller, heartbeat, sender) {
      const event = door.admitHeartbeat(caller, heartbeat, sender);
      if (!event) return { acknowledged: false, sessionId: null };
      const [outcome] = await queue.store([event]);
      return { acknowledged: outcome!.code === 'HEARTBEAT', sessionId: outcome!.sessionId };
    },

    get room() {
      return queue.room;
    },
    get busy() {
      return queue.busy;
    },
    close: () => queue.close(),
  };
}
