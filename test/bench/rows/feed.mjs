// Rows F1 and F2: the feed of changes, live and from a cursor of a week ago.
import { readFileSync } from 'node:fs';
import path from 'node:path';
import pg from 'pg';
import { createDatabase } from '../../../dist/adapters/postgres/postgres.js';
import { ensurePartitions } from '../../../dist/store/partitions.js';
import { figure } from '../crowd.mjs';
import { processorOf, processorOfEnded } from '../figures.mjs';
import { sql, startFootsteps, startProgram, startRedis } from '../processes.mjs';
import { seedHistory } from '../seed.mjs';

const DAY = 86_400_000;
const INGEST = 'mutation ($events: [EventInput!]!) { ingestEvents(events: $events) { accepted } }';
const at = () => performance.timeOrigin + performance.now();
const pause = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));
const percentile = (values, share) => values.toSorted((a, b) => a - b)[Math.floor((values.length - 1) * share)];

async function graphql(url, key, query, variables = {}) {
  const headers = { 'Content-Type': 'application/json', Authorization: `Bearer ${key}` };
  const response = await fetch(`${url}/graphql`, { method: 'POST', headers, body: JSON.stringify({ query, variables }) });
  const { data, errors } = await response.json();
  if (errors) throw new Error(JSON.stringify(errors));
  return data;
}
const cursorOfNow = async (url, key) => (await graphql(url, key, '{ changeCursor }')).changeCursor;

/** Events a second, each a request of its own, sent at its time whether those before are answered or not. */
const PER_SECOND = 100;

/** Row F1: from the answer of `ingestEvents` to a subscriber of another server, with a Redis between them. */
export async function live({ postgres, seconds }) {
  const databaseUrl = await postgres.createDatabase();
  const redis = await startRedis();
  const env = { REDIS_URL: redis.url };
  const [here, there] = [await startFootsteps(databaseUrl, env), await startFootsteps(databaseUrl, env)];
  const { key } = await here.createProject();
  const reader = await startProgram('feed-reader.mjs');
  await reader.ask({ kind: 'follow', url: there.url, key, after: await cursorOfNow(there.url, key) });
  const answered = {};
  const count = PER_SECOND * 2 * seconds;
  const send = async (n) => {
    const events = [{ type: 'page view', message: `mark-${n}`, user: { identity: `user-${n % 50}` } }];
    await graphql(here.url, key, INGEST, { events });
    answered[`mark-${n}`] = at();
  };
  // What comes first compiles the code.
  for (let n = 0; n < PER_SECOND; n += 1) await send(n);
  const begun = at();
  const sent = [];
  for (let n = 0; n < count; n += 1) {
    const due = begun + (n * 1_000) / PER_SECOND;
    if (due > at()) await pause(due - at());
    sent.push(send(PER_SECOND + n));
  }
  await Promise.all(sent);
  const all = PER_SECOND + count;
  let came = {};
  for (const end = at() + 10_000; Object.keys(came).length < all && at() < end;) {
    await pause(100);
    came = await reader.ask({ kind: 'marks' });
  }
  await reader.stop();
  await Promise.all([here.stop(), there.stop()]);
  await redis.kill();
  if (Object.keys(came).length !== all) throw new Error(`${Object.keys(came).length} of ${all} events came.`);
  const late = Array.from({ length: count }, (_, n) => `mark-${PER_SECOND + n}`).map((mark) => came[mark] - answered[mark]);
  const work = `from the answer of ingestEvents to a subscriber on another server, ${PER_SECOND} events/s`;
  return [
    figure('F1', `${work}, p50`, 'ms', percentile(late, 0.5), 10),
    figure('F1', 'the same, p99', 'ms', percentile(late, 0.99), 50),
    figure('F1', 'the same, at most', 'ms', Math.max(...late)),
  ];
}

const EACH = 20;
/** The stored events, EACH for a session. */
const SESSIONS = Math.ceil(Number(process.env.BENCH_EVENTS ?? 100_000) / EACH);
/** Connections that read at once, in one of the figures. */
const CONNECTIONS = 4;
/** Events in a row of the feed: what a busy server stores in one transaction. */
const IN_ROW = 100;

