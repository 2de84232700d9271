// For row F2: a hand-written server of the same messages. It reads Postgres in pages, the next one while it sends, and knows no
// GraphQL, no rights, no limits and no live changes.
import { createServer } from 'node:http';
import { setImmediate as nextTurn } from 'node:timers/promises';
import pg from 'pg';
import { WebSocketServer } from 'ws';
import { encodeCursor } from '../../../dist/domain/cursor.js';

const { DATABASE_URL, PROJECT_ID } = process.env;
const client = new pg.Client({ connectionString: DATABASE_URL });
await client.connect();

const ROWS = {
  name: 'rows',
  text: `SELECT transaction, part, at, event_ids AS ids FROM changes WHERE project_id = $1 AND (transaction, part) > ($2, $3)
    ORDER BY transaction, part LIMIT 10`,
};
const EVENTS = {
  name: 'events',
  text: `SELECT json_agg(id) AS id, json_agg(type) AS type, json_agg(message) AS message, json_agg(occurred_at) AS at,
      json_agg(user_id) AS user_id
    FROM (SELECT * FROM events WHERE project_id = $1 AND id = ANY($2::uuid[]) AND id >= $3 AND id <= $4 OFFSET 0) e`,
};

/** The rows after a place of the feed, and their events as columns. */
async function readAfter([transaction, part]) {
  const { rows } = await client.query({ ...ROWS, values: [PROJECT_ID, transaction, part] });
  if (rows.length === 0) return null;
  const ids = rows.flatMap((row) => row.ids);
  const [first, last] = ids.reduce(([least, most], id) => [id < least ? id : least, id > most ? id : most], [ids[0], ids[0]]);
  const { rows: [events] } = await client.query({ ...EVENTS, values: [PROJECT_ID, ids, first, last] });
  return { rows, events, at: new Map(events.id.map((id, at) => [id, at])) };
}

const nodeId = (type, id) => Buffer.from(`${type}:${id}`).toString('base64');

async function tell(socket, connection, id) {
  let next = readAfter([0, -1]);
  for (let page = await next; page; page = await next) {
    const { rows, events, at } = page;
    const end = rows.at(-1);
    next = readAfter([end.transaction, end.part]);
    connection.cork();
    for (const { ids, transaction, part, at: stored } of rows)
      for (const [entry, eventId] of ids.entries()) {
        const n = at.get(eventId);
        const event = { id: nodeId('Event', eventId), type: events.type[n], message: events.message[n], occurredAt: events.at[n] };
        const cursor = encodeCursor('changes', [PROJECT_ID, Number(transaction), part, entry, stored.getTime(), null]);
        const changes = { __typename: 'EventChange', cursor, event: { ...event, user: { id: nodeId('User', events.user_id[n]) } } };
        socket.send(JSON.stringify({ id, type: 'next', payload: { data: { changes } } }));
      }
    connection.uncork();
    if (connection.writableLength > 65_536) await new Promise((resolve) => connection.once('drain', resolve));
    else await nextTurn();
  }
}

const server = createServer();
new WebSocketServer({ server, perMessageDeflate: false }).on('connection', (socket, { socket: connection }) => {
  socket.on('message', (/** @type {Buffer} */ data) => {
    const { id, type } = JSON.parse(data.toString());
    if (type === 'connection_init') socket.send('{"type":"connection_ack"}');
    else if (type === 'subscribe') void tell(socket, connection, id);
  });
});
server.listen(0, '127.0.0.1', () => process.send({ url: `http://127.0.0.1:${server.address().port}` }));
