import { describe, expect, test } from 'vitest';
import type { Bus, BusListener } from '../../src/services/bus.js';
import { eventually } from '../support/app.js';

interface Ear extends BusListener {
  readonly heard: string[];
  losses: number;
  gaps: number;
}

export function createEar(): Ear {
  const ear: Ear = {
    heard: [],
    losses: 0,
    gaps: 0,
    onMessage: (message) => void ear.heard.push(message),
    onLoss: () => void (ear.losses += 1),
    onGap: () => void (ear.gaps += 1),
  };
  return ear;
}

/**
 * What every bus promises. `open` gives two ends of the same bus, as two servers have them; for a bus of one
 * server both are the same.
 */
export function busContract(
  name: string,
  open: () => Promise<{ here: Bus; there: Bus; close: () => Promise<void> }>,
): void {
  describe(`${name} keeps the contract of a bus`, () => {
    test('whatever is published after a subscription is confirmed arrives, in order, at every subscriber', async () => {
      const { here, there, close } = await open();
      const ears = [createEar(), createEar(), createEar()];
      await Promise.all([here.subscribe('a', ears[0]!), here.subscribe('a', ears[1]!), there.subscribe('a', ears[2]!)]);
      const messages = Array.from({ length: 500 }, (_, at) => `message ${at}`);
      await Promise.all(messages.map((message) => here.publish('a', message)));
      for (const ear of ears) {
        await eventually(() => ear.heard.length >= messages.length);
        expect(ear.heard).toEqual(messages);
      }
      await close();
    });

    test('channels stay apart', async () => {
      const { here, there, close } = await open();
      const a = createEar();
      const b = createEar();
      await here.subscribe('a', a);
      await there.subscribe('b', b);
      await there.publish('a', 'for a');
      await here.publish('b', 'for b');
      await eventually(() => a.heard.length + b.heard.length >= 2);
      expect([a.heard, b.heard]).toEqual([['for a'], ['for b']]);
      await close();
    });

    test('after closing a subscription nothing is heard, and the others hear on', async () => {
      const { here, there, close } = await open();
      const gone = createEar();
      const stays = createEar();
      const subscription = await here.subscribe('a', gone);
      await here.subscribe('a', stays);
      await subscription.close();
      await subscription.close();
      await there.publish('a', 'one');
      await eventually(() => stays.heard.length === 1);
      expect(gone.heard).toEqual([]);
      await close();
    });

    test('a channel can be left and entered again at once', async () => {
      const { here, there, close } = await open();
      for (let round = 0; round < 20; round += 1) {
        const ear = createEar();
        const subscription = await here.subscribe('again', ear);
        await there.publish('again', `round ${round}`);
        await eventually(() => ear.heard.length === 1);
        expect(ear.heard).toEqual([`round ${round}`]);
        await subscription.close();
      }
      await close();
    });

    test('it is connected until it is closed, and then refuses', async () => {
      const { here, close } = await open();
      expect(here.connected).toBe(true);
      await close();
      expect(here.connected).toBe(false);
      await expect(here.publish('a', 'x')).rejects.toThrow();
    });
  });
}
