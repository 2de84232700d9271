// For row 6 (a): the same answer by one hand-written statement behind a bare HTTP server.
import { createServer } from 'node:http';
import pg from 'pg';

const { DATABASE_URL, PROJECT_ID } = process.env;
const pool = new pg.Pool({ connectionString: DATABASE_URL, max: 16 });
const TEXT = `SELECT s.id, s.started_at, s.last_activity_at, s.ended_at, s.event_count, s.browser_name, u.identity,
    e.id AS event_id, e.type, e.source, e.message, e.occurred_at
  FROM (SELECT * FROM sessions WHERE project_id = $1 ORDER BY started_at DESC, id DESC LIMIT 50) s
  LEFT JOIN users u ON u.project_id = s.project_id AND u.id = s.user_id
  LEFT JOIN LATERAL (
    SELECT * FROM events e WHERE e.project_id = s.project_id AND e.session_id = s.id ORDER BY e.id LIMIT 20
  ) e ON true
  ORDER BY s.started_at DESC, s.id DESC, e.id`;

function sessionOf(row) {
  return {
    id: row.id,
    startedAt: row.started_at,
    lastActivityAt: row.last_activity_at,
    endedAt: row.ended_at,
    eventCount: row.event_count,
    browser: { name: row.browser_name },
    user: { identity: row.identity },
    events: { nodes: [] },
  };
}

const server = createServer((request, response) => {
  request.resume();
  request.on('end', async () => {
    const { rows } = await pool.query({ name: 'sessions', text: TEXT, values: [PROJECT_ID] });
    const nodes = [];
    for (const row of rows) {
      if (nodes.at(-1)?.id !== row.id) nodes.push(sessionOf(row));
      const { event_id: id, type, source, message, occurred_at: occurredAt } = row;
      if (id !== null) nodes.at(-1).events.nodes.push({ id, type, source, message, occurredAt });
    }
    const body = JSON.stringify({ data: { sessions: { nodes } } });
    response.writeHead(200, { 'Content-Type': 'application/json', 'Content-Length': String(Buffer.byteLength(body)) });
    response.end(body);
  });
});
server.listen(0, '127.0.0.1', () => process.send({ url: `http://127.0.0.1:${server.address().port}` }));
