import { createClient } from 'graphql-ws';
import WebSocket from 'ws';
import { pause } from './chaos-load.js';

const PRESENCE = `subscription ($identities: [String!]) {
  userPresence(identities: $identities) { kind users { identity status since } }
}`;

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
  /** Every change of a DIFF. */
  readonly edges: readonly SeenStatus[];
  readonly figures: { connections: number; frames: number; snapshots: number; bytes: number };
  /** Ends that a client of graphql-ws does not come back from. */
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

  function read({ kind, users }: { kind: string; users: { identity: string; status: string; since: string }[] }): void {
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

  let end = (): void => {};
  async function watch(): Promise<void> {
    while (!stopped) {
      await new Promise<void>((resolve) => {
        end = client.subscribe<{ userPresence: Parameters<typeof read>[0] }>(
          { query: PRESENCE, variables: { identities } },
          {
            next: ({ data }) => void (data && read(data.userPresence)),
            error(error) {
              fatal.push(error);
              resolve();
            },
            complete: () => resolve(),
          },
        );
      });
      // Told to come again later.
      if (!stopped) await pause(100);
    }
  }
  const watching = watch();
  return {
    online,
    edges,
    figures,
    fatal,
    async stop() {
      stopped = true;
      end();
      await client.dispose();
      client.terminate();
      await watching;
      clearTimeout(unanswered);
    },
  };
}
