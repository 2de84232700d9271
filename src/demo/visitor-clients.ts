import { createTracker, type FootstepsError, type Tracker } from '../client/client.js';
import type { Api } from './api.js';

/** A device of which nothing was heard for this long has left without a goodbye. Milliseconds. */
const GONE = 40_000;

/**
 * An Api in which each device has a client of its own, as the shop's page would have. The clients run in Node and know no
 * device, so each event names it. `onError` hears what fails.
 */
export function createVisitorClients(
  { url, key }: { url: string; key: string },
  onError: (error: FootstepsError) => void,
): Api {
  const clients = new Map<string, { readonly tracker: Tracker; heardAt: number }>();

  function clientOf(deviceId: string): Tracker {
    const tracker = clients.get(deviceId)?.tracker ?? createTracker({ url, key, onError });
    clients.set(deviceId, { tracker, heardAt: Date.now() });
    return tracker;
  }

  return {
    async send(events) {
      for (const [deviceId, { tracker, heardAt }] of clients) {
        if (Date.now() - heardAt < GONE) continue;
        clients.delete(deviceId);
        await tracker.close();
      }
      await Promise.all(
        events.map(async ({ type, user, ...fields }) => {
          const tracker = clientOf(fields.deviceId);
          if (user) tracker.identify(user.identity, { name: user.name });
          tracker.track(type, fields);
          if (type !== 'sessionend') {
            await tracker.flush();
            return;
          }
          clients.delete(fields.deviceId);
          await tracker.close();
        }),
      );
    },
  };
}
