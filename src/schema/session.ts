import type { SessionFilter as SessionFilterShape, SessionOrder as SessionOrderShape } from '../domain/filters.js';
import type { Reach } from '../domain/access.js';
import { mergedSessions } from '../store/merged-sessions.js';
import { countSessions, listSessions, sessionPlace, sessionsByIds, type SessionPlace } from '../store/sessions.js';
import type { SessionRow } from '../store/rows.js';
import { builder } from './builder.js';
import type { Context } from './context.js';
import { fromGlobalId } from './global-id.js';
import { loaderOf } from './loaders.js';
import { Session, User } from './nouns.js';
import { isUuid, toConnection, toPage, type ConnectionShape, type Paging, type PagingArgs } from './paging.js';
import { needs, projectCaller } from './scopes.js';
import { checkTimeRange } from './time-range.js';

const SessionStatus = builder.enumType('SessionStatus', {
  description: 'Whether a session goes on.',
  values: {
    ACTIVE: { description: 'It has not ended.' },
    ENDED: { description: 'It has ended; endReason says why.' },
  },
});

const SessionEndReason = builder.enumType('SessionEndReason', {
  description: 'Why a session ended.',
  values: {
    CLIENT: { description: 'A sessionend event or a closing heartbeat.' },
    INACTIVITY: { description: 'Closed after inactivityTimeout without activity.' },
    SUPERSEDED: { description: 'A new session of the same user started.' },
  },
});

const Software = builder.objectRef<{ name: string; version: string | null }>('Software').implement({
  description: 'A program or system, as the client names it.',
  fields: (t) => ({
    name: t.exposeString('name', { description: 'Its name, e.g. Chrome.' }),
    version: t.exposeString('version', { nullable: true, description: 'Its version, where the client says.' }),
  }),
});

const Location = builder
  .objectRef<{ country: string; region: string | null; city: string | null }>('Location')
  .implement({
    description: 'A place, as well as an IP address tells it.',
    fields: (t) => ({
      country: t.exposeString('country', { description: 'ISO 3166-1 alpha-2, e.g. DE.' }),
      region: t.exposeString('region', { nullable: true, description: 'State, province or the like.' }),
      city: t.exposeString('city', { nullable: true, description: 'City.' }),
    }),
  });

builder.node(Session, {
  description: 'What one user did between arriving and leaving.',
  id: { resolve: (session) => session.id, description: 'The id of the session.' },
  isTypeOf: (value) => typeof value === 'object' && value !== null && 'startedAt' in value,
  loadOne: (id, context) => loadSession(context, fromGlobalId('Session', id, 'id')),
  fields: (t) => ({
    key: t.exposeString('key', {
      nullable: true,
      description: 'The key a client named it by; null for a session found by identity.',
    }),
    user: t.field({
      type: User,
      nullable: true,
      description: 'Whose it is; null where no event has said.',
      resolve: ({ identity, userName }) => (identity === null ? null : { identity, name: userName }),
    }),
    status: t.field({
      type: SessionStatus,
      description: 'Whether it goes on.',
      resolve: ({ endedAt }) => (endedAt ? ('ENDED' as const) : ('ACTIVE' as const)),
    }),
    startedAt: t.expose('startedAt', { type: 'DateTime', description: 'When its first event happened.' }),
    lastActivityAt: t.expose('lastActivityAt', {
      type: 'DateTime',
      description: 'When its latest event or heartbeat happened.',
    }),
    endedAt: t.expose('endedAt', {
      type: 'DateTime',
      nullable: true,
      description: 'When it ended; null while it goes on.',
    }),
    endReason: t.expose('endReason', {
      type: SessionEndReason,
      nullable: true,
      description: 'Why it ended; null while it goes on.',
    }),
    duration: t.float({
      description: 'Seconds from its start to its last activity.',
      resolve: ({ startedAt, lastActivityAt }) => (lastActivityAt.getTime() - startedAt.getTime()) / 1000,
    }),
    eventCount: t.exposeInt('eventCount', { description: 'Its stored events.' }),
    errorCount: t.exposeInt('errorCount', { description: 'Those of type error.' }),
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
      description: 'The device: its model, or its kind, e.g. desktop.',
    }),
    ipAddress: t.exposeString('ipAddress', {
      nullable: true,
      description: 'The address, where the project keeps addresses.',
    }),
    isBot: t.exposeBoolean('isBot', {
      description: 'Whether its user agent is that of a crawler or another program without a person.',
    }),
    location: t.field({
      type: Location,
      nullable: true,
      description: 'Where it came from, by its address; null where that is not known.',
      resolve: ({ country, region, city }) => (country === null ? null : { country, region, city }),
    }),
    data: t.expose('data', {
      type: 'JSONObject',
      description: '@environment, @request and the like, from its first events; and all that came with its start.',
    }),
  }),
});

const TimeRange = builder.inputType('TimeRange', {
  description: 'A stretch of time; either bound may be left out.',
  fields: (t) => ({
    from: t.field({ type: 'DateTime', description: 'Included.' }),
    to: t.field({ type: 'DateTime', description: 'Not included.' }),
  }),
});
export { TimeRange };

const FloatRange = builder.inputType('FloatRange', {
  description: 'A stretch of numbers, bounds included; either may be left out.',
  fields: (t) => ({
    min: t.float({ description: 'At least.' }),
    max: t.float({ description: 'At most.' }),
  }),
});

