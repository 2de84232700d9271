import type { IngestOutcome } from '../../domain/event.js';
import type { ReadyEvent } from '../../domain/planned-event.js';
import type { Observer } from '../../observation.js';
import { bytesOf } from './event-bytes.js';
import { isPlain } from './extend-sessions.js';
import { createGroupCommit, type GroupCommitLimits } from './group-commit.js';
import type { TakeBatch } from './take-batch.js';

/** The queue in which events wait for their batch. */
export interface EventQueue {
  /**
   * Stores the events of one request. Answers one outcome for each event, after the commit. The events go into different
   * batches only if all of them are plain (isPlain) and none repeats another's id: then those of different users and devices
   * do not depend on each other, in whatever order they are stored. Throws as GroupCommit.submit does.
   */
  store(events: readonly ReadyEvent[]): Promise<IngestOutcome[]>;
  /** How many events the queue can hold, and how many more it can take now. */
  readonly room: { readonly limit: number; readonly remaining: number };
  /** Whether one more event would have to wait for the database. */
  readonly busy: boolean;
  /** Accepts no more events, and finishes those that wait. */
  close(): Promise<void>;
}

/**
 * Two transactions at a time, which do not wait for each other's users. For few events one transaction is faster: the
 * statement of a batch takes Postgres 340 µs for any number of events, and 22 µs more for each event. The queue holds a few
 * seconds' work of a small machine.
 */
const LIMITS: GroupCommitLimits = {
  lanes: 2,
  another: { events: 50, milliseconds: 20 },
  batch: { events: 2_000, bytes: 8_000_000 },
  queue: { events: 50_000, bytes: 64_000_000 },
};

/** Decides which events share a batch: a request stays in one piece, unless all of its events are plain. */
export function createEventQueue(options: {
  readonly takeBatch: TakeBatch;
  readonly observe: Observer;
  readonly limits?: GroupCommitLimits | undefined;
}): EventQueue {
  const { takeBatch, observe, limits = LIMITS } = options;
  const queue = createGroupCommit<readonly ReadyEvent[], IngestOutcome[]>({
    limits,
    weigh: (events) => ({ events: events.length, bytes: events.reduce((sum, event) => sum + bytesOf(event), 0) }),
    commit: takeBatch,
    onRefused: (queued) => observe({ kind: 'ingest.refused', queued }),
  });

  let turn = 0;
  /**
   * The lane depends on the device or else the user, because a batch holds the rows of their sessions until it commits, and
   * because the order of a device's events matters (rule 3). Events without a session take turns.
   */
  function laneOf({ user, sessionKey, deviceId }: ReadyEvent): number {
    const subject = deviceId ?? user?.id ?? sessionKey;
    if (subject === null) turn += 1;
    return (subject === null ? turn : subject.charCodeAt(subject.length - 1)) % limits.lanes;
  }

  /** Whether an id comes twice: a user's id may come from several devices, which have different lanes (rule 25). */
  function hasRepeats(events: readonly ReadyEvent[]): boolean {
    const ids = events.flatMap(({ eventKey }) => eventKey ?? []);
    return new Set(ids).size < ids.length;
  }

  return {
    async store(events) {
      if (events.length === 1 || !events.every(isPlain) || hasRepeats(events)) {
        const [outcomes] = await queue.submit([{ work: events, lane: laneOf(events[0]!) }]);
        return outcomes!;
      }
      const lanes = events.map(laneOf);
      const different = [...new Set(lanes)];
      const parts = await queue.submit(
        different.map((lane) => ({ lane, work: events.filter((_event, at) => lanes[at] === lane) })),
      );
      const outcomes = new Map(different.map((lane, at) => [lane, parts[at]!.values()]));
      return lanes.map((lane) => outcomes.get(lane)!.next().value!);
    },
    get room() {
      return { limit: limits.queue.events, remaining: Math.max(0, limits.queue.events - queue.queued) };
    },
    get busy() {
      return queue.busy;
    },
    close: () => queue.close(),
  };
}
