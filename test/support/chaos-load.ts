import { randomUUID } from 'node:crypto';
import type { Queryable } from '../../src/store/database.js';
import { post, type Answer } from './app.js';
import type { Dice } from './random.js';

/** Any answer must come within this time, whatever is broken; a slower request counts as hung. Milliseconds. */
const PATIENCE = 12_000;

const INGEST = `mutation ($events: [EventInput!]!) {
  ingestEvents(events: $events) { results { status code eventId sessionId } }
}`;
const BEAT = 'mutation ($input: HeartbeatInput!) { recordHeartbeat(input: $input) { acknowledged } }';
const READ = `{ project { name } sessions(first: 20) { nodes { id eventCount user { identity presence { status } }
  events { nodes { type } } } } sessionStats { totals { sessions } } }`;

export const pause = (milliseconds: number): Promise<void> =>
  new Promise((resolve) => setTimeout(resolve, milliseconds));

/** The results of requests while something was broken. */
export interface Toll {
  sent: number;
  answered: number;
  /** Ended without an answer: the connection was refused or cut. */
  cut: number;
  /** Answered UNAVAILABLE or OVERLOADED, with Retry-After. */
  unavailable: number;
  /** No answer within 12 seconds. */
  hung: number;
  /** The slowest UNAVAILABLE, in milliseconds. */
  slowest: number;
  /** What cut the connections, each cause once. */
  readonly causes: Set<string>;
  /** Answers that no client should get, each once. */
  readonly unexpected: Set<string>;
}

export const newToll = (): Toll => ({
  sent: 0,
  answered: 0,
  cut: 0,
  unavailable: 0,
  hung: 0,
  slowest: 0,
  causes: new Set(),
  unexpected: new Set(),
});

/** Sends one request and counts its result in `toll`. Returns the answer if it is a success, else null. */
export async function attempt(
  toll: Toll,
  url: string,
  key: string,
  query: string,
  variables?: Record<string, unknown>,
): Promise<Answer | null> {
  const start = performance.now();
  toll.sent += 1;
  let answer: Answer;
  try {
    answer = await post(url, key, query, variables, { signal: AbortSignal.timeout(PATIENCE) });
  } catch (error) {
    if ((error as Error).name === 'TimeoutError') toll.hung += 1;
    else {
      toll.cut += 1;
      const { code, message } = ((error as Error).cause ?? error) as NodeJS.ErrnoException;
      toll.causes.add(code ?? message);
    }
    return null;
  }
  if (answer.status === 200 && !answer.errors) {
    toll.answered += 1;
    return answer;
  }
  const codes = new Set(answer.errors?.map(({ extensions }) => extensions['code']));
  const later = [...codes].every((code) => code === 'UNAVAILABLE' || code === 'OVERLOADED') && codes.size > 0;
  if (later && answer.headers.get('retry-after')) {
    toll.unavailable += 1;
    toll.slowest = Math.max(toll.slowest, Math.round(performance.now() - start));
  } else
    toll.unexpected.add(`${answer.status} ${answer.text.slice(0, 300).replaceAll(/[\da-f]{8}-[\da-f-]{27}/g, '…')}`);
  return null;
}

const ORDINARY = ['log', 'error', 'page view', 'usage'];

interface SentEvent {
  readonly id: string;
  readonly type: string;
  readonly referenceId: string;
  readonly user: { identity: string };
  readonly sessionKey?: string;
}

export interface Load {
  readonly toll: Toll;
  /** `stored`: ids that must be stored once. `perhaps`: ids that may be stored, at most once. Then: wrong answers. */
  readonly stored: Set<string>;
  readonly perhaps: Set<string>;
  readonly contradictions: string[];
  /** How many requests were sent again with old ids. */
  readonly repeats: { count: number };
  /** Begins no new work; resolves when all begun requests are acknowledged. */
  stop(): Promise<void>;
}

/**
 * Starts clients that send events, heartbeats and queries to the server that `url` names at the time. They send again,
 * with the same ids, until they get an acknowledgement. Sometimes they repeat requests that were acknowledged long ago.
 */
