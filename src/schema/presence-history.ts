import { AppError } from '../errors.js';
import {
  MOST_OWN_CHANGES,
  readConcurrency,
  type Concurrency as ConcurrencyShape,
  type ConcurrencyPoint as PointShape,
} from '../store/presence/concurrency.js';
import {
  countPresenceHistory,
  firstPresenceChange,
  listPresenceHistory,
  MOST_COUNTED,
  presenceChangesByIds,
  type PresenceChangeRow,
} from '../store/presence/presence-history.js';
import { builder } from './builder.js';
import type { Context } from './context.js';
import { fromGlobalId } from './global-id.js';
import { Change, PresenceChange, Session } from './nouns.js';
import { isUuid, toConnection, toPage, type Paging } from './paging.js';
import { keptSince, PresenceStatus } from './presence.js';
import { needs, projectCaller } from './scopes.js';
import { loadSession, TimeRange } from './session.js';
import { checkPoints, checkTimeZone, INTERVAL, TIME_ZONE, TimeInterval } from './time-interval.js';
import { checkTimeRange } from './time-range.js';

const PresenceCause = builder.enumType('PresenceCause', {
  description: 'Why the presence of a user changed.',
  values: {
    STARTED: { description: 'A session began.' },
    HEARD: { description: 'A silent session was heard again, or the timeouts of the project were made longer.' },
    ENDED: { description: 'A session ended by an end or a closing heartbeat, or became part of another session.' },
    LAPSED: { description: 'No heartbeat came for presenceTimeout seconds.' },
    CLOSED: { description: 'No activity came for inactivityTimeout seconds.' },
    ERASED: {
      description: 'The user was erased. The server keeps no such change, because it keeps nothing of the user.',
    },
  },
});

async function findChange(context: Context, id: string): Promise<PresenceChangeRow | null> {
  const [row] = await presenceChangesByIds(context.services.database, projectCaller(context).reach, [id]);
  return row ?? null;
}

builder.node(PresenceChange, {
  description:
    'A user came or left, or a device (session) of the user did. It says what subscribers were told, at the same instant.',
  id: { resolve: ({ id }) => id, description: 'The id of the change.' },
  isTypeOf: (value) => typeof value === 'object' && value !== null && 'cause' in value,
  interfaces: [Change],
  loadOne: (id, context) => findChange(context, fromGlobalId('PresenceChange', id, 'id')),
  fields: (t) => ({
    at: t.expose('at', { type: 'DateTime', description: 'When it was.' }),
    identity: t.exposeString('identity', { description: 'The identity of the user.' }),
    status: t.field({
      type: PresenceStatus,
      description: 'Whether the user was online after the change.',
      resolve: ({ onlineSessions }) => (onlineSessions > 0 ? ('ONLINE' as const) : ('OFFLINE' as const)),
    }),
    onlineSessions: t.exposeInt('onlineSessions', {
      description:
        'How many sessions of the user counted as online after the change. The number stays if a session took the place of another.',
    }),
    cause: t.expose('cause', { type: PresenceCause, description: 'Why it changed.' }),
    session: t.field({
      type: Session,
      nullable: true,
      description:
        'The session that caused it; of several the one of the latest activity. If it was merged into another session, the other session. Null if it is not kept any more.',
      resolve: ({ sessionId }, _args, context) => (sessionId === null ? null : loadSession(context, sessionId)),
    }),
  }),
});

const PresenceChangeConnection = builder.connectionObject(
  { type: PresenceChange, name: 'PresenceChangeConnection', description: 'A page of changes of presence.' },
  { name: 'PresenceChangeEdge', description: 'A change of presence in a page.' },
);

const NEWEST_FIRST: Paging<string> = { kind: 'presence history', isPlace: isUuid };

builder.queryField('presenceHistory', (t) =>
  t.connection(
    {
      type: PresenceChange,
      description: `When users came and went, the newest first: what subscribers of userPresence were told, except new names, and also sessions that took the place of others. The server keeps it as long as the project keeps sessions (retentionDays). totalCount is at most ${MOST_COUNTED.toLocaleString('en')}. Needs READ.`,
      ...needs('READ'),
      args: {
        identities: t.arg.stringList({ description: 'Only changes of these users, by identity.' }),
        range: t.arg({ type: TimeRange, description: 'Only changes in this range.' }),
      },
      resolve: async (_root, args, context) => {
        const { database } = context.services;
        const { reach } = projectCaller(context);
        const filter = { identities: args.identities ?? null, range: checkTimeRange('range', args.range) };
        const page = toPage(NEWEST_FIRST, args);
        // Of each of these users as many changes are read as the page has.
        const users = filter.identities ?? reach.userIds;
        if (users) await context.charge(users.length * page.limit);
        const rows = await listPresenceHistory(database, reach, filter, page);
        return toConnection(
          NEWEST_FIRST,
          page,
          rows,
          ({ id }) => id,
          () => countPresenceHistory(database, reach, filter),
        );
      },
    },
    PresenceChangeConnection,
  ),
);

