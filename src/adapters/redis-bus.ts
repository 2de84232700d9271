import { Cluster, Redis } from 'ioredis';
import type { Observer } from '../observation.js';
import type { Bus, BusListener } from '../services/bus.js';

/** Milliseconds until the next try to connect. */
const backoff = (attempt: number): number => Math.min(50 * 2 ** Math.min(attempt, 6), 2_000);

/** How often a connection is asked whether it is there, and how long it may take to say so. Milliseconds. */
const PING_INTERVAL = 1_000;
const PING_PATIENCE = 2_000;

/**
 * Gives a connection up that says nothing: a network that swallows everything ends none, and nobody would learn
 * that messages are missed. Answers how to stop.
 */
function watchSilence(connection: Redis): () => void {
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
  // Connected means that something took the connection; ready, that Redis has answered.
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

/** Says in one sentence why the bus cannot be had. */
export class BusError extends Error {
  override readonly name = 'BusError';
}

const OPTIONS = {
  // A message that cannot be sent now is not worth sending later: rows are the state.
  enableOfflineQueue: false,
  autoResubscribe: false,
  maxRetriesPerRequest: 0,
  connectTimeout: 5_000,
  keepAlive: 10_000,
  // A connection that is given up says no goodbye that anybody would hear.
  disconnectTimeout: 100,
  lazyConnect: true,
} as const;

const nodesOf = (url: string): string[] => url.split(',').map((part) => part.trim());

/** For keys, which on a Cluster lie on a node each. Not yet connected; errors are the caller's to hear. */
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
 * A connection to one of the nodes, and, when that one is lost, to the next: on a Cluster a message that is published
 * on any node reaches the subscribers of all.
 */
function connectionTo(urls: readonly string[]): { redis: Redis; next: () => void } {
  // Servers spread over the nodes.
  let at = Math.floor(Math.random() * urls.length);
  const redis: Redis = new Redis(urls[at]!, {
    ...OPTIONS,
    retryStrategy(attempt) {
      next();
      return backoff(attempt);
    },
  });
  function next(): void {
    at = (at + 1) % urls.length;
    const { hostname, port } = new URL(urls[at]!);
    Object.assign(redis.options, { host: hostname.replace(/^\[|\]$/g, ''), port: Number(port || 6379) });
  }
  return { redis, next };
}

/** Connects to the first node that takes it. */
async function connectFirst(urls: readonly string[], { redis, next }: ReturnType<typeof connectionTo>): Promise<void> {
  for (let tried = 1; ; tried += 1) {
    try {
      await redis.connect();
      return;
    } catch (error) {
      if (tried >= urls.length) throw error;
      redis.disconnect();
      next();
    }
  }
}

/** Servers tell each other here of channels on which one of them could not publish what it had. */
const LOSSES = 'footsteps:losses';
/** Channels of which such a loss is remembered; beyond, all are taken to be concerned. */
const MOST_UNSAID = 10_000;

interface Channel {
  listeners: Set<BusListener>;
  /** Resolves when Redis has confirmed the subscription that stands now. */
  confirmed: Promise<unknown>;
}

/**
 * The bus of many servers, over Redis pub/sub: one connection to publish, one to subscribe; the local
 * subscriptions of a channel share one of Redis'. When the connection is lost it tells every listener; once it is back it
 * subscribes anew and then tells them of that. What it could not publish it says as a loss to every server, as soon as it can
 * publish again. A comma-separated list of URLs names nodes of a Cluster, with the same credentials. Throws BusError where
 * Redis cannot be reached at the start.
 */
export async function createRedisBus({ url, observe }: { url: string; observe: Observer }): Promise<Bus> {
  const urls = nodesOf(url);
  const connections = [connectionTo(urls), connectionTo(urls)] as const;
  const [{ redis: publisher }, { redis: subscriber }] = connections;
  const channels = new Map<string, Channel>();
  /** Channels on which something could not be published, which no server has been told yet; null: any. */
  let unsaid: Set<string> | null = new Set();
  let closed = false;
  let subscribed = false;
  let lost = false;
  let lastError: string | null = null;

  for (const connection of [publisher, subscriber]) {
    connection.on('error', (error: Error) => {
      lastError = error.message;
      if (!closed) observe({ kind: 'bus.lost', message: error.message });
    });
  }
  const tellOfLoss = (names: Iterable<string>): void => {
    for (const name of names) for (const listener of channels.get(name)?.listeners ?? []) listener.onLoss();
  };
  subscriber.on('close', () => {
    subscribed = false;
    // Once for each connection, not for each try to have another.
    if (lost) return;
    lost = true;
    tellOfLoss(channels.keys());
  });
  subscriber.on('message', (channel: string, message: string) => {
    if (channel === LOSSES) tellOfLoss((JSON.parse(message) as string[] | null) ?? channels.keys());
    for (const listener of channels.get(channel)?.listeners ?? []) listener.onMessage(message);
  });

  /** Subscribes to everything again, then says what may have been missed. */
  async function restore(): Promise<void> {
    const names = [...channels.keys()];
    const confirmed = subscriber.subscribe(LOSSES, ...names);
    for (const name of names) {
      const channel = channels.get(name);
      if (channel) channel.confirmed = confirmed;
    }
    await confirmed;
    subscribed = true;
    observe({ kind: 'bus.connected' });
    for (const name of names) for (const listener of channels.get(name)?.listeners ?? []) listener.onGap();
  }

  /** Tells every server where something could not be published. What cannot be told now is kept for the next time. */
  async function sayLosses(): Promise<void> {
    if (unsaid?.size === 0) return;
    const names: readonly string[] | null = unsaid && [...unsaid];
    unsaid = new Set();
    try {
      await publisher.publish(LOSSES, JSON.stringify(names));
    } catch {
      // Together with what was lost meanwhile.
      const all: readonly string[] | null = names && unsaid && [...names, ...unsaid];
      unsaid = all && all.length < MOST_UNSAID ? new Set(all) : null;
    }
  }

  const watches = [watchSilence(publisher), watchSilence(subscriber)];
  const disconnect = (): void => {
    for (const stop of watches) stop();
    publisher.disconnect();
    subscriber.disconnect();
  };

  await Promise.all(connections.map((connection) => connectFirst(urls, connection))).catch((error: unknown) => {
    closed = true;
    disconnect();
    throw new BusError(`The Redis of REDIS_URL cannot be reached: ${lastError ?? String(error)}`);
  });
  await subscriber.subscribe(LOSSES).catch((error: unknown) => {
    closed = true;
    disconnect();
    throw new BusError(`The Redis of REDIS_URL takes no subscription: ${String(error)}`);
  });
  subscribed = true;
  lost = false;
  observe({ kind: 'bus.connected' });
  // From here on, "ready" means: back again.
  subscriber.on('ready', () => {
    lost = false;
    // Where this fails the connection is lost again, and the next "ready" repeats it.
    restore().catch((error: unknown) => observe({ kind: 'bus.lost', message: String(error) }));
  });
  publisher.on('ready', () => void sayLosses());

  return {
    get connected() {
      return !closed && subscribed && subscriber.status === 'ready' && publisher.status === 'ready';
    },
    async publish(channel, message) {
      try {
        await publisher.publish(channel, message);
      } catch (error) {
        if (unsaid && unsaid.add(channel).size >= MOST_UNSAID) unsaid = null;
        throw error;
      }
      await sayLosses();
    },
    async subscribe(name, listener) {
      let channel = channels.get(name);
      if (!channel) {
        channel = { listeners: new Set(), confirmed: subscriber.subscribe(name) };
        channels.set(name, channel);
      }
      // Each subscription counts, though two may bring the same listener.
      const own: BusListener = { ...listener };
      channel.listeners.add(own);
      const held = channel;
      const leave = async (): Promise<void> => {
        if (!held.listeners.delete(own) || held.listeners.size > 0 || channels.get(name) !== held) return;
        channels.delete(name);
        // A lost connection has forgotten the subscription by itself.
        if (subscriber.status === 'ready') await subscriber.unsubscribe(name).catch(() => {});
      };
      try {
        await held.confirmed;
      } catch (error) {
        await leave();
        throw error;
      }
      return { close: leave };
    },
    async close() {
      closed = true;
      channels.clear();
      disconnect();
    },
  };
}
