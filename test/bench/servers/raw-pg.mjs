// The comparator of row 1: only inserts into the product's own event table, 1,000 rows in a statement, 2 connections.
// The user's id is used as the session's id, so that the rows are written into the same indexes.
import pg from 'pg';
import { eventIds } from '../../../dist/domain/event-id.js';
import { userIdOf } from '../../../dist/domain/identity.js';
import { eventAt } from '../events.mjs';

const TEXT = `INSERT INTO events (project_id, id, type, source, message, occurred_at, received_at, user_id, session_id, data)
  SELECT $1, * FROM unnest($2::uuid[], $3::text[], $4::text[], $5::text[], $6::timestamptz[], $7::timestamptz[], $8::uuid[], $8::uuid[], $9::jsonb[])`;
const BATCH = 1_000;

process.on('message', async ({ databaseUrl, projectId, users, seconds }) => {
  // The rows are made before, except for their ids and times.
  const batches = Array.from({ length: 20 }, (_, batch) => {
    const events = Array.from({ length: BATCH }, (_, at) => eventAt(batch * BATCH + at, users));
    return [
      events.map(({ type }) => type),
      events.map(({ source }) => source),
      events.map(({ message }) => message),
      events.map(({ user }) => userIdOf(projectId, user.identity)),
      events.map(({ data }) => JSON.stringify(data)),
    ];
  });
  let inserted = 0;
  const start = performance.now();
  const deadline = start + seconds * 1_000;
  await Promise.all(
    [0, 1].map(async (first) => {
      const client = new pg.Client({ connectionString: databaseUrl });
      await client.connect();
      for (let at = first; performance.now() < deadline; at += 1) {
        const [types, sources, messages, userIds, data] = batches[at % batches.length];
        const now = new Date();
        const newId = eventIds();
        const ids = types.map(() => newId(now.getTime()));
        const times = types.map(() => now.toISOString());
        const values = [projectId, ids, types, sources, messages, times, times, userIds, data];
        await client.query({ name: 'insert', text: TEXT, values });
        inserted += BATCH;
      }
      await client.end();
    }),
  );
  process.send({ inserted, seconds: (performance.now() - start) / 1_000 });
});
process.send('ready');
