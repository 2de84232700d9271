// Many viewers of presence in one process, which does as it is asked: see ANSWERS.
import { createHash } from 'node:crypto';
import { Viewer } from './viewer.mjs';

const at = () => performance.timeOrigin + performance.now();
const percentile = (values, share) => {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(sorted.length * share))] ?? 0;
};
const pause = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));

let viewers = [];
let waiting = null;
/** When the latest subscribing began. */
let begunAt = 0;

const CONDITIONS = {
  open: ({ state }) => state === 'open',
  whole: ({ state }) => state === 'whole' || state === 'live',
  live: ({ state }) => state === 'live',
  toldOfAway: ({ away }, { away: wanted }) => away.size >= wanted,
};

/** Those of whom it is not true yet are the only ones asked again. */
function look(viewer) {
  if (!waiting?.left.has(viewer) || !CONDITIONS[waiting.what](viewer, waiting)) return;
  waiting.left.delete(viewer);
  if (waiting.left.size === 0) waiting.resolve(true);
}

/** Whom a narrowed viewer watches: `each` of `of` seeded users. */
const narrowed = (at, { each, of }) =>
  Array.from({ length: each }, (_, one) => `seeded-${(at * each * 7919 + one * 104_729) % of}@example.com`);

function connect({ count, samples = 1, narrow, watchesAway = false, ...options }) {
  const every = Math.ceil(count / samples);
  viewers = Array.from(
    { length: count },
    (_, index) =>
      new Viewer(
        {
          ...options,
          isSample: index % every === 0,
          watchesAway,
          variables: narrow ? { identities: narrowed(index, narrow) } : {},
        },
        look,
      ),
  );
}

/** Resolves with whether it came true of all in time. */
async function until(what, { timeout, away = 0 }) {
  const left = new Set(viewers);
  const came = new Promise((resolve) => (waiting = { what, away, left, resolve }));
  for (const viewer of viewers) look(viewer);
  const timer = setTimeout(() => waiting.resolve(false), timeout);
  const all = await came;
  clearTimeout(timer);
  waiting = null;
  return { all, left: left.size };
}

function figures() {
  const since = (values) => values.filter((value) => value !== null).map((value) => value - begunAt);
  const live = since(viewers.map(({ liveAt }) => liveAt));
  const whole = since(viewers.map(({ wholeAt }) => wholeAt));
  const ages = viewers.flatMap((viewer) => viewer.ages);
  const sum = (read) => viewers.reduce((total, viewer) => total + read(viewer), 0);
  return {
    whole: { p50: percentile(whole, 0.5), last: percentile(whole, 1) },
    live: { p50: percentile(live, 0.5), last: percentile(live, 1), count: live.length },
    ages: { count: ages.length, p50: percentile(ages, 0.5), p99: percentile(ages, 0.99), most: percentile(ages, 1) },
    stalest: Math.max(...viewers.map(({ stalest, latestMark }) => Math.max(stalest, latestMark === null ? 0 : at() - latestMark))),
    bytes: sum(({ bytes }) => bytes),
    frames: sum(({ frames }) => frames),
    snapshots: sum(({ snapshots }) => snapshots),
    refused: sum(({ refused }) => refused),
    reason: viewers.find(({ reason }) => reason !== null)?.reason ?? null,
  };
}

/** Who is online to each sample, as a number and a hash of their identities in order: all messages are read only now. */
function check() {
  return viewers
    .filter(({ options }) => options.isSample)
    .map(({ messages }) => {
      const online = new Set();
      let isReplacing = false;
      for (const message of messages) {
        const { kind, hasMore, users } = JSON.parse(message).payload.data.userPresence;
        if (kind === 'SNAPSHOT' && !isReplacing) online.clear();
        isReplacing = kind === 'SNAPSHOT' && hasMore === true;
        for (const { identity, status } of users)
          if (status === 'ONLINE') online.add(identity);
          else online.delete(identity);
      }
      return { count: online.size, hash: createHash('sha256').update([...online].sort().join('\n')).digest('hex') };
    });
}

const ANSWERS = {
  async connect(asked) {
    connect(asked);
    for (const [index, viewer] of viewers.entries()) {
      if (asked.lazy) break;
      viewer.connect();
      // As many at once as a listening socket keeps waiting.
      if (index % 100 === 99) await pause(50);
    }
    return asked.lazy ? { all: true } : until('open', { timeout: 60_000 });
  },
  /** All at once, or one after the other within `over` milliseconds; `cursor`: from there on. */
  async subscribe({ over = 0, resumption = false, cursor }) {
    begunAt = at();
    for (const [index, viewer] of viewers.entries()) {
      const early = (over * index) / viewers.length - (at() - begunAt);
      if (early > 1) await pause(early);
      if (cursor) viewer.cursor = cursor;
      viewer.subscribe({ resumption: resumption || cursor !== undefined });
    }
    return {};
  },
  until: ({ what, ...asked }) => until(what, asked),
  figures: () => ({ ...figures(), cursor: viewers[0]?.cursor ?? null }),
  reset() {
    for (const viewer of viewers) viewer.reset();
    return {};
  },
  drop() {
    for (const viewer of viewers) viewer.drop();
    return {};
  },
  /** What the samples have kept of their messages, where nobody will check them. */
  forget() {
    for (const viewer of viewers) viewer.messages = [];
    return {};
  },
  check,
};

process.on('message', async ({ kind, ...asked }) => process.send(await ANSWERS[kind](asked)));
process.send('ready');
