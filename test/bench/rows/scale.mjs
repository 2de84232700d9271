// Rows 7 and 8: with many events stored already, and while the closer has much to do.
import { ingestBodies } from '../events.mjs';
import { load, sql, startFootsteps } from '../processes.mjs';
import { seedHistory, seedOpen, silence } from '../seed.mjs';

const USERS = 20_000;
const LIST = JSON.stringify({ query: '{ sessions(first: 50) { nodes { id startedAt duration eventCount user { identity } } } }' });

const ingestLoad = ({ url }, key, seconds) => ({
  url,
  key,
  bodies: ingestBodies({ requests: 400, size: 100, users: USERS }),
  connections: 16,
  expect: '"accepted":100',
  ...(seconds && { seconds }),
});

/** Row 7. Compares 500,000 sessions with 20 events each with 5,000 of them. It takes minutes, so it runs only with --scale. */
export async function stored({ postgres, rounds, seconds }) {
  async function start(sessions) {
    const databaseUrl = await postgres.createDatabase();
    const footsteps = await startFootsteps(databaseUrl);
    const { key, id } = await footsteps.createProject();
    await seedHistory(databaseUrl, id, { sessions, eventsEach: 20 });
    await load(ingestLoad(footsteps, key));
    return {
      footsteps,
      ingest: async () => (await load(ingestLoad(footsteps, key, seconds))).perSecond * 100,
      list: async () =>
        (await load({ url: footsteps.url, key, bodies: [LIST], connections: 4, seconds, expect: '"user-' })).p95,
    };
  }
  const small = await start(5_000);
  const large = await start(500_000);
  const ingest = { ours: [], theirs: [] };
  const list = { ours: [], theirs: [] };
  for (let round = 0; round < rounds; round += 1) {
    ingest.ours.push(await large.ingest());
    ingest.theirs.push(await small.ingest());
    list.ours.push(await large.list());
    list.theirs.push(await small.list());
  }
  await Promise.all([small.footsteps.stop(), large.footsteps.stop()]);
  const beside = 'with 100,000';
  return [
    { row: '7', work: 'ingest with 10,000,000 events stored', unit: 'events/s', beside, ...ingest, reach: 0.85 },
    { row: '7', work: 'session list p95 with 10,000,000', unit: 'ms', beside, ...list, smaller: true, reach: 1.3 },
  ];
}

/** Resolves when no session is due any more, with the time of that moment. */
async function untilClosed(databaseUrl) {
  for (;;) {
    const [{ due }] = await sql(databaseUrl, 'SELECT EXISTS (SELECT 1 FROM sessions WHERE live AND due_at <= now()) AS due');
    if (!due) return performance.now();
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

/** Row 8. Of 1,000,000 open sessions, 100,000 at a time are made inactive. */
export async function closing({ postgres, rounds, seconds }) {
  const INACTIVE = 100_000;
  const databaseUrl = await postgres.createDatabase();
  // A first server makes the tables and the project. The sessions are written while no server runs.
  const first = await startFootsteps(databaseUrl);
  const { key, id } = await first.createProject();
  await first.stop();
  await seedOpen(databaseUrl, id, { sessions: 1_000_000 });
  const footsteps = await startFootsteps(databaseUrl);
  await load(ingestLoad(footsteps, key));
  const speeds = [];
  const during = { ours: [], theirs: [] };
  for (let round = 0; round < rounds; round += 1) {
    await silence(databaseUrl, id, 2 * round * INACTIVE, INACTIVE);
    const start = performance.now();
    speeds.push((INACTIVE * 1_000) / ((await untilClosed(databaseUrl)) - start));
    during.theirs.push((await load(ingestLoad(footsteps, key, seconds))).perSecond * 100);
    await silence(databaseUrl, id, (2 * round + 1) * INACTIVE, INACTIVE);
    during.ours.push((await load(ingestLoad(footsteps, key, seconds))).perSecond * 100);
    await untilClosed(databaseUrl);
  }
  const [{ count }] = await sql(databaseUrl, "SELECT count(*)::integer AS count FROM sessions WHERE end_reason = 'INACTIVITY'");
  if (count !== 2 * rounds * INACTIVE) throw new Error(`${count} sessions were closed, not ${2 * rounds * INACTIVE}.`);
  await footsteps.stop();
  return [
    { row: '8', work: '100,000 inactive sessions of 1,000,000 closed', unit: 'sessions/s', beside: '', ours: speeds, reach: 10_000 },
    { row: '8', work: 'ingest meanwhile', unit: 'events/s', beside: 'its own alone', ...during, reach: 0.6 },
  ];
}
