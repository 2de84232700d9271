import { randomUUID } from 'node:crypto';
import path from 'node:path';
import { expect, test } from 'vitest';
import { post } from '../support/app.js';
import { startServer, temporaryFolder } from '../support/server.js';

const INGEST = 'mutation ($events: [EventInput!]!) { ingestEvents(events: $events) { results { status eventId } } }';

/** Three crashes under load: what was answered ACCEPTED is there, once; a retry of the rest changes nothing. */
test('kill -9 under load, three times: every acknowledged event is stored, none twice', async () => {
  const { folder, remove } = temporaryFolder();
  const env = { DATA_DIR: path.join(folder, 'data') };
  const acknowledged = new Set<string>();
  const sent: { id: string; referenceId: string; user: { identity: string } }[][] = [];
  let server = await startServer(env);
  const key = server.key!;
  try {
    for (let crash = 0; crash < 3; crash += 1) {
      let stop = false;
      const before = acknowledged.size;
      const { url } = server;
      const clients = Array.from({ length: 8 }, async (_, client) => {
        while (!stop) {
          const ids = Array.from({ length: 20 }, () => randomUUID());
          const events = ids.map((id, at) => ({
            id,
            referenceId: id,
            user: { identity: `user ${(client * 20 + at) % 50}` },
          }));
          sent.push(events);
          const answer = await post(url, key, INGEST, { events }).catch(() => null);
          answer?.data?.ingestEvents.results.forEach((result: { status: string }, at: number) => {
            if (result.status === 'ACCEPTED') acknowledged.add(ids[at]!);
          });
        }
      });
      // Under load: some hundred events of this round have been answered, and more are under way.
      while (acknowledged.size < before + 400) await new Promise((resolve) => setTimeout(resolve, 5));
      await server.kill();
      stop = true;
      await Promise.all(clients);
      server = await startServer(env);
    }
    // Clients that heard nothing send again: whatever was stored is DUPLICATE, the rest is taken now.
    for (const events of sent) {
      const { data } = await post(server.url, key, INGEST, { events });
      for (const [at, { status }] of data.ingestEvents.results.entries()) {
        if (acknowledged.has(events[at]!.id)) expect(status).toBe('DUPLICATE');
        else expect(['DUPLICATE', 'ACCEPTED']).toContain(status);
      }
    }
    const { data } = await post(
      server.url,
      key,
      '{ events { totalCount } sessions(first: 100) { nodes { eventCount } } }',
    );
    const all = sent.flat().length;
    console.log(
      `crashes 3, sent ${all}, acknowledged before the crashes ${acknowledged.size}, stored after retries ${data.events.totalCount}`,
    );
    expect(data.events.totalCount).toBe(all);
    const counted = data.sessions.nodes.reduce(
      (sum: number, { eventCount }: { eventCount: number }) => sum + eventCount,
      0,
    );
    expect(counted).toBe(all);
  } finally {
    await server.stop();
    remove();
  }
}, 120_000);
