import {
  SESSION_TEXTS,
  type SessionFilter as SessionFilterShape,
  type SessionOrder as SessionOrderShape,
} from '../domain/filters.js';
import type { Reach } from '../domain/access.js';
import { mergedSessions } from '../store/sessions/merged-sessions.js';
import {
  countSessions,
  firstSessions,
  listSessions,
  previousSessions,
  sessionPlace,
  sessionsByIds,
  type SessionPlace,
} from '../store/sessions/sessions.js';
import type { SessionRow } from '../store/rows.js';
import { builder } from './builder.js';
import type { Context } from './context.js';
import { checkFilterTexts, textInputs } from './filter-texts.js';
import { fromGlobalId } from './global-id.js';
import { loadBy } from './loaders.js';
import { Session, User } from './nouns.js';
import { pace } from './pace.js';
import { isUuid, toConnection, toPage, type ConnectionShape, type Paging, type PagingArgs } from './paging.js';
import { needs, projectCaller } from './scopes.js';
import { checkTimeRange } from './time-range.js';

const SessionStatus = builder.enumType('SessionStatus', {
  description: 'Whether a session is open.',
  values: {
    ACTIVE: { description: 'The session is open: it has not ended.' },
    ENDED: { description: 'The session has ended; endReason says why.' },
  },
});

const SessionEndReason = builder.enumType('SessionEndReason', {
  description: 'Why a session ended.',
  values: {
    CLIENT: { description: 'The client ended it with a sessionend event or a closing heartbeat.' },
    INACTIVITY: { description: 'The server closed it after inactivityTimeout seconds without activity.' },
    SUPERSEDED: { description: 'A new session of the same user took its place.' },
  },
});

const SessionStartReason = builder.enumType('SessionStartReason', {
  description: 'What began a session.',
  values: {
    FIRST_SEEN: {
      description:
        "The first that was heard of the user on this device, of the device if the session is nobody's, or of the key. Sessions that are no longer stored do not count.",
    },
    CLIENT: { description: 'A session event, whether or not it was the first that was heard.' },
    ACTIVITY: { description: 'An event or heartbeat after the session before had ended or fallen silent.' },
  },
});

const Software = builder.objectRef<{ name: string; version: string | null }>('Software').implement({
  description: 'A browser or an operating system, as the client names it.',
  fields: (t) => ({
    name: t.exposeString('name', { description: 'The name, e.g. Chrome.' }),
    version: t.exposeString('version', {
      nullable: true,
      description: 'The version; null if the client does not name one.',
    }),
  }),
});

const Location = builder
  .objectRef<{ country: string; region: string | null; city: string | null }>('Location')
  .implement({
    description: 'A place, looked up by IP address. It is not exact.',
    fields: (t) => ({
      country: t.exposeString('country', { description: 'The country as an ISO 3166-1 alpha-2 code, e.g. DE.' }),
      region: t.exposeString('region', {
        nullable: true,
        description: 'The state, the province or another part of the country.',
      }),
      city: t.exposeString('city', { nullable: true, description: 'The city.' }),
    }),
  });

