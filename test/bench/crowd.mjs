// What the rows of many viewers share: a server with users who are online, viewers, and requests beside them.
import { createHash } from 'node:crypto';
import { OPERATOR_KEY, sql, startFootsteps, startProgram } from './processes.mjs';
import { seedOpen } from './seed.mjs';

export const pause = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

/** What viewers ask. Kind and cursor come first, so that the beginning of a message tells them. */
const queryOf = (resumes) =>
  resumes
    ? 'subscription ($identities: [String!], $after: String) { userPresence(identities: $identities, after: $after) { kind hasMore cursor users { identity name status onlineSessions } } }'
    : 'subscription ($identities: [String!]) { userPresence(identities: $identities) { kind users { identity name status onlineSessions } } }';

/** Whether this server knows cursors. (Servers of before are measured beside it.) */
async function resumesAt(url) {
  const query = '{ __type(name: "PresenceUpdate") { fields { name } } }';
  const headers = { 'Content-Type': 'application/json', Authorization: `Bearer ${OPERATOR_KEY}` };
  const response = await fetch(`${url}/graphql`, { method: 'POST', headers, body: JSON.stringify({ query }) });
  return (await response.text()).includes('"cursor"');
}

/** A server and a project with so many users online. */
export async function openCrowd({ postgres }, { online, env = {}, nodeArguments = [] }) {
  const databaseUrl = await postgres.createDatabase();
  const footsteps = await startFootsteps(databaseUrl, env, nodeArguments);
  const { key, id } = await footsteps.createProject();
  await seedOpen(databaseUrl, id, { sessions: online });
  const steady = await startProgram('steady.mjs');
  const resumes = await resumesAt(footsteps.url);
  const programs = [steady];
  const { url } = footsteps;

  async function startViewers(options) {
    const viewers = await startProgram('viewers.mjs');
    programs.push(viewers);
    const { all } = await viewers.ask({ kind: 'connect', url, key, query: queryOf(resumes), ...options });
    if (!all) throw new Error(`Of ${options.count} viewers not all could connect within a minute.`);
    return viewers;
  }

  return {
    footsteps,
    key,
    resumes,
    databaseUrl,
    startViewers,
    /** Begins streams of requests (steady.mjs), in the project unless they name another key. */
    start: (streams) =>
      steady.ask({
        kind: 'start',
        streams: Object.fromEntries(Object.entries(streams).map(([name, stream]) => [name, { url, key, ...stream }])),
      }),
    steady,
    send: (events) => steady.ask({ kind: 'send', to: { url, key }, events }),
    /** Throws unless every sample shows who is online by the rows, within so many milliseconds. */
    async compare(viewers, patience = 20_000) {
      const rows = await sql(databaseUrl, 'SELECT identity FROM users WHERE project_id = $1 AND online_sessions > 0', [id]);
      const identities = rows.map(({ identity }) => identity).sort();
      const hash = createHash('sha256').update(identities.join('\n')).digest('hex');
      const end = performance.now() + patience;
      for (;;) {
        const seen = await viewers.ask({ kind: 'check' });
        const wrong = seen.filter((one) => one.hash !== hash);
        if (wrong.length === 0) return seen.length;
        if (performance.now() > end)
          throw new Error(`${wrong.length} of ${seen.length} samples show ${wrong[0].count} users, and the rows ${identities.length} others.`);
        await pause(500);
      }
    },
    async close() {
      for (const program of programs) await program.stop();
      await footsteps.stop();
    },
  };
}

/** A figure that has no other beside it. `reach`, where there is a goal: at most that. */
export const figure = (row, work, unit, value, reach = null) => ({ row, work, unit, beside: '', ours: [value], smaller: true, reach });

/** A ratio to something else of the same run. */
export const ratio = (row, work, unit, ours, beside, theirs, reach = null) => ({
  row,
  work,
  unit,
  beside,
  ours: [ours],
  theirs: [theirs],
  smaller: true,
  reach,
});
