// Rows 1, 2 and 3: ingest of events and heartbeats.
import { ingestBodies } from '../events.mjs';
import { load, sql, startFootsteps, startProgram } from '../processes.mjs';

const USERS = 20_000;
const HEARTBEAT = 'mutation Beat($input: HeartbeatInput!) { recordHeartbeat(input: $input) { acknowledged } }';

const countEvents = async (databaseUrl) => Number((await sql(databaseUrl, 'SELECT count(*) FROM events'))[0].count);

/** Counts in the database what a load has stored, and compares this with the load's own count. */
async function stored(databaseUrl, work, expected) {
  const before = await countEvents(databaseUrl);
  const result = await work();
  const events = (await countEvents(databaseUrl)) - before;
  if (events !== expected(result)) throw new Error(`${expected(result)} events were acknowledged, ${events} are stored.`);
  return { ...result, events, eventsPerSecond: events / result.seconds };
}

/** Warms up: afterwards every user's session is open and has seen every type of event. */
const warmUp = (footsteps, key, bodies) =>
  load({ url: footsteps.url, key, bodies, connections: 16, expect: '"accepted"' });

export async function batches({ postgres, rounds, seconds }) {
  const databaseUrl = await postgres.createDatabase();
  const footsteps = await startFootsteps(databaseUrl);
  const { key, id } = await footsteps.createProject();
  const rawUrl = await postgres.createDatabase();
  await (await startFootsteps(rawUrl)).stop();
  const raw = await startProgram('servers/raw-pg.mjs');
  const bodies = ingestBodies({ requests: 400, size: 100, users: USERS });
  const common = { url: footsteps.url, key, bodies, connections: 16, expect: '"accepted":100' };
  await warmUp(footsteps, key, bodies);
  await load({ ...common, seconds: 2 });
  await raw.ask({ databaseUrl: rawUrl, projectId: id, users: USERS, seconds: 2 });
  const ours = [];
  const theirs = [];
  for (let round = 0; round < rounds; round += 1) {
    ours.push((await stored(databaseUrl, () => load({ ...common, seconds }), ({ requests }) => requests * 100)).eventsPerSecond);
    const result = await stored(
      rawUrl,
      () => raw.ask({ databaseUrl: rawUrl, projectId: id, users: USERS, seconds }),
      ({ inserted }) => inserted,
    );
    theirs.push(result.eventsPerSecond);
  }
  await raw.stop();
  await footsteps.stop();
  return [{ row: '1', work: 'ingestEvents, 100 events a request', unit: 'events/s', beside: 'raw INSERT … unnest', ours, theirs, reach: 0.45 }];
}

export async function singles({ postgres, rounds, seconds }) {
  const databaseUrl = await postgres.createDatabase();
  const footsteps = await startFootsteps(databaseUrl);
  const { key, id } = await footsteps.createProject();
  const bareUrl = await postgres.createDatabase();
  await (await startFootsteps(bareUrl)).stop();
  const bare = await startProgram('servers/bare-pg.mjs', { DATABASE_URL: bareUrl, PROJECT_ID: id });
  const empty = await startProgram('servers/no-database.mjs');
  const bodies = ingestBodies({ requests: USERS, size: 1, users: USERS });
  const beats = Array.from({ length: USERS }, (_, at) =>
    JSON.stringify({ query: HEARTBEAT, variables: { input: { identity: `user-${at}@example.com` } } }),
  );
  await warmUp(footsteps, key, ingestBodies({ requests: 400, size: 100, users: USERS }));
  const common = { connections: 64, seconds, bodies, expect: '"accepted":1' };
  const beating = { ...common, bodies: beats, expect: '"acknowledged":true' };
  const found = { ours: [], empty: [], bare: [], beats: [], emptyBeats: [] };
  for (const url of [footsteps.url, empty.ready.url]) {
    await load({ ...common, url, key, seconds: 2 });
    await load({ ...beating, url, key, seconds: 2 });
  }
  await load({ ...common, url: bare.ready.url, key, seconds: 2 });
  // The first heartbeat of each session is sent here, because it costs more than the later ones, which are measured.
  await load({ ...beating, url: footsteps.url, key, seconds: undefined });
  for (let round = 0; round < rounds; round += 1) {
    const ours = await stored(databaseUrl, () => load({ ...common, url: footsteps.url, key }), ({ requests }) => requests);
    found.ours.push(ours.perSecond);
    found.empty.push((await load({ ...common, url: empty.ready.url, key })).perSecond);
    found.bare.push(
      (await stored(bareUrl, () => load({ ...common, url: bare.ready.url, key }), ({ requests }) => requests)).perSecond,
    );
    found.beats.push((await load({ ...beating, url: footsteps.url, key })).perSecond);
    found.emptyBeats.push((await load({ ...beating, url: empty.ready.url, key })).perSecond);
  }
  await Promise.all([bare.stop(), empty.stop(), footsteps.stop()]);
  const single = { work: 'ingestEvents, 1 event a request', unit: 'requests/s', ours: found.ours };
  return [
    { row: '2a', ...single, beside: 'the same without a database', theirs: found.empty, reach: 0.6 },
    { row: '2b', ...single, beside: 'bare http, an INSERT a request', theirs: found.bare, reach: 1 },
    { row: '3', work: 'recordHeartbeat', unit: 'requests/s', beside: 'the same without a database', ours: found.beats, theirs: found.emptyBeats, reach: 0.7 },
  ];
}
