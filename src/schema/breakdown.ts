import { EVENT_DIMENSIONS, SESSION_DIMENSIONS, type Dimension } from '../domain/breakdown.js';
import type { Breakdown as BreakdownShape, BreakdownGroup as GroupShape } from '../store/sessions/breakdown.js';
import { readSummedEventBreakdown } from '../store/sessions/summed-event-stats.js';
import { readSummedBreakdown } from '../store/sessions/summed-stats.js';
import { builder } from './builder.js';
import { checkEventFilter, EventFilter } from './event.js';
import { checkCount } from './paging.js';
import { needs, projectCaller } from './scopes.js';
import { checkSessionFilter, SessionFilter } from './session.js';
import { READS } from './statistics.js';

const valuesOf = <Name extends string>(dimensions: Readonly<Record<Name, Dimension>>) =>
  Object.fromEntries(
    Object.entries<Dimension>(dimensions).map(([name, { description }]) => [name, { description }]),
  ) as Record<Name, { description: string }>;

const SessionDimension = builder.enumType('SessionDimension', {
  description: 'What sessions are grouped by.',
  values: valuesOf(SESSION_DIMENSIONS),
});

const EventDimension = builder.enumType('EventDimension', {
  description: 'What events are grouped by.',
  values: valuesOf(EVENT_DIMENSIONS),
});

const BreakdownGroup = builder.objectRef<GroupShape>('BreakdownGroup').implement({
  description: 'Sessions or events that have the same value.',
  fields: (t) => ({
    value: t.exposeString('value', { nullable: true, description: 'The value; null for those that have none.' }),
    count: t.exposeInt('count', { description: 'Number of sessions or events.' }),
    users: t.exposeInt('users', {
      description:
        'Number of different users of these sessions, or that these events name. It may be an estimate, as `SessionTotals.users` and `EventStats.users`.',
    }),
    averageDuration: t.exposeFloat('averageDuration', {
      nullable: true,
      description: 'The mean duration of these sessions in seconds; null for events.',
    }),
  }),
});

const Breakdown = builder.objectRef<BreakdownShape>('Breakdown').implement({
  description: 'Sessions or events, counted by what they have in common.',
  fields: (t) => ({
    groups: t.field({
      type: [BreakdownGroup],
      description: 'The groups, the largest first; groups of the same size by their values. At most `first`.',
      resolve: ({ groups }) => [...groups],
    }),
    totalCount: t.exposeInt('totalCount', {
      description:
        'The sum of the counts of all groups, those beyond `first` too. It is the number of sessions or events; by TAG, an event with several tags counts once for each.',
      // It comes with the groups.
      extensions: { counts: 0 },
    }),
  }),
});

const FIRST = 'The most groups, 0 to 100.';

builder.queryFields((t) => ({
  sessionBreakdown: t.field({
    type: Breakdown,
    description: 'Sessions, counted by what they have in common. Needs READ.',
    extensions: { ...needs('READ').extensions, reads: READS },
    args: {
      by: t.arg({ type: SessionDimension, required: true, description: 'What to group by.' }),
      filter: t.arg({ type: SessionFilter, description: 'Which sessions to count.' }),
      first: t.arg.int({ required: true, defaultValue: 10, description: FIRST }),
    },
    resolve: (_root, { by, filter, first }, context) =>
      readSummedBreakdown(
        context.services.database,
        projectCaller(context).reach,
        by,
        checkSessionFilter(filter),
        checkCount('first', first),
      ),
  }),
  eventBreakdown: t.field({
    type: Breakdown,
    description: 'Events, counted by what they have in common. Needs READ.',
    extensions: { ...needs('READ').extensions, reads: READS },
    args: {
      by: t.arg({ type: EventDimension, required: true, description: 'What to group by.' }),
      filter: t.arg({ type: EventFilter, description: 'Which events to count.' }),
      first: t.arg.int({ required: true, defaultValue: 10, description: FIRST }),
    },
    resolve: async (_root, { by, filter, first }, context) => {
      const checked = checkCount('first', first);
      return readSummedEventBreakdown(
        context.services.database,
        projectCaller(context).reach,
        by,
        await checkEventFilter(context, filter),
        checked,
      );
    },
  }),
}));
