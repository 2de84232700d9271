// Rows 4, 5 and 9: presence with many subscribers.
import { readFileSync } from 'node:fs';
import { Agent, request } from 'node:http';
import { startFootsteps, startProgram } from '../processes.mjs';

const SUBSCRIBERS = 1_000;
const EDGES = 100;
const IDLE = 10_000;
const INGEST = 'mutation ($events: [EventInput!]!) { ingestEvents(events: $events) { accepted } }';

const agent = new Agent({ keepAlive: true });
/** Sends the events on an open connection, as an application does. fetch itself would take a millisecond. */
function send(url, key, variables) {
  const headers = { 'Content-Type': 'application/json', Authorization: `Bearer ${key}` };
  return new Promise((resolve, reject) => {
    const sent = request(`${url}/graphql`, { method: 'POST', agent, headers }, async (response) => {
      const text = (await response.toArray()).join('');
      if (text.includes('"accepted":1')) resolve();
      else reject(new Error(text));
    });
    sent.on('error', reject);
    sent.end(JSON.stringify({ query: INGEST, variables }));
  });
}

const at = () => performance.timeOrigin + performance.now();
const percentile = (values, share) => values.toSorted((a, b) => a - b)[Math.floor((values.length - 1) * share)];

async function subscribe(options) {
  const subscribers = await startProgram('subscribers.mjs');
  await subscribers.ask({ kind: 'connect', ...options });
  return subscribers;
}

/** Runs `publish`, which publishes so many edges, and waits until every subscriber has received all of them. */
async function deliver(subscribers, edges, publish) {
  await subscribers.ask({ kind: 'expect', edges });
  const start = at();
  const done = publish();
  const [heard, published] = await Promise.all([subscribers.ask({ kind: 'await' }), done]);
  if (heard.edges !== edges * SUBSCRIBERS) throw new Error(`${heard.edges} edges were delivered, not ${edges * SUBSCRIBERS}.`);
  return { milliseconds: heard.lastAt - (published?.start ?? start), messages: heard.messages };
}

export async function fanOut({ postgres, rounds }) {
  const footsteps = await startFootsteps(await postgres.createDatabase());
  const { key } = await footsteps.createProject();
  const bare = await startProgram('servers/bare-ws.mjs');
  let users = 0;
  /** A user comes online. */
  const arrive = () => {
    users += 1;
    return send(footsteps.url, key, { events: [{ user: { identity: `user-${users}@example.com` } }] });
  };
  const arriveMany = async (count, lanes) => {
    await Promise.all(
      Array.from({ length: lanes }, async () => {
        for (let at = 0; at < count / lanes; at += 1) await arrive();
      }),
    );
  };
  const ours = await subscribe({ url: footsteps.url, key, count: SUBSCRIBERS });
  const theirs = await subscribe({ url: bare.ready.url, bare: true, count: SUBSCRIBERS });
  await deliver(ours, EDGES, () => arriveMany(EDGES, 10));
  await deliver(theirs, EDGES, () => bare.ask({ messages: EDGES }));
  const rate = { ours: [], theirs: [] };
  const latency = { ours: [], theirs: [] };
  for (let round = 0; round < rounds; round += 1) {
    rate.ours.push((EDGES * SUBSCRIBERS * 1_000) / (await deliver(ours, EDGES, () => arriveMany(EDGES, 10))).milliseconds);
    rate.theirs.push((EDGES * SUBSCRIBERS * 1_000) / (await deliver(theirs, EDGES, () => bare.ask({ messages: EDGES }))).milliseconds);
    const one = { ours: [], theirs: [] };
    for (let edge = 0; edge < EDGES; edge += 1) {
      one.ours.push((await deliver(ours, 1, arrive)).milliseconds);
      one.theirs.push((await deliver(theirs, 1, () => bare.ask({ messages: 1 }))).milliseconds);
    }
    latency.ours.push(percentile(one.ours, 0.99));
    latency.theirs.push(percentile(one.theirs, 0.99));
  }
  await Promise.all([ours.stop(), theirs.stop()]);
  await Promise.all([footsteps.stop(), bare.stop()]);
  return [
    { row: '4', work: `${SUBSCRIBERS} subscribers, ${EDGES} edges`, unit: 'edges/s', beside: 'bare ws, sends to all', ...rate, reach: 0.8 },
    { row: '5', work: 'an edge to its last subscriber, p99', unit: 'ms', beside: 'bare ws', ...latency, smaller: true, reach: 1.5 },
  ];
}

const memoryOf = (pid) => Number(/VmRSS:\s+(\d+) kB/.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))[1]);

export async function idle({ postgres }) {
  const footsteps = await startFootsteps(await postgres.createDatabase());
  const { key } = await footsteps.createProject();
  const bare = await startProgram('servers/bare-ws.mjs');
  async function weigh(pid, options) {
    const before = memoryOf(pid);
    const subscribers = await subscribe({ ...options, count: IDLE });
    // By then a garbage collection has removed what connecting has left behind.
    await new Promise((resolve) => setTimeout(resolve, 5_000));
    const each = (memoryOf(pid) - before) / IDLE;
    await subscribers.stop();
    return each;
  }
  const ours = [await weigh(footsteps.pid, { url: footsteps.url, key })];
  const theirs = [await weigh(bare.pid, { url: bare.ready.url, bare: true })];
  await Promise.all([footsteps.stop(), bare.stop()]);
  return [{ row: '9', work: `an idle subscription, of ${IDLE}`, unit: 'kB', beside: 'bare ws socket', ours, theirs, smaller: true, reach: 3 }];
}
