import type { Bus, BusListener } from '../services/bus.js';

/**
 * The bus of a single server. A message reaches the listeners in this process, in the order of publishing, in a later
 * turn of the event loop.
 */
export function createMemoryBus(): Bus {
  const channels = new Map<string, Set<BusListener>>();
  let closed = false;

  return {
    get connected() {
      return !closed;
    },
    async publish(channel, message) {
      if (closed) throw new Error('The bus is closed.');
      const listeners = channels.get(channel);
      if (!listeners) return;
      // Listeners do not run inside the publisher's call, so their work does not delay the publisher.
      const targets = [...listeners];
      setImmediate(() => {
        for (const listener of targets) if (channels.get(channel)?.has(listener)) listener.onMessage(message);
      });
    },
    async subscribe(channel, listener) {
      if (closed) throw new Error('The bus is closed.');
      // Two subscriptions may pass the same listener object; each counts separately.
      const own: BusListener = { ...listener };
      const listeners = channels.get(channel) ?? new Set();
      listeners.add(own);
      channels.set(channel, listeners);
      return {
        async close() {
          listeners.delete(own);
          if (listeners.size === 0 && channels.get(channel) === listeners) channels.delete(channel);
        },
      };
    },
    async close() {
      closed = true;
      channels.clear();
    },
  };
}
