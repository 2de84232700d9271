import type { TimeRange } from '../domain/filters.js';
import type { EventStatsPoint as EventPointShape, EventTotals } from '../store/sessions/event-stats.js';
import type { SessionStatsPoint as PointShape, SessionTotals as TotalsShape } from '../store/sessions/session-stats.js';
import { readSummedEventSeries, readSummedEventTotals } from '../store/sessions/summed-event-stats.js';
import { readSummedSeries, readSummedTotals } from '../store/sessions/summed-stats.js';
import type { SeriesRange } from '../store/intervals.js';
import { builder } from './builder.js';
import { checkEventFilter, EventFilter } from './event.js';
import { needs, projectCaller } from './scopes.js';
import { checkSessionFilter, SessionFilter } from './session.js';
import { checkPoints, checkTimeZone, INTERVAL, TIME_ZONE, TimeInterval } from './time-interval.js';

/** What the descriptions say of numbers that come from stored sums. */
const estimatedUsers = (counted: string): string =>
  `If the filter has no condition but the range, and the range has more than 10,000 ${counted}, a number above 255 may be an estimate, with a standard error of 2 %.`;
const ESTIMATED_USERS = estimatedUsers('sessions');
const ESTIMATED_EVENT_USERS = estimatedUsers('events');
const ESTIMATED_DURATION =
  'If the filter has no condition but the range, and the range has more than 10,000 sessions, it may differ by up to 1 %.';

const SessionTotals = builder.objectRef<TotalsShape>('SessionTotals').implement({
  description: 'Figures of all matching sessions together. Durations are in seconds, and null if no session matches.',
  fields: (t) => ({
    sessions: t.exposeInt('sessions', { description: 'Number of sessions.' }),
    users: t.exposeInt('users', {
      description: `Number of different users of these sessions. ${ESTIMATED_USERS}`,
    }),
    averageDuration: t.exposeFloat('averageDuration', { nullable: true, description: 'The mean duration.' }),
    medianDuration: t.exposeFloat('medianDuration', {
      nullable: true,
      description: `The median of the durations. ${ESTIMATED_DURATION}`,
    }),
    p95Duration: t.exposeFloat('p95Duration', {
      nullable: true,
      description: `The 95th percentile of the durations. ${ESTIMATED_DURATION}`,
    }),
    sessionsWithErrors: t.exposeInt('sessionsWithErrors', {
      description: 'Number of sessions with at least one event of type error.',
    }),
  }),
});

const SessionStatsPoint = builder.objectRef<PointShape>('SessionStatsPoint').implement({
  description: 'The sessions that started in one interval.',
  fields: (t) => ({
    at: t.expose('at', { type: 'DateTime', description: 'The start of the interval.' }),
    sessions: t.exposeInt('sessions', { description: 'Number of sessions.' }),
    users: t.exposeInt('users', {
      description: `Number of different users of these sessions. ${ESTIMATED_USERS}`,
    }),
    averageDuration: t.exposeFloat('averageDuration', {
      nullable: true,
      description: 'The mean duration of these sessions in seconds; null if the interval has no session.',
    }),
  }),
});

/** The cost, in rows, of each statement that reads all matching sessions or events. */
export const READS = 1_000;

const SessionStats = builder
  .objectRef<{ totals: () => Promise<TotalsShape>; series: () => Promise<PointShape[]> }>('SessionStats')
  .implement({
    description: 'Figures of sessions: in total, and over time.',
    fields: (t) => ({
      totals: t.field({
        type: SessionTotals,
        description: 'The figures of the whole range.',
        resolve: ({ totals }) => totals(),
      }),
      series: t.field({
        type: [SessionStatsPoint],
        description: 'One point for each interval of the range, also for an interval without sessions.',
        extensions: { reads: READS },
        resolve: ({ series }) => series(),
      }),
    }),
  });

const EventStatsPoint = builder.objectRef<EventPointShape>('EventStatsPoint').implement({
  description: 'The events that happened in one interval.',
  fields: (t) => ({
    at: t.expose('at', { type: 'DateTime', description: 'The start of the interval.' }),
    events: t.exposeInt('events', { description: 'Number of events.' }),
    users: t.exposeInt('users', {
      description: `Number of different users that these events name. ${ESTIMATED_EVENT_USERS}`,
    }),
  }),
});

