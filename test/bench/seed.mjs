// Writes rows by SQL before a measurement begins. Sending them as events would take hours.
import pg from 'pg';

/** The id of the n-th seeded user, as the product works it out of project and identity. */
const idOf = (n) =>
  `left(encode(sha256(convert_to('4:user36:' || $1::uuid || 19 + length((${n})::text) || ':seeded-' || (${n}) || '@example.com', 'UTF8')), 'hex'), 32)::uuid`;

const SQL = {
  users: `INSERT INTO users (project_id, id, identity, name, online_sessions, status_since, presence_version,
      presence_transaction)
    SELECT $1, ${idOf('n')}, 'seeded-' || n || '@example.com', 'Seeded ' || n, $4::boolean::integer, now(), 1,
      pg_current_xact_id()::text::bigint
    FROM generate_series($2::integer, $3::integer) n`,
  // Ended sessions are spread over the last six days; open ones are of the last minute.
  ended: `INSERT INTO sessions (project_id, id, user_id, started_at, last_activity_at, ended_at, end_reason, online_until, live,
      event_count, error_count, ended_event_count, event_types, version, browser_name, browser_version, os_name, os_version, device, data)
    SELECT $1, uuidv7(x.started_at - now()), ${idOf('n % $4::integer')}, x.started_at, x.ended_at, x.ended_at, 'INACTIVITY',
      x.ended_at, false, $5, 0, $5, '{page view}', '1.4.2', 'Chrome', '140.0', 'Windows', '11', 'Desktop', '{"plan": "pro"}'
    FROM generate_series($2::integer, $3::integer) n,
      LATERAL (SELECT now() - interval '1 hour' - interval '500 ms' * (n % 1000000) AS at) y,
      LATERAL (SELECT y.at AS started_at, y.at + interval '10 minutes' AS ended_at) x`,
  open: `INSERT INTO sessions (project_id, id, user_id, started_at, last_activity_at, online_until, live, due_at, event_count, event_types, data)
    SELECT $1, uuidv7(interval '-1 minute'), ${idOf('n')}, now() - interval '1 minute', now(), now() + interval '1 day', true,
      now() + interval '1 day', 1, '{page view}', '{}'
    FROM generate_series($2::integer, $3::integer) n`,
  events: `INSERT INTO events (project_id, id, type, source, message, occurred_at, received_at, user_id, session_id, data)
    SELECT s.project_id, uuidv7(x.at - now()), 'page view', '/products/' || n, 'Step ' || n, x.at, x.at, s.user_id, s.id,
      '{"plan": "pro", "position": 3}'
    FROM (SELECT * FROM sessions WHERE project_id = $1 AND ended_at IS NOT NULL ORDER BY project_id, started_at, id
          OFFSET $2 LIMIT $3) s,
      generate_series(1, s.event_count) n, LATERAL (SELECT s.started_at + interval '20 s' * n AS at) x`,
};

/** Runs `run` on `total` rows in steps, and prints the progress if it takes long. */
async function inSteps(what, total, step, run) {
  let toldAt = performance.now();
  for (let first = 0; first < total; first += step) {
    await run(first, Math.min(step, total - first));
    if (performance.now() - toldAt < 5_000) continue;
    toldAt = performance.now();
    console.error(`  storing ${what}: ${Math.round((100 * (first + step)) / total)} %`);
  }
}

/** Makes users with ended sessions of so many events each. */
export async function seedHistory(databaseUrl, projectId, { sessions, eventsEach, users = Math.ceil(sessions / 10) }) {
  const client = new pg.Client({ connectionString: databaseUrl });
  await client.connect();
  await client.query(SQL.users, [projectId, 0, users - 1, false]);
  await inSteps('sessions', sessions, 50_000, (first, count) =>
    client.query(SQL.ended, [projectId, first, first + count - 1, users, eventsEach]),
  );
  await inSteps('events', sessions, 20_000, (first, count) => client.query(SQL.events, [projectId, first, count]));
  await client.query('VACUUM ANALYZE');
  await client.query('CHECKPOINT');
  await client.end();
}

/** Makes users who are online, each with an open session that stays open. */
export async function seedOpen(databaseUrl, projectId, { sessions }) {
  const client = new pg.Client({ connectionString: databaseUrl });
  await client.connect();
  await inSteps('open sessions', sessions, 50_000, async (first, count) => {
    await client.query(SQL.users, [projectId, first, first + count - 1, true]);
    await client.query(SQL.open, [projectId, first, first + count - 1]);
  });
  await client.query('VACUUM ANALYZE');
  await client.query('CHECKPOINT');
  await client.end();
}

/** Makes `count` of the seeded open sessions, from `first` on, inactive for ten minutes. */
export async function silence(databaseUrl, projectId, first, count) {
  const client = new pg.Client({ connectionString: databaseUrl });
  await client.connect();
  await client.query(
    `UPDATE sessions SET started_at = now() - interval '20 minutes', last_activity_at = now() - interval '10 minutes',
       online_until = now() - interval '5 minutes', due_at = now() - interval '5 minutes'
     WHERE project_id = $1 AND live AND user_id IN (SELECT ${idOf('n')} FROM generate_series($2::integer, $3::integer) n)`,
    [projectId, first, first + count - 1],
  );
  // The service must have been running when they became inactive, or it would count as an outage.
  await client.query('UPDATE outage SET away_from = NULL, back_at = NULL');
  // The next measurement must not include the cost of these writes.
  await client.query('CHECKPOINT');
  await client.end();
}