builder.node(Session, {
  description: 'A session: the time from the arrival of a user until the user leaves, with its events.',
  id: { resolve: (session) => session.id, description: 'The id of the session.' },
  isTypeOf: (value) => typeof value === 'object' && value !== null && 'startedAt' in value,
  loadOne: (id, context) => loadSession(context, fromGlobalId('Session', id, 'id')),
  fields: (t) => ({
    key: t.exposeString('key', {
      nullable: true,
      description:
        'The name that a client gave the session (sessionKey); null if the server found the session by identity or device.',
    }),
    deviceId: t.exposeID('deviceId', {
      nullable: true,
      description: 'What the client calls the browser or machine (deviceId of its events); null if it does not say.',
    }),
    user: t.field({
      type: User,
      nullable: true,
      description: 'The user of the session; null until an event names a user.',
      resolve: ({ identity, userName }) => (identity === null ? null : { identity, name: userName }),
    }),
    status: t.field({
      type: SessionStatus,
      description: 'Whether the session is open.',
      resolve: ({ endedAt }) => (endedAt ? ('ENDED' as const) : ('ACTIVE' as const)),
    }),
    startedAt: t.expose('startedAt', {
      type: 'DateTime',
      description: 'When the first event of the session happened.',
    }),
    lastActivityAt: t.expose('lastActivityAt', {
      type: 'DateTime',
      description: 'When the latest event or heartbeat of the session happened.',
    }),
    endedAt: t.expose('endedAt', {
      type: 'DateTime',
      nullable: true,
      description: 'When the session ended; null while it is open.',
    }),
    endReason: t.expose('endReason', {
      type: SessionEndReason,
      nullable: true,
      description: 'Why the session ended; null while it is open.',
    }),
    startReason: t.field({
      type: SessionStartReason,
      description: 'What began the session.',
      resolve: async ({ id, explicitStart }, _args, context) => {
        if (explicitStart) return 'CLIENT' as const;
        const isFirst = await loadBy<string, boolean>(context, 'first session', id, async (ids, by) => {
          const first = await firstSessions(by.services.database, projectCaller(by).reach, ids);
          return ids.map((one) => first.has(one));
        });
        return isFirst ? ('FIRST_SEEN' as const) : ('ACTIVITY' as const);
      },
    }),
    previous: t.field({
      type: Session,
      nullable: true,
      description:
        "The user's session before this one, by its start, on whatever device; null if it is the first that is stored, or nobody's.",
      resolve: async ({ id, userId }, _args, context) => {
        if (userId === null) return null;
        const previous = await loadBy<string, SessionRow | null>(context, 'previous session', id, async (ids, by) => {
          const rows = await previousSessions(by.services.database, projectCaller(by).reach, ids);
          return ids.map((one) => rows.get(one) ?? null);
        });
        await pace(context, 1);
        return previous;
      },
    }),
    entrySource: t.exposeString('entrySource', {
      nullable: true,
      description:
        'Where the session was entered, e.g. the first page: the source of its first event that names one; null if none does.',
    }),
    exitSource: t.exposeString('exitSource', {
      nullable: true,
      description:
        'Where the session was last, e.g. the latest page: the source of its latest event that names one; null if none does.',
    }),
    duration: t.float({
      description: 'Seconds from startedAt to lastActivityAt.',
      resolve: ({ startedAt, lastActivityAt }) => (lastActivityAt.getTime() - startedAt.getTime()) / 1000,
    }),
    eventCount: t.exposeInt('eventCount', { description: 'Number of stored events of the session.' }),
    errorCount: t.exposeInt('errorCount', { description: 'Number of stored events of type error.' }),
    version: t.exposeString('version', { nullable: true, description: 'The version of the application.' }),
    browser: t.field({
      type: Software,
      nullable: true,
      description: 'The browser.',
      resolve: ({ browserName, browserVersion }) =>
        browserName === null ? null : { name: browserName, version: browserVersion },
    }),
    os: t.field({
      type: Software,
      nullable: true,
      description: 'The operating system.',
      resolve: ({ osName, osVersion }) => (osName === null ? null : { name: osName, version: osVersion }),
    }),
    device: t.exposeString('device', {
      nullable: true,
      description: 'The model of the device or, if that is not known, its kind, e.g. desktop.',
    }),
    ipAddress: t.exposeString('ipAddress', {
      nullable: true,
      description: 'The IP address of the user; null if the project does not store IP addresses.',
    }),
    isBot: t.exposeBoolean('isBot', {
      description:
        'Whether a bot sent the events: the user agent is that of a crawler or another program without a person.',
    }),
    location: t.field({
      type: Location,
      nullable: true,
      description: 'Where the user was, looked up by IP address; null if that is not known.',
      resolve: ({ country, region, city }) => (country === null ? null : { country, region, city }),
    }),
    data: t.expose('data', {
      type: 'JSONObject',
      description:
        'All data of the event that started the session, and @environment, @request and similar keys of the first events that have them.',
    }),
  }),
});

const TimeRange = builder.inputType('TimeRange', {
  description: 'A range of time. Each bound may be left out.',
  fields: (t) => ({
    from: t.field({ type: 'DateTime', description: 'The start of the range; this instant is included.' }),
    to: t.field({ type: 'DateTime', description: 'The end of the range; this instant is not included.' }),
  }),
});
export { TimeRange };

const FloatRange = builder.inputType('FloatRange', {
  description: 'A range of numbers; both bounds are included. Each bound may be left out.',
  fields: (t) => ({
    min: t.float({ description: 'The smallest number of the range.' }),
    max: t.float({ description: 'The largest number of the range.' }),
  }),
});

