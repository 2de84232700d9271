import { gzipSync } from 'node:zlib';
import { expect, test } from 'vitest';
import { bundle } from '../support/bundle.js';
import { record } from '../support/ledger.js';

/** What a page loads, in bytes, as its bundler leaves it and a server sends it. */

const sizeOf = async (name: string): Promise<number> =>
  gzipSync(await bundle(`import { ${name} } from 'footsteps/client'; globalThis.start = ${name};`), { level: 9 })
    .length;

test('tracking takes at most 5 kB, the whole client 12 kB, and nothing else is loaded', async () => {
  const [tracker, client] = [await sizeOf('createTracker'), await sizeOf('createClient')];
  record('client, tracking alone: bytes', tracker);
  record('client, with presence and queries: bytes', client);
  expect(tracker).toBeLessThan(5_000);
  expect(client).toBeLessThan(12_000);
  // Presence is left out where nothing uses it.
  expect(tracker).toBeLessThan(client - 2_000);
});
