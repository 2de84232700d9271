// Many subscribers in one process. Each has its own WebSocket and counts the edges that it receives.
import { randomUUID } from 'node:crypto';
import WebSocket from 'ws';

const QUERY = 'subscription { userPresence { kind users { identity status onlineSessions } } }';
const at = () => performance.timeOrigin + performance.now();

const sockets = [];
/** The edges that each socket has received since the last question, and when the last one came. */
let counts = [];
let messages = 0;
let lastAt = 0;
let wanted = null;

/** The number of edges by the text of a message without its id. So a text is parsed once for all sockets. */
const known = new Map();
function edgesIn(message) {
  const text = message.startsWith('{"id":"') ? `{${message.slice(message.indexOf('"', 7) + 2)}` : message;
  let edges = known.get(text);
  if (edges === undefined) {
    const { type, payload } = JSON.parse(text);
    const presence = type === 'next' ? payload.data.userPresence : null;
    edges = presence?.kind === 'DIFF' ? presence.users.length : 0;
    if (known.size > 1_000) known.clear();
    known.set(text, edges);
  }
  return edges;
}

let complete = 0;
function count(index, text) {
  const edges = edgesIn(text);
  if (edges === 0) return;
  messages += 1;
  counts[index] += edges;
  if (wanted === null || counts[index] !== wanted.edges) return;
  complete += 1;
  if (complete < sockets.length) return;
  lastAt = at();
  wanted.resolve();
}

function open(index, { url, key, bare }) {
  return new Promise((resolve, reject) => {
    const socket = new WebSocket(`${url.replace('http', 'ws')}/graphql`, bare ? [] : ['graphql-transport-ws'], {
      perMessageDeflate: false,
    });
    sockets[index] = socket;
    socket.on('error', reject);
    socket.on('open', () => {
      if (bare) resolve();
      else socket.send(JSON.stringify({ type: 'connection_init', payload: { authorization: `Bearer ${key}` } }));
    });
    socket.on('message', (/** @type {Buffer} */ data) => {
      const text = data.toString('utf8');
      if (text.startsWith('{"type":"connection_ack"')) {
        // Each uses a different id for its subscription, as graphql-ws clients do.
        socket.send(JSON.stringify({ id: randomUUID(), type: 'subscribe', payload: { query: QUERY } }));
        return;
      }
      if (text === '{"type":"ping"}') {
        socket.send('{"type":"pong"}');
        return;
      }
      if (text.includes('"SNAPSHOT"')) resolve();
      count(index, text);
    });
  });
}

process.on('message', async (asked) => {
  if (asked.kind === 'connect') {
    counts = Array(asked.count).fill(0);
    // A hundred at a time, as a load balancer would let them through.
    for (let first = 0; first < asked.count; first += 100) {
      await Promise.all(Array.from({ length: Math.min(100, asked.count - first) }, (_, one) => open(first + one, asked)));
    }
    process.send('connected');
    return;
  }
  if (asked.kind === 'expect') {
    counts.fill(0);
    messages = 0;
    complete = 0;
    wanted = { edges: asked.edges };
    wanted.done = new Promise((resolve) => (wanted.resolve = resolve));
    process.send('expecting');
    return;
  }
  await wanted.done;
  process.send({ lastAt, messages, edges: counts.reduce((sum, one) => sum + one, 0) });
});
process.send('ready');
