import type { Bus, BusListener } from '../services/bus.js';

/** The bus of one server alone: what is published reaches the listeners of this process, in order, a turn later. */
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
      // Not within the call of the publisher: a listener's work is none of the publisher's.
      const targets = [...listeners];
      setImmediate(() => {
        for (const listener of targets) if (channels.get(channel)?.has(listener)) listener.onMessage(message);
      });
    },
    async subscribe(channel, listener) {
      if (closed) throw new Error('The bus is closed.');
      // Two subscriptions may bring the same listener: each counts.
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
