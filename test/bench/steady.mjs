// Requests that are sent at their times, whether those before are answered or not, and how long each took from its time on.
import { Agent, request } from 'node:http';

const agent = new Agent({ keepAlive: true, maxSockets: 200 });
const INGEST = 'mutation ($events: [EventInput!]!) { ingestEvents(events: $events) { accepted } }';
const BEAT = 'mutation ($input: HeartbeatInput!) { recordHeartbeat(input: $input) { acknowledged } }';
/** How often it is looked for requests whose time has come. Milliseconds. */
const LOOK = 5;

/** Of one stream. */
const MOST_UNDER_WAY = 100;

const at = () => performance.timeOrigin + performance.now();
const percentile = (values, share) => {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? 0;
};
const ingest = (events) => ({ query: INGEST, variables: { events } });

/** What a stream sends the n-th time. */
const KINDS = {
  /** One of twenty users is still there. */
  beats: () => (n) => ({ query: BEAT, variables: { input: { identity: `beater-${n % 20}` } } }),
  events: () => (n) => ingest([{ type: 'page view', user: { identity: `guest-${n % 1_000}` } }]),
  /** `each` users come who carry the time; with `stay`, as many leave who came so many requests before. */
  comers({ each = 1, stay }) {
    const here = [];
    return (n) => {
      const coming = Array.from({ length: each }, (_, one) => `mark-${Math.floor(at())}-${n}-${one}`);
      here.push(coming);
      const leaving = here.length > (stay ?? Infinity) ? here.shift() : [];
      const left = leaving.map((identity) => ({ type: 'sessionend', user: { identity } }));
      return ingest([...coming.map((identity) => ({ user: { identity } })), ...left]);
    };
  },
  /** `each` of `of` seeded users, one after the other, leave, and come back in the next round. */
  turns({ each, of }) {
    let next = 0;
    return () =>
      ingest(
        Array.from({ length: each }, () => {
          const isLeaving = Math.floor(next / of) % 2 === 0;
          const identity = `seeded-${next % of}@example.com`;
          next += 1;
          return { type: isLeaving ? 'sessionend' : 'page view', user: { identity } };
        }),
      );
  },
};

function send({ url, key }, body) {
  const headers = { 'Content-Type': 'application/json', Authorization: `Bearer ${key}` };
  return new Promise((resolve) => {
    const sent = request(`${url}/graphql`, { method: 'POST', agent, headers }, async (response) => {
      const text = (await response.toArray()).join('');
      resolve(text.includes('"errors"') ? text.slice(0, 300) : null);
    });
    sent.on('error', (error) => resolve(String(error)));
    sent.end(JSON.stringify(body));
  });
}

class Stream {
  took = [];
  failed = 0;
  reason = null;
  sent = 0;
  stopped = false;
  underWay = new Set();

  constructor(options) {
    this.options = options;
    this.bodyOf = KINDS[options.kind](options);
    this.begun = at();
    this.timer = setInterval(() => this.look(), LOOK);
  }

  look() {
    const { perSecond, most = MOST_UNDER_WAY } = this.options;
    for (;;) {
      const due = this.begun + (this.sent * 1_000) / perSecond;
      if (this.stopped || due > at()) return;
      if (this.underWay.size >= most) {
        // More than can be answered is not asked: the rest of the stream comes later.
        this.begun += at() - due;
        return;
      }
      const asked = send(this.options, this.bodyOf(this.sent)).then((reason) => {
        this.took.push(at() - due);
        this.underWay.delete(asked);
        if (reason === null) return;
        this.failed += 1;
        this.reason = reason;
      });
      this.underWay.add(asked);
      this.sent += 1;
    }
  }

  figures() {
    const { took, failed, reason } = this;
    return { count: took.length, waiting: this.underWay.size, failed, reason, p50: percentile(took, 0.5), p99: percentile(took, 0.99), most: percentile(took, 1) };
  }

  reset() {
    Object.assign(this, { took: [], failed: 0, reason: null });
  }

  async stop() {
    this.stopped = true;
    clearInterval(this.timer);
    await Promise.all(this.underWay);
  }
}

const streams = new Map();
const ANSWERS = {
  start({ streams: asked }) {
    for (const [name, options] of Object.entries(asked)) streams.set(name, new Stream(options));
    return {};
  },
  figures: () => Object.fromEntries([...streams].map(([name, stream]) => [name, stream.figures()])),
  reset() {
    for (const stream of streams.values()) stream.reset();
    return {};
  },
  /** Resolves once all that was sent is answered. */
  async stop() {
    await Promise.all([...streams.values()].map((stream) => stream.stop()));
    const answer = ANSWERS.figures();
    streams.clear();
    return answer;
  },
  /** Once. */
  send: ({ to, events }) => send(to, ingest(events)),
};

process.on('message', async ({ kind, ...asked }) => process.send(await ANSWERS[kind](asked)));
process.send('ready');
