// Row 6: reads of sessions with their events.
import { execFileSync } from 'node:child_process';
import { existsSync } from 'node:fs';
import path from 'node:path';
import { load, ROOT, sql, startFootsteps, startProgram } from '../processes.mjs';
import { seedHistory } from '../seed.mjs';

const SESSIONS = 5_000;
const EVENTS = 25;
const COMPARATORS = path.join(ROOT, 'test/bench/comparators');
const OURS = `{ sessions(first: 50) { nodes { id startedAt lastActivityAt endedAt eventCount browser { name } user { identity }
  events(first: 20) { nodes { id type source message occurredAt } } } } }`;
const THEIRS = `query ($project: UUID!) { allSessions(first: 50, orderBy: [STARTED_AT_DESC, ROW_ID_DESC], condition: { projectId: $project }) {
  nodes { id startedAt lastActivityAt endedAt eventCount browserName userByProjectIdAndUserId { identity }
    eventsByProjectIdAndSessionId(first: 20, orderBy: ROW_ID_ASC) { nodes { id type source message occurredAt } } } } }`;

/** PostGraphile finds relations by foreign keys. The product has none, because they would make writes slower. */
const RELATIONS = `
  COMMENT ON TABLE events IS E'@foreignKey (project_id, session_id) references sessions (project_id, id)';
  COMMENT ON TABLE sessions IS E'@foreignKey (project_id, user_id) references users (project_id, id)';`;

function comparatorNode() {
  const node = path.join(COMPARATORS, 'node_modules/node/bin/node');
  if (!existsSync(node)) {
    console.error('  installing the comparators');
    execFileSync('npm', ['ci', '--no-audit', '--no-fund'], { cwd: COMPARATORS, stdio: 'ignore' });
  }
  return node;
}

export async function nested({ postgres, rounds, seconds }) {
  const node = comparatorNode();
  const databaseUrl = await postgres.createDatabase();
  const footsteps = await startFootsteps(databaseUrl);
  const { key, id } = await footsteps.createProject();
  await seedHistory(databaseUrl, id, { sessions: SESSIONS, eventsEach: EVENTS });
  await sql(databaseUrl, RELATIONS);
  const lateral = await startProgram('servers/lateral.mjs', { DATABASE_URL: databaseUrl, PROJECT_ID: id });
  const postgraphile = await startProgram('comparators/postgraphile.mjs', { DATABASE_URL: databaseUrl }, { node });
  // Every answer must contain the twentieth event of the newest session.
  const common = { connections: 16, seconds, expect: '"Step 20"' };
  const servers = {
    ours: { ...common, url: footsteps.url, key, bodies: [JSON.stringify({ query: OURS })] },
    lateral: { ...common, url: lateral.ready.url, bodies: ['{}'] },
    postgraphile: {
      ...common,
      url: postgraphile.ready.url,
      bodies: [JSON.stringify({ query: THEIRS, variables: { project: id } })],
    },
  };
  const found = { ours: [], lateral: [], postgraphile: [] };
  for (const options of Object.values(servers)) await load({ ...options, seconds: 2 });
  for (let round = 0; round < rounds; round += 1) {
    for (const [name, options] of Object.entries(servers)) found[name].push((await load(options)).perSecond);
  }
  await Promise.all([footsteps.stop(), lateral.stop(), postgraphile.stop()]);
  const work = '50 sessions with 20 events each';
  return [
    { row: '6a', work, unit: 'requests/s', beside: 'one LATERAL statement, bare http', ours: found.ours, theirs: found.lateral, reach: 0.45 },
    { row: '6b', work, unit: 'requests/s', beside: 'PostGraphile 5', ours: found.ours, theirs: found.postgraphile, reach: 1.2 },
  ];
}