export function startLoad(options: { url: () => string; key: string; dice: Dice; clients: number }): Load {
  const { url, key, dice, clients } = options;
  const toll = newToll();
  const stored = new Set<string>();
  const perhaps = new Set<string>();
  const contradictions: string[] = [];
  const repeats = { count: 0 };
  const done: SentEvent[][] = [];
  let stopping = false;

  /** Tries until there is an answer, with a short pause between, as a client does. */
  async function insist(query: string, variables: Record<string, unknown>): Promise<Answer> {
    for (;;) {
      const answer = await attempt(toll, url(), key, query, variables);
      if (answer) return answer;
      await pause(20 + dice.below(60));
    }
  }

  function batch(client: number): SentEvent[] {
    return Array.from({ length: 1 + dice.below(20) }, () => {
      const id = randomUUID();
      const own = dice.below(10);
      // All clients send events of some shared users, so that they compete for the locks of these users.
      const identity = own < 2 ? `shared ${own}` : `user ${client} ${own}`;
      const roll = dice.below(20);
      const type = roll === 0 ? 'session' : roll === 1 ? 'sessionend' : dice.pick(ORDINARY);
      const named = dice.below(6) === 0 && ORDINARY.includes(type);
      return {
        id,
        type,
        referenceId: id,
        user: { identity },
        ...(named ? { sessionKey: `device-${client}-${own}` } : {}),
      };
    });
  }

  async function sender(client: number): Promise<void> {
    while (!stopping) {
      if (done.length > 0 && dice.below(5) === 0) {
        const events = dice.pick(done);
        repeats.count += 1;
        const { data } = await insist(INGEST, { events });
        for (const [at, { status }] of data.ingestEvents.results.entries())
          if (status !== 'DUPLICATE') contradictions.push(`${events[at]!.type} ${events[at]!.id} again: ${status}`);
        continue;
      }
      const events = batch(client);
      const { data } = await insist(INGEST, { events });
      for (const [at, { status, code }] of data.ingestEvents.results.entries()) {
        const { id, type } = events[at]!;
        if (ORDINARY.includes(type) || status === 'ACCEPTED') stored.add(id);
        else if (status === 'DUPLICATE') perhaps.add(id);
        if (status === 'REJECTED' || (ORDINARY.includes(type) && status === 'DISCARDED'))
          contradictions.push(`${type} ${id}: ${status} ${code}`);
      }
      done.push(events);
    }
  }

  async function beater(client: number): Promise<void> {
    while (!stopping) {
      await insist(BEAT, { input: { identity: `user ${client} ${dice.below(10)}` } });
      await pause(dice.below(20));
    }
  }

  async function reader(): Promise<void> {
    while (!stopping) {
      await attempt(toll, url(), key, READ);
      await pause(dice.below(40));
    }
  }

  const working = [
    ...Array.from({ length: clients }, (_, client) => sender(client)),
    ...[0, 1].map((client) => beater(client)),
    reader(),
  ];
  return {
    toll,
    stored,
    perhaps,
    contradictions,
    repeats,
    async stop() {
      stopping = true;
      await Promise.all(working);
    },
  };
}

/** Acknowledged events that are missing, events stored more than once, and stored events that were never acknowledged. */
export async function compareWithStored(
  database: Queryable,
  projectId: string,
  { stored, perhaps }: Pick<Load, 'stored' | 'perhaps'>,
): Promise<{ events: number; lost: string[]; twice: string[]; unknown: string[] }> {
  const rows = await database.query<{ id: string; count: number }>({
    name: 'test.stored',
    text: 'SELECT reference_id AS id, count(*)::integer AS count FROM events WHERE project_id = $1 GROUP BY 1',
    values: [projectId],
  });
  const counts = new Map(rows.map(({ id, count }) => [id, count]));
  return {
    events: rows.reduce((sum, { count }) => sum + count, 0),
    lost: [...stored].filter((id) => !counts.has(id)),
    twice: rows.filter(({ count }) => count > 1).map(({ id }) => id),
    unknown: [...counts.keys()].filter((id) => !stored.has(id) && !perhaps.has(id)),
  };
}
