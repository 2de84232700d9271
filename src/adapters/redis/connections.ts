import { connect as connectTcp, type Socket } from 'node:net';
import { connect as connectTls } from 'node:tls';
import { AbstractConnector, Cluster, Redis, type RedisOptions } from 'ioredis';

/** The wait before the next try to connect, in milliseconds. */
const backoff = (attempt: number): number => Math.min(50 * 2 ** Math.min(attempt, 6), 2_000);

const OPTIONS = {
  // A message that cannot be sent now is not sent later: the rows have the state.
  enableOfflineQueue: false,
  autoResubscribe: false,
  maxRetriesPerRequest: 0,
  connectTimeout: 5_000,
  keepAlive: 10_000,
  // When a connection is given up, it is closed without waiting for a goodbye that nobody would read.
  disconnectTimeout: 100,
  lazyConnect: true,
} as const;

/** The URLs of the nodes in REDIS_URL. */
export const nodesOf = (url: string): string[] => url.split(',').map((part) => part.trim());

/** The prefix of all channels and keys of an installation in Redis. `installation` is its UUID. */
export const prefixOf = (installation: string): string => `footsteps:${installation}:`;

/**
 * A client for keys. On a Cluster, each key is on one node. Returns it not yet connected; the caller must listen to its
 * errors.
 */
export function connectForKeys(url: string): Redis | Cluster {
  const urls = nodesOf(url);
  if (urls.length === 1) return new Redis(urls[0]!, { ...OPTIONS, retryStrategy: backoff });
  return new Cluster(urls, {
    redisOptions: OPTIONS,
    lazyConnect: true,
    enableOfflineQueue: false,
    clusterRetryStrategy: backoff,
  });
}

/**
 * Makes the class that opens the sockets of a connection. The first try goes to a random node, so that servers spread
 * over the nodes; each further try goes to the next node. All nodes use the credentials of the first URL, and TLS if
 * the first URL does.
 */
const connectorTo = (urls: readonly string[]) =>
  class extends AbstractConnector {
    readonly #tls: RedisOptions['tls'];
    #at = Math.floor(Math.random() * urls.length);

    constructor(options: unknown) {
      super(OPTIONS.disconnectTimeout);
      this.#tls = (options as RedisOptions).tls;
    }

    async connect(): Promise<Socket> {
      this.connecting = true;
      await Promise.resolve();
      // The connection was closed in the meantime.
      if (!this.connecting) throw new Error('The connection is closed.');
      this.#at = (this.#at + 1) % urls.length;
      const { hostname, port } = new URL(urls[this.#at]!);
      const node = { host: hostname.replace(/^\[|\]$/g, ''), port: Number(port || 6379) };
      const stream = this.#tls ? connectTls({ ...node, ...this.#tls }) : connectTcp(node);
      // The driver reports this error if the connection closes before it is open.
      stream.once('error', (error) => (this.firstError = error));
      this.stream = stream;
      return stream;
    }
  };

/**
 * A connection to one of the nodes. When it is lost, the next try goes to the next node. On a Cluster, a message that
 * is published on any node reaches the subscribers of all nodes. Returns it not yet connected.
 */
export const connectionTo = (urls: readonly string[]): Redis =>
  new Redis(urls[0]!, {
    ...OPTIONS,
    retryStrategy: backoff,
    ...(urls.length > 1 ? { Connector: connectorTo(urls) } : {}),
  });

/** Connects to a node; tries each of the `nodes` nodes once. Rejects if none accepts the connection. */
export async function connectFirst(redis: Redis, nodes: number): Promise<void> {
  for (let tried = 1; ; tried += 1) {
    try {
      await redis.connect();
      return;
    } catch (error) {
      if (tried >= nodes) throw error;
      redis.disconnect();
    }
  }
}

/** How often a connection is pinged, and how long the answer may take. Milliseconds. */
const PING_INTERVAL = 1_000;
const PING_PATIENCE = 2_000;

/**
 * Closes a connection that does not answer, so that it reconnects. If the network drops all packets, the connection
 * does not end by itself, and nobody would learn that messages are missed. Returns a function that stops the watch.
 */
export function watchSilence(connection: Redis): () => void {
  let silence: NodeJS.Timeout | null = null;
  const disarm = (): void => {
    if (silence) clearTimeout(silence);
    silence = null;
  };
  const arm = (): void => {
    silence ??= setTimeout(() => {
      silence = null;
      connection.disconnect(true);
    }, PING_PATIENCE);
  };
  // "connect" means that something accepted the connection; "ready" means that Redis has answered.
  connection.on('connect', arm).on('ready', disarm).on('close', disarm);
  const timer = setInterval(() => {
    if (connection.status !== 'ready') return;
    arm();
    connection.ping().then(disarm, () => {});
  }, PING_INTERVAL);
  return () => {
    clearInterval(timer);
    disarm();
  };
}
