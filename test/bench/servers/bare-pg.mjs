// For row 2 (b): a bare HTTP server with one INSERT for each request, as in a first version of a product.
import { createServer } from 'node:http';
import pg from 'pg';
import { uuidAt } from '../../../dist/domain/event-id.js';
import { userIdOf } from '../../../dist/domain/identity.js';

const { DATABASE_URL, PROJECT_ID } = process.env;
const pool = new pg.Pool({ connectionString: DATABASE_URL, max: 16 });
const TEXT = `INSERT INTO events (project_id, id, type, source, message, occurred_at, received_at, user_id, data)
  VALUES ($1, $2, $3, $4, $5, $6, $6, $7, $8)`;

const server = createServer((request, response) => {
  const chunks = [];
  request.on('data', (chunk) => chunks.push(chunk));
  request.on('end', async () => {
    const { variables } = JSON.parse(Buffer.concat(chunks).toString());
    const [{ type, source, message, user, data }] = variables.events;
    const now = new Date();
    const values = [PROJECT_ID, uuidAt(now), type, source, message, now, userIdOf(PROJECT_ID, user.identity), data];
    await pool.query({ name: 'insert', text: TEXT, values });
    const body = '{"data":{"ingestEvents":{"accepted":1}}}';
    response.writeHead(200, { 'Content-Type': 'application/json', 'Content-Length': String(Buffer.byteLength(body)) });
    response.end(body);
  });
});
server.listen(0, '127.0.0.1', () => process.send({ url: `http://127.0.0.1:${server.address().port}` }));
