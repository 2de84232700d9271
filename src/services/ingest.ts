import type { ProjectCaller } from '../domain/access.js';
import { arrivalOf, checkEvent, checkHeartbeat, type CheckedEvent } from '../domain/check-event.js';
import type { Clock } from '../domain/clock.js';
import { eventIds, uuidAt } from '../domain/event-id.js';
import type { Sender } from '../domain/sender.js';
import { rejected, type IncomingEvent, type IngestOutcome, type Rejection } from '../domain/event.js';
import { withoutIpAddress } from '../domain/ip-address.js';
import type { ReadyEvent } from '../domain/planned-event.js';
import type { DoorSettings } from '../domain/project.js';
import { toStorableJson } from '../domain/well-formed.js';
import { AppError } from '../errors.js';
import type { Observer } from '../observation.js';
import { sqlStateOf, type Database } from '../store/database.js';
import { ensurePartitions, isMissingPartition } from '../store/partitions.js';
import type { Bus } from './bus.js';
import { commitBatch, PlanAnew, type Committed } from './commit-batch.js';
import { createShortcut, isPlain, type Shortcut } from './extend-sessions.js';
import { createDescribeClient, isBotEvent } from './describe-client.js';
import type { Geography } from './geography.js';
import { createGroupCommit, type GroupCommitLimits } from './group-commit.js';
import { isolatePoison } from './isolate-poison.js';
import { isLostRace } from './lost-race.js';
import { publishChanges } from './publish-changes.js';

/** Takes events and heartbeats in, for every door alike; answers after the commit. */
export interface Ingest {
  /**
   * 1 to 1,000 events; one outcome for each, in their order. `sentAt`: the client's clock when it sent them (rule 10); left
   * out where it does not say. Throws TOO_MANY_EVENTS, BAD_USER_INPUT (no event, an invalid sentAt),
   * OVERLOADED (the queue is full): then nothing was stored; UNAVAILABLE (no database), or whatever else: some of it may be
   * stored, which ids tell when it is sent again. A request that is sent before another is answered may be taken after it.
   */
  ingestEvents(
    caller: ProjectCaller,
    events: readonly IncomingEvent[],
    sender: Sender,
    sentAt?: Date | null,
  ): Promise<IngestOutcome[]>;
  /** Rule 18. Exactly one of sessionKey and identity; otherwise BAD_USER_INPUT. */
  recordHeartbeat(
    caller: ProjectCaller,
    heartbeat: { sessionKey?: string | null; identity?: string | null; close: boolean },
    sender: Sender,
  ): Promise<{ acknowledged: boolean; sessionId: string | null }>;
  /** How many events can wait, and for how many there is room just now. */
  readonly room: { readonly limit: number; readonly remaining: number };
  /** Whether a further event would have to wait for the database. */
  readonly busy: boolean;
  /** Takes nothing new, finishes what is queued. */
  close(): Promise<void>;
}

/** The contract's limit for one request. */
const MOST_EVENTS = 1_000;

/**
 * Two transactions, which do not wait for each other's users; for few events one is quicker, since a batch's statement
 * takes Postgres 340 µs however few its events are, and 22 µs for each. The queue is a few seconds' work of a small machine.
 */
const LIMITS: GroupCommitLimits = {
  lanes: 2,
  another: { events: 50, milliseconds: 20 },
  batch: { events: 2_000, bytes: 8_000_000 },
  queue: { events: 50_000, bytes: 64_000_000 },
};

const MOST_ATTEMPTS = 10;

const isRace = (error: unknown): boolean => error instanceof PlanAnew || isLostRace(error);

/** No instant lies in it. */
const NO_PARTITIONS = { from: new Date(8.64e15), to: new Date(-8.64e15) };

/** What an event takes in the queue, roughly. */
const bytesOf = (event: CheckedEvent): number => 500 + event.json.length + (event.message?.length ?? 0);

/** Refuses what a bot sends where the project wants none of it. */
const dropBots = ({ bots }: DoorSettings, checked: CheckedEvent | Rejection): CheckedEvent | Rejection =>
  bots === 'DROP' && !('code' in checked) && isBotEvent(checked)
    ? { code: 'BOT', message: 'The user agent is that of a bot, and the project takes none (settings.bots).' }
    : checked;