const ConcurrencyPoint = builder.objectRef<PointShape>('ConcurrencyPoint').implement({
  description: 'How many users were online in one interval.',
  fields: (t) => ({
    at: t.expose('at', { type: 'DateTime', description: 'The start of the interval.' }),
    peak: t.exposeInt('peak', { description: 'The most users that were online at once in the interval.' }),
    average: t.exposeFloat('average', {
      description:
        'The mean number of users online, over the part of the interval that is in the range and has passed.',
    }),
  }),
});

const Concurrency = builder.objectRef<ConcurrencyShape>('Concurrency').implement({
  description: 'How many users were online at once: at most, and over time.',
  fields: (t) => ({
    peak: t.exposeInt('peak', { description: 'The most users that were online at once in the range.' }),
    peakAt: t.expose('peakAt', {
      type: 'DateTime',
      nullable: true,
      description: 'When so many users were online first. Null if nobody was online in the range.',
    }),
    series: t.field({
      type: [ConcurrencyPoint],
      description:
        'One point for each interval of the range, also for an interval in which nobody was online. Intervals of the future, and of the time that is not kept any more, are left out.',
      resolve: ({ series }) => [...series],
    }),
  }),
});

/** The price of the figures, in rows; and how many minutes are read for the price of one row more. */
const READS = 1_000;
const MINUTES_A_ROW = 50;
const MINUTE = 60_000;
/** How far a range may go back. A year of minutes, each with a change, takes Postgres 1.5 s. */
const MOST_DAYS = 730;
const NOTHING: ConcurrencyShape = { peak: 0, peakAt: null, series: [] };

builder.queryField('concurrency', (t) =>
  t.field({
    type: Concurrency,
    description: `How many users were online at once. A user with several devices is one user. Erased users are not counted. With a token that is limited to certain users, only these are counted, and they may have at most ${MOST_OWN_CHANGES.toLocaleString('en')} changes since the start of the range. Needs READ.`,
    extensions: { ...needs('READ').extensions, reads: READS },
    args: {
      range: t.arg({
        type: TimeRange,
        required: true,
        description:
          'The range: it goes back 730 days at most. Without `from` it begins with the first change of presence that is kept; without `to` it ends now.',
      }),
      interval: t.arg({
        type: TimeInterval,
        required: true,
        defaultValue: 'HOUR',
        description: INTERVAL,
      }),
      timeZone: t.arg.string({
        required: true,
        defaultValue: 'UTC',
        description: TIME_ZONE,
      }),
    },
    resolve: async (_root, { range: given, interval, timeZone: zone }, context) => {
      const { database, clock } = context.services;
      const { reach } = projectCaller(context);
      const range = checkTimeRange('range', given)!;
      const timeZone = checkTimeZone(zone);
      const now = clock.now();
      const to = new Date(Math.min(now.getTime(), range.to?.getTime() ?? Infinity));
      if (range.from) checkPoints(interval, range.from, to, 'range');
      const kept = await keptSince(context, now);
      const begin = range.from ?? (await firstPresenceChange(database, reach));
      if (!begin) return NOTHING;
      const from = new Date(Math.max(begin.getTime(), kept?.getTime() ?? 0));
      if (from >= to) return NOTHING;
      if (now.getTime() - from.getTime() > MOST_DAYS * 1_440 * MINUTE)
        throw new AppError('BAD_USER_INPUT', `range.from is more than ${MOST_DAYS} days ago. Give a later one.`, {
          field: 'range.from',
        });
      checkPoints(interval, from, to, 'range');
      // The line is counted back from now.
      await context.charge(Math.ceil((now.getTime() - from.getTime()) / MINUTE / MINUTES_A_ROW));
      return readConcurrency(database, reach, { from, to, interval, timeZone });
    },
  }),
);
