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
  /** When the status changed, as the server says; milliseconds since the epoch. */
  readonly since: number;
}

/** A front end that shows presence and connects again by itself. */
export interface PresenceView {
  /** The users whom it shows as online. */
  readonly online: ReadonlySet<string>;
  /** Whether it watches this user. */
  shows(identity: string): boolean;
  /** Every change that came in a DIFF. */
  readonly edges: readonly SeenStatus[];
  readonly figures: { connections: number; frames: number; snapshots: number; bytes: number };
  /** Ends after which a graphql-ws client does not connect again, and errors with a code other than UNAVAILABLE. */
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
        // A network that is gone reports nothing, so a missing pong ends the connection too.
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
  /** Subscribes, and subscribes again each time the subscription ends. */
  async function watch(payload: SubscribePayload, take: (data: Answer) => void): Promise<void> {
    while (!stopped) {
      await new Promise<void>((resolve) => {
        const end = client.subscribe<Answer>(payload, {
          next: ({ data }) => void (data && take(data)),
          error(error) {
            // An error of the operation says when to try again. Any other error ends the client.
            const errors = Array.isArray(error) ? (error as GraphQLError[]) : [];
            if (errors.length === 0 || errors.some(({ extensions }) => extensions?.['code'] !== 'UNAVAILABLE'))
              fatal.push(error);
            resolve();
          },
          complete: () => resolve(),
        });
        ends.add(end);
      });
      // The server asked to try again later.
      if (!stopped) await pause(100);
    }
  }
  const watching = Promise.all([
    watch({ query: PRESENCE, variables: { identities } }, ({ userPresence }) => userPresence && read(userPresence)),
    // A second subscription on the same socket: the end of one must not harm the other.
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
      // A connection that is still being opened fails separately.
      await Promise.resolve(client.dispose()).catch(() => {});
      client.terminate();
      await watching;
      clearTimeout(unanswered);
    },
  };
}

/** An acknowledged heartbeat: when it was sent and answered; milliseconds since the epoch. */
export interface Beat {
  readonly sent: number;
  readonly answered: number;
}

/** The clocks of servers agree with Postgres' clock up to the time of a round trip. Milliseconds. */
const SKEW = 100;

/** The OFFLINE edges of users who had an acknowledged heartbeat that still counted. */
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
