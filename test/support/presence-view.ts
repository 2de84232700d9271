import type { GraphQLError } from 'graphql';
import { createClient, type SubscribePayload } from 'graphql-ws';
import WebSocket from 'ws';
import { pause } from './chaos-load.js';

const PRESENCE = `subscription ($identities: [String!]) {
  userPresence(identities: $identities) { kind users { identity status since } }
}`;

const SESSIONS = 'subscription { sessionChanged { kind session { id } } }';

interface Update {
  kind: string;
  users: { identity: string; status: string; since: string }[];
}

interface Answer {
  userPresence?: Update;
}

interface SeenStatus {
  readonly identity: string;
  readonly status: 'ONLINE' | 'OFFLINE';
  /** When the server says it changed; milliseconds since the epoch. */
  readonly since: number;
}

/** What a front end shows, which connects again by itself. */
export interface PresenceView {
  /** Who is online, as far as it knows. */
  readonly online: ReadonlySet<string>;
  /** Whether it was asked to show this one. */
  shows(identity: string): boolean;
  /** Every change of a DIFF. */
  readonly edges: readonly SeenStatus[];
  readonly figures: { connections: number; frames: number; snapshots: number; bytes: number };
  /** Ends that a client of graphql-ws does not come back from, and errors that do not say UNAVAILABLE. */
  readonly fatal: readonly unknown[];
  stop(): Promise<void>;
}

export function viewPresence(
  url: () => string,
  key: string,
  identities: readonly string[] | null = null,
): PresenceView {
  const online = new Set<string>();
  const edges: SeenStatus[] = [];
  const fatal: unknown[] = [];
  const figures = { connections: 0, frames: 0, snapshots: 0, bytes: 0 };
  let stopped = false;
  let unanswered: NodeJS.Timeout | undefined;
  const client = createClient({
    url: () => `${url().replace('http', 'ws')}/graphql`,
    webSocketImpl: WebSocket,
    connectionParams: { authorization: `Bearer ${key}` },
    retryAttempts: Infinity,
    shouldRetry: () => true,
    retryWait: () => pause(100),
    keepAlive: 500,
    on: {
      connected: () => void (figures.connections += 1),
      ping(received) {
        // A network that is gone says nothing: silence is an end too.
        if (!received) unanswered = setTimeout(() => client.terminate(), 1_500);
      },
      pong: () => clearTimeout(unanswered),
      closed: () => clearTimeout(unanswered),
    },
  });

  function read({ kind, users }: Update): void {
    figures.frames += 1;
    figures.bytes += JSON.stringify(users).length;
    if (kind === 'SNAPSHOT') {
      figures.snapshots += 1;
      online.clear();
    }
    for (const { identity, status, since } of users) {
      if (status === 'ONLINE') online.add(identity);
      else online.delete(identity);
      if (kind === 'DIFF') edges.push({ identity, status: status as 'ONLINE', since: Date.parse(since) });
    }
  }

  const ends = new Set<() => void>();
  /** Subscribes, and again whenever it ends. */
  async function watch(payload: SubscribePayload, take: (data: Answer) => void): Promise<void> {
    while (!stopped) {
      await new Promise<void>((resolve) => {
        const end = client.subscribe<Answer>(payload, {
          next: ({ data }) => void (data && take(data)),
          error(error) {
            // Errors of the operation alone, which say when to come again; anything else ends the client.
            const errors = Array.isArray(error) ? (error as GraphQLError[]) : [];
            if (errors.length === 0 || errors.some(({ extensions }) => extensions?.['code'] !== 'UNAVAILABLE'))
              fatal.push(error);
            resolve();
          },
          complete: () => resolve(),
        });
        ends.add(end);
      });
      // Told to come again later.
      if (!stopped) await pause(100);
    }
  }
  const watching = Promise.all([
    watch({ query: PRESENCE, variables: { identities } }, ({ userPresence }) => userPresence && read(userPresence)),
    // On the same socket: what befalls one subscription must not harm the other.
    ...(identities ? [] : [watch({ query: SESSIONS }, () => {})]),
  ]);
  return {
    online,
    shows: (identity) => identities === null || identities.includes(identity),
    edges,
    figures,
    fatal,
    async stop() {
      stopped = true;
      for (const end of ends) end();
      // A connection that was just being made has its own end.
      await Promise.resolve(client.dispose()).catch(() => {});
      client.terminate();
      await watching;
      clearTimeout(unanswered);
    },
  };
}

/** A heartbeat that was acknowledged: when it was sent, when it was answered; milliseconds since the epoch. */
export interface Beat {
  readonly sent: number;
  readonly answered: number;
}

/** Servers' clocks agree with Postgres' as well as a round trip can tell. Milliseconds. */
const SKEW = 100;

/** Whom these edges call offline though a heartbeat of theirs had been acknowledged, and counted still. */
export const falseOfflines = (
  edges: readonly SeenStatus[],
  beatsOf: (identity: string) => readonly Beat[],
  /** Seconds. */
  presenceTimeout: number,
): SeenStatus[] =>
  edges.filter(
    ({ identity, status, since }) =>
      status === 'OFFLINE' &&
      beatsOf(identity).some(({ sent, answered }) => answered <= since && since < sent + presenceTimeout * 1000 - SKEW),
  );
