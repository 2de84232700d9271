import { random } from '../support/random.js';

/**
 * A recorded day: what 240 people did, visit by visit, and the figures that follow from it. The figures are
 * added up from the visits as they were written, by a person's reckoning: nothing here knows how events
 * become sessions.
 */

/** An event as it is sent: the fields of EventInput. */
interface SentEvent {
  id: string;
  type: string;
  occurredAt: string;
  source?: string;
  message?: string;
  sessionKey?: string;
  user: { identity: string; name: string };
  data?: Record<string, unknown>;
}

/** A visit as it happened. Times are milliseconds since the epoch. */
interface Visit {
  identity: string;
  /** The device's own session key; null where the visit is known by its user alone. */
  key: string | null;
  start: number;
  last: number;
  events: number;
  errors: number;
  pageViews: number;
  /** How it ended: the user left, fell silent, or is still there. */
  ending: 'left' | 'silent' | 'there';
}

export interface Day {
  now: number;
  visits: Visit[];
  /** In the order they arrive: batches of a request each; late and repeated events included. */
  requests: SentEvent[][];
  /** Stored events, each counted once. */
  stored: number;
  repeats: number;
  heartbeats: number;
}

const MINUTE = 60_000;
const HOUR = 60 * MINUTE;

const PAGES = ['/', '/pricing', '/docs', '/docs/install', '/account', '/cart', '/checkout'];
const BROWSERS = [
  'Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/130.0.0.0 Safari/537.36',
  'Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.5 Safari/605.1.15',
  'Mozilla/5.0 (X11; Linux x86_64; rv:131.0) Gecko/20100101 Firefox/131.0',
];

/**
 * Tells the day that ends at `now` (milliseconds). Visits of one user lie at least 20 minutes apart, and
 * within a visit nothing is further apart than 4 minutes: with the default timeout of 5, a person can tell
 * them apart by eye.
 */
export function recordDay(now: number, seed = 7): Day {
  const next = random(seed);
  const below = (limit: number): number => Math.floor(next() * limit);
  const day: Day = { now, visits: [], requests: [], stored: 0, repeats: 0, heartbeats: 0 };
  const sent: { event: SentEvent; arrives: number }[] = [];
  let serial = 0;

  function play(
    identity: string,
    name: string,
    key: string | null,
    start: number,
    steps: number,
    ending: Visit['ending'],
  ): number {
    const visit: Visit = { identity, key, start, last: start, events: 0, errors: 0, pageViews: 0, ending };
    const agent = BROWSERS[below(BROWSERS.length)]!;
    let time = start;
    const say = (type: string, extra: Partial<SentEvent> = {}): void => {
      serial += 1;
      const event: SentEvent = {
        id: `day-${seed}-${serial}`,
        type,
        occurredAt: new Date(time).toISOString(),
        user: { identity, name },
        ...(key ? { sessionKey: key } : {}),
        ...extra,
      };
      visit.last = time;
      if (type === 'heartbeat') day.heartbeats += 1;
      else visit.events += 1;
      if (type === 'error') visit.errors += 1;
      if (type === 'page view') visit.pageViews += 1;
      // One in eight is late by up to half an hour of arrivals; one in twelve is sent twice.
      const arrives = time + (below(8) === 0 ? below(30) * MINUTE : 0);
      sent.push({ event, arrives });
      if (below(12) === 0) {
        sent.push({ event, arrives: arrives + below(60) * MINUTE });
        day.repeats += 1;
      }
    };
    for (let step = 0; step < steps; step += 1) {
      const kind = below(20);
      if (kind === 0) say('error', { message: `TypeError on page ${below(5)}`, source: 'shop.js' });
      else if (kind < 6) say('heartbeat');
      else say('page view', { source: PAGES[below(PAGES.length)]!, data: { '@request': { user_agent: agent } } });
      if (step < steps - 1) time += 5_000 + below(4 * MINUTE - 5_000);
    }
    if (ending === 'left') {
      time += 1_000;
      say('sessionend');
    }
    if (ending === 'there') {
      // Whoever is there has just been heard.
      time = now - 5_000 - below(20_000);
      say('heartbeat');
    }
    day.stored += visit.events;
    day.visits.push(visit);
    return visit.last;
  }

  for (let person = 0; person < 240; person += 1) {
    const identity = `person-${person}@example.com`;
    const name = `Person ${person}`;
    let time = now - 22 * HOUR + below(4 * HOUR);
    const visits = 1 + below(3);
    for (let visit = 0; visit < visits; visit += 1) {
      const steps = 6 + below(12);
      // Explicit ends are for the devices: an end that arrives late cannot be told from one that is due.
      time = play(identity, name, null, time, steps, 'silent') + 20 * MINUTE + below(3 * HOUR);
    }
    // Every fourth has a telephone as well, with a key of its own, used later in the day.
    if (person % 4 === 0)
      play(identity, name, `phone-${seed}-${person}`, now - 7 * HOUR + below(4 * HOUR), 5 + below(8), 'left');
    // Every sixth is there now: on the desk, on the telephone, or on both.
    if (person % 6 === 0) {
      const began = now - 4 * MINUTE;
      if (person % 12 === 0 || person % 18 === 0) play(identity, name, null, began, 1, 'there');
      if (person % 12 !== 0) play(identity, name, `tablet-${seed}-${person}`, began, 1, 'there');
    }
  }

  sent.sort((a, b) => a.arrives - b.arrives);
  for (let at = 0; at < sent.length;) {
    const size = 1 + below(60);
    day.requests.push(sent.slice(at, at + size).map(({ event }) => event));
    at += size;
  }
  return day;
}

const seconds = (visit: Visit): number => (visit.last - visit.start) / 1000;

/** The median and the 95th percentile as statisticians interpolate them. */
function percentile(sorted: readonly number[], fraction: number): number {
  const position = (sorted.length - 1) * fraction;
  const low = Math.floor(position);
  const high = Math.min(low + 1, sorted.length - 1);
  return sorted[low]! + (sorted[high]! - sorted[low]!) * (position - low);
}

/** The figures of the day, added up from its visits. */
export function figuresOf(day: Day) {
  const durations = day.visits.map(seconds).sort((a, b) => a - b);
  const hours = new Map<number, { sessions: number; users: Set<string> }>();
  for (const visit of day.visits) {
    const hour = visit.start - (visit.start % HOUR);
    const entry = hours.get(hour) ?? { sessions: 0, users: new Set<string>() };
    entry.sessions += 1;
    entry.users.add(visit.identity);
    hours.set(hour, entry);
  }
  const there = new Map<string, number>();
  for (const visit of day.visits)
    if (visit.ending === 'there') there.set(visit.identity, (there.get(visit.identity) ?? 0) + 1);
  return {
    sessions: day.visits.length,
    users: new Set(day.visits.map((visit) => visit.identity)).size,
    averageDuration: durations.reduce((sum, duration) => sum + duration, 0) / durations.length,
    medianDuration: percentile(durations, 0.5),
    p95Duration: percentile(durations, 0.95),
    sessionsWithErrors: day.visits.filter((visit) => visit.errors > 0).length,
    hours,
    /** Who is there now, on how many devices. */
    there,
  };
}