export const SessionFilter = builder.inputType('SessionFilter', {
  description: 'Selects sessions. All conditions must hold (AND); a list matches any of its values.',
  fields: (t) => ({
    identities: t.stringList({ description: 'Sessions of any of these users, by identity.' }),
    search: t.string({
      description:
        "Sessions whose key, user's identity or user's name contains this text; case does not matter. At most 1,000 characters.",
    }),
    status: t.field({ type: SessionStatus, description: 'Sessions with this status.' }),
    endReasons: t.field({ type: [SessionEndReason], description: 'Sessions that ended for any of these reasons.' }),
    startedAt: t.field({ type: TimeRange, description: 'Sessions that started in this range.' }),
    activeDuring: t.field({
      type: TimeRange,
      description: 'Sessions whose time from start to end overlaps this range. An open session has no end yet.',
    }),
    duration: t.field({ type: FloatRange, description: 'Sessions whose duration in seconds is in this range.' }),
    hasErrors: t.boolean({ description: 'True: sessions with an event of type error. False: sessions without one.' }),
    eventTypes: t.stringList({ description: 'Sessions with an event of any of these types.' }),
    ...textInputs(SESSION_TEXTS, (description) => t.stringList({ description })),
    deviceIds: t.idList({ description: 'Sessions on any of these devices, by what the client calls them (deviceId).' }),
    isBot: t.boolean({ description: 'True: sessions of bots. False: all other sessions.' }),
    dataContains: t.field({
      type: 'JSONObject',
      description: 'Sessions whose data contains this object (JSON containment). At most 16,384 characters as JSON.',
    }),
    userDataContains: t.field({
      type: 'JSONObject',
      description:
        'Sessions of users whose data contains this object (JSON containment). At most 16,384 characters as JSON.',
    }),
  }),
});

const SessionOrderField = builder.enumType('SessionOrderField', {
  description: 'The value that sessions are ordered by.',
  values: {
    STARTED_AT: { description: 'The start of the session (startedAt).' },
    LAST_ACTIVITY_AT: { description: 'The last activity of the session (lastActivityAt).' },
    DURATION: { description: 'The duration of the session, from its start to its last activity.' },
    EVENT_COUNT: { description: 'The number of stored events of the session (eventCount).' },
  },
});

export const OrderDirection = builder.enumType('OrderDirection', {
  description: 'The direction in which a list is ordered.',
  values: {
    ASC: { description: 'The smallest or oldest value first.' },
    DESC: { description: 'The largest or newest value first.' },
  },
});

const SessionOrder = builder.inputType('SessionOrder', {
  description: 'The order of sessions.',
  fields: (t) => ({
    field: t.field({
      type: SessionOrderField,
      required: true,
      defaultValue: 'STARTED_AT',
      description: 'The value to order by.',
    }),
    direction: t.field({
      type: OrderDirection,
      required: true,
      defaultValue: 'DESC',
      description: 'The direction of the order.',
    }),
  }),
});

export const SessionConnection = builder.connectionObject(
  { type: Session, name: 'SessionConnection', description: 'A page of sessions.' },
  { name: 'SessionEdge', description: 'A session in a page.' },
);

/**
 * The filter as the store takes it. `at`: its name among the arguments. Throws BAD_USER_INPUT if the filter has an invalid
 * time or a text that is too long.
 */
export function checkSessionFilter(
  filter: SessionFilterShape | null | undefined,
  at = 'filter',
): SessionFilterShape | null {
  if (!filter) return null;
  checkTimeRange(`${at}.startedAt`, filter.startedAt);
  checkTimeRange(`${at}.activeDuring`, filter.activeDuring);
  checkFilterTexts(filter, at);
  return filter;
}

const NEWEST_FIRST: SessionOrderShape = { field: 'STARTED_AT', direction: 'DESC' };

/** The values that the place in a cursor may have. Others would fail in Postgres when it compares them with a column. */
export const isInstant = (value: unknown): boolean =>
  typeof value === 'string' &&
  /^\d{4}-/.test(value) &&
  !Number.isNaN(Date.parse(value)) &&
  new Date(value).toISOString() === value;
const isCount = (value: unknown): boolean => Number.isInteger(value) && Math.abs(Number(value)) < 2 ** 31;
const isMilliseconds = (value: unknown): boolean => Number.isInteger(value) && Math.abs(Number(value)) < 1e14;
const IS_VALUE: Record<SessionOrderShape['field'], (value: unknown) => boolean> = {
  STARTED_AT: isInstant,
  LAST_ACTIVITY_AT: isInstant,
  DURATION: isMilliseconds,
  EVENT_COUNT: isCount,
};

