import type { Bus } from '../bus.js';
import { projectOfChanges } from '../messages.js';

/** The bus of a server, and what the server itself announces on it. */
export interface OwnNews {
  readonly bus: Bus;
  /**
   * Calls the listener with each project whose feed this server has added to, after the commit, whether or not the bus takes
   * the message. The server that stored a change wakes the webhooks that wait for it: one server, and without a message.
   */
  listen(listener: (projectId: string) => void): void;
}

export function createOwnNews(bus: Bus): OwnNews {
  let tell: (projectId: string) => void = () => {};
  return {
    bus: {
      publish(channel, message) {
        const projectId = projectOfChanges(channel);
        if (projectId !== null) tell(projectId);
        return bus.publish(channel, message);
      },
      subscribe: (channel, listener) => bus.subscribe(channel, listener),
      get connected() {
        return bus.connected;
      },
      close: () => bus.close(),
    },
    listen(listener) {
      tell = listener;
    },
  };
}