export function createIngest(deps: {
  database: Database;
  bus: Bus;
  clock: Clock;
  observe: Observer;
  geography?: Geography | null;
  limits?: GroupCommitLimits;
  /** The short way; a test does without. */
  shortcut?: Shortcut;
}): Ingest {
  const { database, bus, clock, observe, geography = null, limits = LIMITS } = deps;
  const shortcut = deps.shortcut ?? createShortcut();
  const describeClient = createDescribeClient(geography);
  let partitions = NO_PARTITIONS;

  /** What is stored and told of an event: its client as it is described, and addresses only where the project keeps them. */
  function ready(
    event: CheckedEvent,
    { storeIpAddress }: DoorSettings,
    newEventId: (at: number) => string,
  ): ReadyEvent {
    const id = newEventId(event.time);
    const attributes = describeClient(event);
    // The event was made for this request: it grows rather than being copied.
    if (storeIpAddress) return Object.assign(event, { id, attributes });
    const data = event.data && withoutIpAddress(event.data);
    return {
      ...event,
      id,
      json: data ? (toStorableJson(data) ?? '{}') : event.json,
      attributes: { ...attributes, ipAddress: null, data: withoutIpAddress(attributes.data) },
    };
  }

  async function havePartitions(): Promise<void> {
    const now = clock.now();
    if (now < partitions.from || now >= partitions.to) partitions = await ensurePartitions(database, now, observe);
  }

  async function commitOnce(requests: readonly (readonly ReadyEvent[])[]): Promise<Committed> {
    const now = clock.now();
    const committed = await database.transaction((tx) => commitBatch(tx, requests, now));
    publishChanges(bus, observe, committed.changes, now);
    return committed;
  }

  async function commitWithRetry(requests: readonly (readonly ReadyEvent[])[]): Promise<IngestOutcome[][]> {
    for (let attempt = 1; ; attempt += 1) {
      try {
        return (await commitOnce(requests)).outcomes;
      } catch (error) {
        if (!isRace(error) || attempt === MOST_ATTEMPTS) throw error;
        observe({
          kind: 'batch.retried',
          reason: error instanceof PlanAnew ? error.message : sqlStateOf(error),
          attempt,
        });
      }
    }
  }

  /** What every rule is needed for; one poisoned event fails alone. */
  const commitIsolated = (requests: readonly (readonly ReadyEvent[])[]): Promise<IngestOutcome[][]> =>
    isolatePoison(requests, {
      commit: commitWithRetry,
      // The dry run is the real one, rolled back.
      probe: (events) =>
        database
          .transaction(async (tx) => {
            await commitBatch(tx, [events], clock.now());
            throw new DryRun();
          })
          .catch((error: unknown) => {
            if (!(error instanceof DryRun)) throw error;
          }),
      onPoison: (events, error) => observe({ kind: 'batch.poisoned', events, error }),
    });

  /**
   * Where a partition is missing it is made, and all is tried again, each request by itself: one that somebody has detached is
   * there under its name, and not to be made; whoever's events belong into it is told UNAVAILABLE, and nobody else.
   */
  async function commitPlanned(
    requests: readonly (readonly ReadyEvent[])[],
  ): Promise<readonly (IngestOutcome[] | Error)[]> {
    try {
      return await commitIsolated(requests);
    } catch (error) {
      if (!isMissingPartition(error)) throw error;
    }
    partitions = NO_PARTITIONS;
    await havePartitions();
    const answers: (IngestOutcome[] | Error)[] = [];
    for (const request of requests) {
      answers.push(
        await commitIsolated([request]).then(
          ([outcomes]) => outcomes!,
          (error: unknown) => error as Error,
        ),
      );
    }
    return answers;
  }

  /** What became of each event; null: it needs a plan. */
  async function takeShortcut(events: readonly ReadyEvent[]): Promise<readonly (IngestOutcome | null)[]> {
    try {
      const { outcomes, changes } = await shortcut.take(database, events, clock.now());
      publishChanges(bus, observe, changes, clock.now());
      return outcomes;
    } catch (error) {
      // Without a database there is no other way either; whatever else it was, the plan finds out.
      if (error instanceof AppError && !isRace(error) && !isMissingPartition(error)) throw error;
      observe({ kind: 'batch.retried', reason: `shortcut: ${sqlStateOf(error)}`, attempt: 0 });
      return events.map(() => null);
    }
  }

  async function commit(
    requests: readonly (readonly ReadyEvent[])[],
    waited: number,
  ): Promise<(IngestOutcome[] | Error)[]> {
    const start = performance.now();
    await havePartitions();
    const events = requests.flat();
    const taken = await takeShortcut(events);
    let at = 0;
    const left = requests.map((request) => request.filter(() => taken[at++] === null));
    const planned = left.filter((request) => request.length > 0);
    let outcomes: readonly (IngestOutcome[] | Error)[] = [];
    let failure: Error | null = null;
    if (planned.length > 0) {
      // Requests that needed no plan are answered whatever becomes of the others.
      outcomes = await commitPlanned(planned).catch((error: unknown) => {
        failure = error as Error;
        return [];
      });
      for (const [request, answers] of outcomes.entries()) {
        if (answers instanceof Error) continue;
        for (const [place, outcome] of answers.entries()) shortcut.learn(planned[request]![place]!, outcome);
      }
    }
    observe({
      kind: 'batch.committed',
      requests: requests.length,
      events: events.length,
      planned: planned.reduce((sum, request) => sum + request.length, 0),
      milliseconds: performance.now() - start,
      waited,
    });
    let next = 0;
    at = 0;
    return requests.map((request, number) => {
      const own = left[number]!.length === 0 ? [] : (outcomes[next++] ?? null);
      const answers = taken.slice(at, (at += request.length));
      if (own === null) return failure!;
      if (own instanceof Error) return own;
      let place = 0;
      return answers.map((answer) => answer ?? own[place++]!);
    });
  }

  const queue = createGroupCommit<readonly ReadyEvent[], IngestOutcome[]>({
    limits,
    weigh: (events) => ({ events: events.length, bytes: events.reduce((sum, event) => sum + bytesOf(event), 0) }),
    commit,
    onRefused: (queued) => observe({ kind: 'ingest.refused', queued }),
  });

  let turn = 0;
  /** By the user, whose row in sessions a batch holds until it has committed; what has no session takes turns. */
  function laneOf({ user, sessionKey }: ReadyEvent): number {
    const subject = user?.id ?? sessionKey;
    if (subject === null) turn += 1;
    return (subject === null ? turn : subject.charCodeAt(subject.length - 1)) % limits.lanes;
  }

  /**
   * Events of one request; an outcome for each. They are of different lanes only where none says more than that its user was
   * there: such events of different users have nothing to do with each other, in whatever order they are stored.
   */
  async function store(events: readonly ReadyEvent[]): Promise<IngestOutcome[]> {
    if (events.length === 1 || !events.every(isPlain)) {
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
  }

  return {
    async ingestEvents({ reach, settings }, events, sender, sentAt = null) {
      if (events.length === 0) {
        throw new AppError('BAD_USER_INPUT', 'events is empty; 1 to 1,000 events are taken.', { field: 'events' });
      }
      if (events.length > MOST_EVENTS) {
        throw new AppError(
          'TOO_MANY_EVENTS',
          `There are ${events.length} events; 1 to 1,000 are taken. Nothing was stored.`,
          {
            field: 'events',
          },
        );
      }
      if (Number.isNaN(sentAt?.getTime())) {
        throw new AppError(
          'BAD_USER_INPUT',
          'sentAt is no RFC 3339 instant; write it like 2026-01-31T09:30:00.000Z. Nothing was stored.',
          { field: 'sentAt' },
        );
      }
      const arrival = arrivalOf(clock.now(), sentAt);
      const checked = events.map((event) => dropBots(settings, checkEvent(reach, event, sender, arrival)));
      const newEventId = eventIds();
      const good: ReadyEvent[] = [];
      for (const event of checked) if (!('code' in event)) good.push(ready(event, settings, newEventId));
      const outcomes = good.length > 0 ? await store(good) : [];
      let next = 0;
      const answers = checked.map((event) => ('code' in event ? rejected(event) : outcomes[next++]!));
      const counts = { ACCEPTED: 0, DISCARDED: 0, DUPLICATE: 0, REJECTED: 0 };
      for (const { status } of answers) counts[status] += 1;
      observe({ kind: 'events.taken', outcomes: counts });
      return answers;
    },

    async recordHeartbeat({ reach, settings }, heartbeat, sender) {
      if ((heartbeat.sessionKey == null) === (heartbeat.identity == null)) {
        throw new AppError('BAD_USER_INPUT', 'Give either sessionKey or identity, not both and not neither.', {
          field: 'input',
        });
      }
      const checked = dropBots(settings, checkHeartbeat(reach, heartbeat, sender, clock.now()));
      if ('code' in checked) {
        if (checked.code === 'BOT') return { acknowledged: false, sessionId: null };
        const field = heartbeat.identity == null ? 'input.sessionKey' : 'input.identity';
        if (checked.code === 'FORBIDDEN_IDENTITY') throw new AppError('FORBIDDEN', checked.message, { field });
        throw new AppError('BAD_USER_INPUT', checked.message, { field });
      }
      const [outcome] = await store([ready(checked, settings, uuidAt)]);
      return { acknowledged: outcome!.code === 'HEARTBEAT', sessionId: outcome!.sessionId };
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

class DryRun extends Error {}
