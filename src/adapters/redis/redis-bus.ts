import { z } from 'zod';
import type { Observer } from '../../observation.js';
import type { Bus, BusListener } from '../../services/bus.js';
import { connectFirst, connectionTo, nodesOf, prefixOf, watchSilence } from './connections.js';

/** The message says why the bus cannot be used. */
export class BusError extends Error {
  override readonly name = 'BusError';
}

/** On this channel, servers tell each other on which channels one of them could not publish a message. */
const LOSSES = 'losses';
/** At most this many such channels are remembered. If there are more, all channels count as affected. */
const MOST_UNSAID = 10_000;

const losses = z.array(z.string()).max(MOST_UNSAID).nullable();

/** The affected channels; null: all channels. Undefined if the text is not such a message. */
function readLosses(text: string): readonly string[] | null | undefined {
  try {
    return losses.safeParse(JSON.parse(text)).data;
  } catch {
    return undefined;
  }
}

interface Channel {
  listeners: Set<BusListener>;
  /** Resolves when Redis has confirmed the current subscription. */
  confirmed: Promise<unknown>;
}

/**
 * The bus of many servers, over Redis pub/sub. It has one connection to publish and one to subscribe. All local
 * subscriptions of a channel share one subscription in Redis. When the subscriber's connection is lost, the bus calls
 * `onLoss` of every listener. When the connection is back, the bus subscribes again and then calls `onGap`. If a
 * message could not be published, the bus tells every server the affected channels as soon as it can publish again.
 *
 * A comma-separated list of URLs names nodes of a Cluster that have the same credentials. In Redis, a channel's name
 * begins with the installation's prefix. Throws BusError if Redis cannot be reached at the start.
 */
export async function createRedisBus(deps: { url: string; installation: string; observe: Observer }): Promise<Bus> {
  const { url, installation, observe } = deps;
  const prefix = prefixOf(installation);
  const inRedis = (channel: string): string => prefix + channel;
  const urls = nodesOf(url);
  const connections = [connectionTo(urls), connectionTo(urls)] as const;
  const [publisher, subscriber] = connections;
  const channels = new Map<string, Channel>();
  /**
   * Channels on which a message could not be published, and the other servers do not know it yet. Null: all channels.
   */
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
    // Once for each lost connection, not for each try to reconnect.
    if (lost) return;
    lost = true;
    tellOfLoss(channels.keys());
  });
  subscriber.on('message', (name: string, message: string) => {
    const channel = name.slice(prefix.length);
    if (channel === LOSSES) {
      const names = readLosses(message);
      if (names === undefined) observe({ kind: 'bus.junk', channel, characters: message.length });
      else tellOfLoss(names ?? channels.keys());
    }
    for (const listener of channels.get(channel)?.listeners ?? []) listener.onMessage(message);
  });

  /** Subscribes to all channels again, then tells the listeners that they may have missed messages. */
  async function restore(): Promise<void> {
    const names = [...channels.keys()];
    const confirmed = subscriber.subscribe(...[LOSSES, ...names].map(inRedis));
    for (const name of names) {
      const channel = channels.get(name);
      if (channel) channel.confirmed = confirmed;
    }
    await confirmed;
    subscribed = true;
    observe({ kind: 'bus.connected' });
    for (const name of names) for (const listener of channels.get(name)?.listeners ?? []) listener.onGap();
  }

  /**
   * Tells every server on which channels a message could not be published. If that fails, they are kept for the next
   * try.
   */
  async function sayLosses(): Promise<void> {
    if (unsaid?.size === 0) return;
    const names: readonly string[] | null = unsaid && [...unsaid];
    unsaid = new Set();
    try {
      await publisher.publish(inRedis(LOSSES), JSON.stringify(names));
    } catch {
      // Includes the channels that were added in the meantime.
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

  await Promise.all(connections.map((connection) => connectFirst(connection, urls.length))).catch((error: unknown) => {
    closed = true;
    disconnect();
    throw new BusError(`The Redis of REDIS_URL cannot be reached: ${lastError ?? String(error)}`);
  });
  await subscriber.subscribe(inRedis(LOSSES)).catch((error: unknown) => {
    closed = true;
    disconnect();
    throw new BusError(`The Redis of REDIS_URL does not accept a subscription: ${String(error)}`);
  });
  subscribed = true;
  lost = false;
  observe({ kind: 'bus.connected' });
  // The first connection is open. From here on, "ready" means that a lost connection is back.
  subscriber.on('ready', () => {
    lost = false;
    // If this fails, the connection is lost again, and the next "ready" event tries again.
    restore().catch((error: unknown) => observe({ kind: 'bus.lost', message: String(error) }));
  });
  publisher.on('ready', () => void sayLosses());

  return {
    get connected() {
      return !closed && subscribed && subscriber.status === 'ready' && publisher.status === 'ready';
    },
    async publish(channel, message) {
      try {
        await publisher.publish(inRedis(channel), message);
      } catch (error) {
        if (unsaid && unsaid.add(channel).size >= MOST_UNSAID) unsaid = null;
        throw error;
      }
      await sayLosses();
    },
    async subscribe(name, listener) {
      let channel = channels.get(name);
      if (!channel) {
        channel = { listeners: new Set(), confirmed: subscriber.subscribe(inRedis(name)) };
        channels.set(name, channel);
      }
      // Two subscriptions may pass the same listener object; each counts separately.
      const own: BusListener = { ...listener };
      channel.listeners.add(own);
      const held = channel;
      const leave = async (): Promise<void> => {
        if (!held.listeners.delete(own) || held.listeners.size > 0 || channels.get(name) !== held) return;
        channels.delete(name);
        // If the connection is lost, its subscriptions are gone already.
        if (subscriber.status === 'ready') await subscriber.unsubscribe(inRedis(name)).catch(() => {});
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
