// A reader of the feed of changes, in a process of its own. It looks at little of what it gets, so that it takes little of the machine.
import { randomUUID } from 'node:crypto';
import { Agent, request } from 'node:http';
import WebSocket from 'ws';

const CHANGE = '__typename cursor ... on EventChange { event { id type message occurredAt user { id } } }';
const FILTER = 'filter: { kinds: [EVENT] }';
const SUBSCRIBE = `subscription ($after: String) { changes(after: $after, ${FILTER}) { ${CHANGE} } }`;
const READ = `query ($after: String, $first: Int!) {
  changes(after: $after, first: $first, ${FILTER}) { nodes { ${CHANGE} } pageInfo { hasNextPage endCursor } }
}`;
const at = () => performance.timeOrigin + performance.now();

/** Calls `hear` with each message of the subscription. Resolves when it is asked for. */
function subscribe({ url, key, after }, hear) {
  return new Promise((resolve, reject) => {
    const socket = new WebSocket(`${url.replace('http', 'ws')}/graphql`, ['graphql-transport-ws'], { perMessageDeflate: false });
    socket.on('error', reject);
    socket.on('open', () => socket.send(JSON.stringify({ type: 'connection_init', payload: { authorization: `Bearer ${key}` } })));
    socket.on('message', (/** @type {Buffer} */ data) => {
      const head = data.toString('latin1', 0, 70);
      if (head.includes('"type":"next"')) hear(data);
      else if (head.startsWith('{"type":"connection_ack"')) {
        socket.send(JSON.stringify({ id: randomUUID(), type: 'subscribe', payload: { query: SUBSCRIBE, variables: { after } } }));
        resolve(socket);
      } else if (head === '{"type":"ping"}') socket.send('{"type":"pong"}');
      else throw new Error(data.toString());
    });
  });
}

const agent = new Agent({ keepAlive: true });
function ask({ url, key }, variables) {
  const headers = { 'Content-Type': 'application/json', Authorization: `Bearer ${key}` };
  return new Promise((resolve, reject) => {
    const sent = request(`${url}/graphql`, { method: 'POST', agent, headers }, async (response) => {
      const { data, errors } = JSON.parse((await response.toArray()).join(''));
      if (errors) reject(new Error(JSON.stringify(errors)));
      else resolve(data.changes);
    });
    sent.on('error', reject);
    sent.end(JSON.stringify({ query: READ, variables }));
  });
}

/** When each mark came, by the message of its event. */
const marks = {};
const ANSWERS = {
  /** Keeps the times of the events whose message begins with `mark-`. Answers when it has subscribed. */
  async follow(from) {
    await subscribe(from, (data) => {
      const now = at();
      const mark = /"message":"(mark-\d+)"/.exec(data.toString())?.[1];
      if (mark) marks[mark] = now;
    });
    return {};
  },
  marks: () => marks,
  /**
   * Counts what comes until each of so many connections has got `most`. Answers with how many came, and in how many seconds.
   */
  async replay({ most, connections, ...from }) {
    const begun = at();
    const sockets = [];
    const one = () =>
      new Promise((resolve, reject) => {
        let count = 0;
        subscribe(from, () => {
          count += 1;
          if (count === most) resolve();
        }).then((socket) => sockets.push(socket), reject);
      });
    await Promise.all(Array.from({ length: connections }, one));
    const seconds = (at() - begun) / 1_000;
    for (const socket of sockets) socket.terminate();
    return { count: most * connections, seconds };
  },
  /** The same by pages of the query, one after the other. */
  async pages({ most, after, ...from }) {
    const begun = at();
    let count = 0;
    for (let cursor = after; count < most;) {
      const { nodes, pageInfo } = await ask(from, { after: cursor, first: 100 });
      count += nodes.length;
      if (!pageInfo.hasNextPage) break;
      cursor = pageInfo.endCursor;
    }
    return { count, seconds: (at() - begun) / 1_000 };
  },
};

process.on('message', async ({ kind, ...asked }) => process.send(await ANSWERS[kind](asked)));
process.send('ready');