/** Writes the feed that tells these events, as if transactions of the past six days had written it. */
async function seedFeed(databaseUrl, projectId) {
  const database = createDatabase({ url: databaseUrl, poolSize: 1, observe: () => {} });
  await ensurePartitions(database, new Date(Date.now() - 3 * DAY), () => {});
  await database.close();
  const client = new pg.Client({ connectionString: databaseUrl });
  await client.connect();
  // One transaction wrote them all, so its parts give their order.
  await client.query(
    `INSERT INTO changes (project_id, at, transaction, part, entries, event_ids)
     SELECT $1, now() - interval '6 days' * (1 - part::float8 / $3), pg_current_xact_id()::text::bigint, part, count(*), array_agg(id ORDER BY id)
     FROM (SELECT id, (row_number() OVER (ORDER BY id) / $2::integer)::integer AS part FROM events WHERE project_id = $1) e
     GROUP BY part`,
    [projectId, IN_ROW, (SESSIONS * EACH) / IN_ROW],
  );
  await client.query('VACUUM ANALYZE changes');
  await client.query('CHECKPOINT');
  await client.end();
}

/** Seconds of the processor that Postgres has used: its first process, those it has now, and those that have ended. */
function processorOfPostgres({ folder }) {
  const first = readFileSync(path.join(folder, 'postgres/postmaster.pid'), 'utf8').split('\n')[0];
  const children = readFileSync(`/proc/${first}/task/${first}/children`, 'utf8').trim().split(' ');
  return [first, ...children].reduce((sum, pid) => sum + processorOf(pid), processorOfEnded(first));
}

/** Row F2: everything since a cursor of six days ago, over one WebSocket, over several at once, and by pages. */
export async function replay({ postgres, rounds }) {
  const databaseUrl = await postgres.createDatabase();
  const footsteps = await startFootsteps(databaseUrl);
  const { key, id } = await footsteps.createProject();
  await seedHistory(databaseUrl, id, { sessions: SESSIONS, eventsEach: EACH });
  await seedFeed(databaseUrl, id);
  const { changes } = await graphql(footsteps.url, key, '{ changes(first: 1) { nodes { cursor } } }');
  const after = changes.nodes[0].cursor;
  const [{ most }] = await sql(databaseUrl, 'SELECT count(*)::integer - 1 AS most FROM events WHERE project_id = $1', [id]);
  const bare = await startProgram('servers/bare-feed.mjs', { DATABASE_URL: databaseUrl, PROJECT_ID: id });
  const reader = await startProgram('feed-reader.mjs');
  const way = (kind, connections, { url, pid } = footsteps) => ({ kind, connections, url, pid, rates: [], server: [], database: [] });
  const ways = {
    one: way('replay', 1),
    bare: way('replay', 1, { ...bare.ready, pid: bare.pid }),
    several: way('replay', CONNECTIONS),
    pages: way('pages', 1),
  };
  for (let round = 0; round < rounds; round += 1) {
    for (const { kind, connections, url, pid, rates, server, database } of Object.values(ways)) {
      const before = [processorOf(pid), processorOfPostgres(postgres)];
      const heard = await reader.ask({ kind, connections, url, key, after, most });
      if (heard.count !== most * connections) throw new Error(`${heard.count} of ${most * connections} events came.`);
      rates.push(heard.count / heard.seconds);
      server.push(((processorOf(pid) - before[0]) * 1_000_000) / heard.count);
      database.push(((processorOfPostgres(postgres) - before[1]) * 1_000_000) / heard.count);
    }
  }
  await Promise.all([reader.stop(), bare.stop(), footsteps.stop()]);
  const row = (work, unit, ours, goal = {}) => ({ row: 'F2', work, unit, beside: '', ours, reach: null, ...goal });
  const rowsOf = ({ rates, server, database }, work, there = {}) => {
    const beside = (theirs) => (theirs ? { beside: 'a hand-written server', theirs } : {});
    return [
      row(work, 'events/s', rates, beside(there.rates)),
      row("of it the server's processor, each", 'µs', server, beside(there.server)),
      row("of it Postgres', each", 'µs', database, beside(there.database)),
    ];
  };
  const ONE = 'events of six days from a cursor on, over a WebSocket';
  return [
    row(ONE, 'events/s', ways.one.rates, { reach: 100_000 }),
    ...rowsOf(ways.one, ONE, ways.bare),
    ...rowsOf(ways.several, `the same over ${CONNECTIONS} at once, all together`),
    ...rowsOf(ways.pages, 'the same by pages of 100'),
  ];
}