const EventStats = builder
  .objectRef<{ totals: () => Promise<EventTotals>; series: () => Promise<EventPointShape[]> }>('EventStats')
  .implement({
    description: 'Figures of events: in total, and over time.',
    fields: (t) => ({
      series: t.field({
        type: [EventStatsPoint],
        description: 'One point for each interval of the range, also for an interval without events.',
        extensions: { reads: READS },
        resolve: ({ series }) => series(),
      }),
      total: t.int({
        description: 'Number of events in the whole range.',
        resolve: async ({ totals }) => (await totals()).total,
      }),
      users: t.int({
        description: `Number of different users that the events of the whole range name. ${ESTIMATED_EVENT_USERS}`,
        resolve: async ({ totals }) => (await totals()).users,
      }),
    }),
  });

/** Reads once, when it is first asked for: several fields of an answer come from the same statement. */
function once<Result>(read: () => Promise<Result>): () => Promise<Result> {
  let reading: Promise<Result> | undefined;
  return () => (reading ??= read());
}

/**
 * The range of a series: from the filter or, if it has no start, from the earliest of what matches. Null: there is nothing in it. The
 * number of intervals is checked before anything is read.
 */
function rangeOf(
  range: TimeRange | null | undefined,
  now: Date,
  { interval, timeZone }: { interval: SeriesRange['interval']; timeZone: string },
  field: string,
): (earliest: () => Promise<Date | null>) => Promise<SeriesRange | null> {
  const to = range?.to ?? now;
  if (range?.from) checkPoints(interval, range.from, to, field);
  checkTimeZone(timeZone);
  return async (earliest) => {
    const from = range?.from ?? (await earliest());
    if (!from || from >= to) return null;
    checkPoints(interval, from, to, field);
    return { from, to, interval, timeZone };
  };
}

builder.queryFields((t) => ({
  sessionStats: t.field({
    type: SessionStats,
    description:
      'Figures of sessions, by the time at which they started. The range is filter.startedAt. Without `from` it begins with the earliest matching session; without `to` it ends now. Needs READ.',
    extensions: { ...needs('READ').extensions, reads: READS },
    args: {
      filter: t.arg({ type: SessionFilter, description: 'Which sessions to count.' }),
      interval: t.arg({ type: TimeInterval, required: true, defaultValue: 'HOUR', description: INTERVAL }),
      timeZone: t.arg.string({ required: true, defaultValue: 'UTC', description: TIME_ZONE }),
    },
    resolve: (_root, { filter: given, ...args }, context) => {
      const { database, clock } = context.services;
      const { reach } = projectCaller(context);
      const filter = checkSessionFilter(given);
      const rangeFrom = rangeOf(filter?.startedAt, clock.now(), args, 'filter.startedAt');
      const totals = once(() => readSummedTotals(database, reach, filter));
      return {
        totals,
        series: async () => {
          const range = await rangeFrom(async () => (await totals()).earliest);
          return range ? readSummedSeries(database, reach, filter, range) : [];
        },
      };
    },
  }),
  eventStats: t.field({
    type: EventStats,
    description:
      'Figures of events, by the time at which they happened. The range is filter.occurredAt. Without `from` it begins with the earliest matching event; without `to` it ends now. Needs READ.',
    extensions: { ...needs('READ').extensions, reads: READS },
    args: {
      filter: t.arg({ type: EventFilter, description: 'Which events to count.' }),
      interval: t.arg({ type: TimeInterval, required: true, defaultValue: 'HOUR', description: INTERVAL }),
      timeZone: t.arg.string({ required: true, defaultValue: 'UTC', description: TIME_ZONE }),
    },
    resolve: async (_root, { filter: given, ...args }, context) => {
      const { database, clock } = context.services;
      const { reach } = projectCaller(context);
      const filter = await checkEventFilter(context, given);
      const rangeFrom = rangeOf(filter?.occurredAt, clock.now(), args, 'filter.occurredAt');
      const totals = once(() => readSummedEventTotals(database, reach, filter));
      return {
        totals,
        series: async () => {
          const range = await rangeFrom(async () => (await totals()).earliest);
          return range ? readSummedEventSeries(database, reach, filter, range) : [];
        },
      };
    },
  }),
}));
