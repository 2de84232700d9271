import { AppError } from '../errors.js';
import {
  readSeries,
  readTotals,
  type SessionStatsPoint as PointShape,
  type SessionTotals as TotalsShape,
  type TimeInterval as IntervalShape,
} from '../store/session-stats.js';
import { builder } from './builder.js';
import { needs, projectCaller } from './scopes.js';
import { checkSessionFilter, SessionFilter } from './session.js';

const TimeInterval = builder.enumType('TimeInterval', {
  description: 'How long each interval of a series is, in UTC.',
  values: {
    MINUTE: { description: 'A minute.' },
    HOUR: { description: 'An hour.' },
    DAY: { description: 'A day.' },
    WEEK: { description: 'A week, from Monday.' },
    MONTH: { description: 'A month of the calendar.' },
  },
});

const SessionTotals = builder.objectRef<TotalsShape>('SessionTotals').implement({
  description: 'All matching sessions, added up. Durations are in seconds and null where there is no session.',
  fields: (t) => ({
    sessions: t.exposeInt('sessions', { description: 'How many sessions.' }),
    users: t.exposeInt('users', { description: 'How many different users had them.' }),
    averageDuration: t.exposeFloat('averageDuration', { nullable: true, description: 'The mean duration.' }),
    medianDuration: t.exposeFloat('medianDuration', { nullable: true, description: 'Half of them lasted no longer.' }),
    p95Duration: t.exposeFloat('p95Duration', { nullable: true, description: '95 of a hundred lasted no longer.' }),
    sessionsWithErrors: t.exposeInt('sessionsWithErrors', { description: 'Those with at least one error.' }),
  }),
});

const SessionStatsPoint = builder.objectRef<PointShape>('SessionStatsPoint').implement({
  description: 'The sessions that started in one interval.',
  fields: (t) => ({
    at: t.expose('at', { type: 'DateTime', description: 'Start of the interval.' }),
    sessions: t.exposeInt('sessions', { description: 'How many sessions.' }),
    users: t.exposeInt('users', { description: 'How many different users had them.' }),
    averageDuration: t.exposeFloat('averageDuration', {
      nullable: true,
      description: 'Their mean duration in seconds.',
    }),
  }),
});

const SessionStats = builder
  .objectRef<{ totals: TotalsShape; series: () => Promise<PointShape[]> }>('SessionStats')
  .implement({
    description: 'Figures of sessions, in total and over time.',
    fields: (t) => ({
      totals: t.field({ type: SessionTotals, description: 'Of the whole range.', resolve: ({ totals }) => totals }),
      series: t.field({
        type: [SessionStatsPoint],
        description: 'Every interval of the range, the empty ones too.',
        resolve: ({ series }) => series(),
      }),
    }),
  });

const MOST_POINTS = 1_500;
const LENGTHS: Record<IntervalShape, number> = {
  MINUTE: 60_000,
  HOUR: 3_600_000,
  DAY: 86_400_000,
  WEEK: 7 * 86_400_000,
  MONTH: 28 * 86_400_000,
};

function checkPoints(interval: IntervalShape, from: Date, to: Date): void {
  const points = (length: number): number => (to.getTime() - from.getTime()) / length + 1;
  if (points(LENGTHS[interval]) <= MOST_POINTS) return;
  const fitting = Object.entries(LENGTHS).find(([, length]) => points(length) <= MOST_POINTS);
  const advice = fitting ? `with ${fitting[0]} it fits` : 'narrow filter.startedAt';
  throw new AppError(
    'TOO_MANY_INTERVALS',
    `The range has more than ${MOST_POINTS} intervals of a ${interval}; ${advice}.`,
    { field: 'interval' },
  );
}

builder.queryField('sessionStats', (t) =>
  t.field({
    type: SessionStats,
    description:
      'Sessions counted and measured, by the time they started. The range is filter.startedAt; without `from` it begins with the earliest matching session, without `to` it ends now. Needs READ.',
    ...needs('READ'),
    args: {
      filter: t.arg({ type: SessionFilter, description: 'Which sessions.' }),
      interval: t.arg({
        type: TimeInterval,
        required: true,
        defaultValue: 'HOUR',
        description: 'How long each interval is: at most 1,500 of them.',
      }),
    },
    resolve: async (_root, { filter: given, interval }, context) => {
      const { database, clock } = context.services;
      const { reach } = projectCaller(context);
      const filter = checkSessionFilter(given);
      const to = filter?.startedAt?.to ?? clock.now();
      if (filter?.startedAt?.from) checkPoints(interval, filter.startedAt.from, to);
      const totals = await readTotals(database, reach, filter);
      return {
        totals,
        series: async () => {
          const from = filter?.startedAt?.from ?? totals.earliest;
          if (!from || from >= to) return [];
          checkPoints(interval, from, to);
          return readSeries(database, reach, filter, interval, from, to);
        },
      };
    },
  }),
);