const pagingOf = ({ field, direction }: SessionOrderShape): Paging<SessionPlace> => ({
  kind: `sessions ${field} ${direction}`,
  isPlace: (value): value is SessionPlace =>
    Array.isArray(value) && value.length === 2 && IS_VALUE[field](value[0]) && isUuid(value[1]),
});

/** A page of sessions as a connection, for Query.sessions and User.sessions. Throws BAD_USER_INPUT and INVALID_CURSOR. */
export async function sessionConnection(
  context: Context,
  reach: Reach,
  args: PagingArgs & { filter?: SessionFilterShape | null; orderBy?: SessionOrderShape | null },
): Promise<ConnectionShape<SessionRow>> {
  const { database } = context.services;
  const filter = checkSessionFilter(args.filter);
  const order = args.orderBy ?? NEWEST_FIRST;
  const paging = pagingOf(order);
  const page = toPage(paging, args);
  const rows = await listSessions(database, reach, filter, order, page);
  return toConnection(
    paging,
    page,
    rows,
    (row) => sessionPlace(row, order),
    () => countSessions(database, reach, filter),
  );
}

/**
 * The session with this UUID. If it was merged into another session, the other session (rule 27). Null if the caller's reach
 * has no such session. One statement reads all sessions that the request asks for at the same time.
 */
export async function loadSession(context: Context, id: string): Promise<SessionRow | null> {
  const session = await loadBy<string, SessionRow | null>(context, 'session', id, async (ids, by) => {
    const { database } = by.services;
    const { reach } = projectCaller(by);
    const byId = new Map((await sessionsByIds(database, reach, ids)).map((row) => [row.id, row]));
    const gone = ids.filter((one) => !byId.has(one));
    if (gone.length === 0) return ids.map((one) => byId.get(one)!);
    const merged = await becameOf(by, gone);
    const unread = merged.filter((one) => one !== null && !byId.has(one)) as string[];
    if (unread.length > 0) for (const row of await sessionsByIds(database, reach, unread)) byId.set(row.id, row);
    const became = new Map(gone.map((one, at) => [one, merged[at]]));
    return ids.map((one) => byId.get(one) ?? byId.get(became.get(one) ?? '') ?? null);
  });
  await pace(context, 1);
  return session;
}

/** The id of the session that each of these was merged into (rule 27); null for a session that was not merged. */
function becameOf(context: Context, ids: readonly string[]): Promise<(string | null)[]> {
  const load = (one: string): Promise<string | null> =>
    loadBy(context, 'merged session', one, async (all, by) => {
      const merged = await mergedSessions(by.services.database, projectCaller(by).reach, all);
      return all.map((id) => merged.get(id) ?? null);
    });
  return Promise.all(ids.map(load));
}

/**
 * The row ids (UUIDs) of these global ids. The ids of the sessions that some of them were merged into are added (rule 27).
 * `field` is the name of the argument. Throws BAD_USER_INPUT for an id that is not the id of a session.
 */
export async function sessionIdsOf(
  context: Context,
  globalIds: readonly string[] | null | undefined,
  field: string,
): Promise<string[] | null> {
  if (!globalIds) return null;
  const ids = globalIds.map((id) => fromGlobalId('Session', id, field));
  const became = await becameOf(context, ids);
  return [...ids, ...became.filter((id) => id !== null)];
}

builder.queryFields((t) => ({
  session: t.field({
    type: Session,
    nullable: true,
    description:
      'The session with this id; null if the project has no such session. If it was merged into another session, the other session. Needs READ.',
    ...needs('READ'),
    args: { id: t.arg.id({ required: true, description: 'The id of the session.' }) },
    resolve: (_root, { id }, context) => loadSession(context, fromGlobalId('Session', id, 'id')),
  }),
  sessions: t.connection(
    {
      type: Session,
      description: 'Sessions. Without orderBy, the newest first. Needs READ.',
      ...needs('READ'),
      args: {
        filter: t.arg({ type: SessionFilter, description: 'Which sessions to list.' }),
        orderBy: t.arg({ type: SessionOrder, description: 'The order of the list.' }),
      },
      resolve: (_root, args, context) => sessionConnection(context, projectCaller(context).reach, args),
    },
    SessionConnection,
  ),
}));