export const SessionFilter = builder.inputType('SessionFilter', {
  description: 'Which sessions. Conditions are joined with AND; a list means any of these.',
  fields: (t) => ({
    identities: t.stringList({ description: 'Of these users.' }),
    search: t.string({ description: 'Part of the identity, the name or the key, ignoring case.' }),
    status: t.field({ type: SessionStatus, description: 'Going on, or ended.' }),
    endReasons: t.field({ type: [SessionEndReason], description: 'Ended for one of these reasons.' }),
    startedAt: t.field({ type: TimeRange, description: 'Started then.' }),
    activeDuring: t.field({ type: TimeRange, description: 'Whose life overlaps the range: who was online then.' }),
    duration: t.field({ type: FloatRange, description: 'Lasting so long, in seconds.' }),
    hasErrors: t.boolean({ description: 'With errors, or without.' }),
    eventTypes: t.stringList({ description: 'Holding an event of any of these types.' }),
    versions: t.stringList({ description: 'Of these versions of the application.' }),
    browsers: t.stringList({ description: 'In these browsers, by name.' }),
    operatingSystems: t.stringList({ description: 'On these operating systems, by name.' }),
    devices: t.stringList({ description: 'On these devices.' }),
    ipAddresses: t.stringList({ description: 'From these addresses.' }),
    countries: t.stringList({ description: 'From these countries: ISO 3166-1 alpha-2 codes.' }),
    isBot: t.boolean({ description: 'Of bots, or of people.' }),
    dataContains: t.field({ type: 'JSONObject', description: 'Whose data contains this (JSON containment).' }),
  }),
});

const SessionOrderField = builder.enumType('SessionOrderField', {
  description: 'What sessions are ordered by.',
  values: {
    STARTED_AT: { description: 'Their start.' },
    LAST_ACTIVITY_AT: { description: 'Their last activity.' },
    DURATION: { description: 'How long they lasted, or have lasted.' },
    EVENT_COUNT: { description: 'How many events they hold.' },
  },
});

const OrderDirection = builder.enumType('OrderDirection', {
  description: 'Which way a list is ordered.',
  values: { ASC: { description: 'The smallest first.' }, DESC: { description: 'The largest first.' } },
});

const SessionOrder = builder.inputType('SessionOrder', {
  description: 'How sessions are ordered.',
  fields: (t) => ({
    field: t.field({ type: SessionOrderField, required: true, defaultValue: 'STARTED_AT', description: 'By what.' }),
    direction: t.field({ type: OrderDirection, required: true, defaultValue: 'DESC', description: 'Which way.' }),
  }),
});

export const SessionConnection = builder.connectionObject(
  { type: Session, name: 'SessionConnection', description: 'A page of sessions.' },
  { name: 'SessionEdge', description: 'A session in a page.' },
);

/** The filter as the store takes it. BAD_USER_INPUT where a time in it is no instant. */
export function checkSessionFilter(filter: SessionFilterShape | null | undefined): SessionFilterShape | null {
  if (!filter) return null;
  checkTimeRange('filter.startedAt', filter.startedAt);
  checkTimeRange('filter.activeDuring', filter.activeDuring);
  return filter;
}

const NEWEST_FIRST: SessionOrderShape = { field: 'STARTED_AT', direction: 'DESC' };

/** What a place's value may be: no more than the database can compare with. */
const isInstant = (value: unknown): boolean =>
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

/** A page of sessions as a connection; for the root and for a user. */
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
 * A session by its UUID, or what it became (rule 27), gathered with the others this request asks for; null where there is none
 * within reach.
 */
export function loadSession(context: Context, id: string): Promise<SessionRow | null> {
  return loaderOf<string, SessionRow | null>(context, 'session', async (ids) => {
    const { database } = context.services;
    const { reach } = projectCaller(context);
    const byId = new Map((await sessionsByIds(database, reach, ids)).map((row) => [row.id, row]));
    const gone = ids.filter((one) => !byId.has(one));
    if (gone.length === 0) return ids.map((one) => byId.get(one)!);
    const merged = await becameOf(context, gone);
    const unread = merged.filter((one) => one !== null && !byId.has(one)) as string[];
    if (unread.length > 0) for (const row of await sessionsByIds(database, reach, unread)) byId.set(row.id, row);
    const became = new Map(gone.map((one, at) => [one, merged[at]]));
    return ids.map((one) => byId.get(one) ?? byId.get(became.get(one) ?? '') ?? null);
  }).load(id);
}

/** What each of these sessions became (rule 27); null for one that was not merged. */
function becameOf(context: Context, ids: readonly string[]): Promise<(string | null)[]> {
  const loader = loaderOf<string, string | null>(context, 'merged session', async (all) => {
    const merged = await mergedSessions(context.services.database, projectCaller(context).reach, all);
    return all.map((id) => merged.get(id) ?? null);
  });
  return Promise.all(ids.map((id) => loader.load(id)));
}

/** Row ids of sessions, from global ones, with those that merged ones have become (rule 27). `field` is the argument's name. */
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
      'A session; null where the project has none of this id. Of one that was merged into another, that one. Needs READ.',
    ...needs('READ'),
    args: { id: t.arg.id({ required: true, description: 'The id of the session.' }) },
    resolve: (_root, { id }, context) => loadSession(context, fromGlobalId('Session', id, 'id')),
  }),
  sessions: t.connection(
    {
      type: Session,
      description: 'Sessions, the newest first unless ordered otherwise. Needs READ.',
      ...needs('READ'),
      args: {
        filter: t.arg({ type: SessionFilter, description: 'Which sessions.' }),
        orderBy: t.arg({ type: SessionOrder, description: 'In which order.' }),
      },
      resolve: (_root, args, context) => sessionConnection(context, projectCaller(context).reach, args),
    },
    SessionConnection,
  ),
}));
