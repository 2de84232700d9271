import { EVENT_TEXTS, type EventFilter as EventFilterShape } from '../domain/filters.js';
import {
  countEvents,
  countSessionEvents,
  eventsByIds,
  listEvents,
  EVENT_FIELDS,
  listSessionEvents,
  type EventField,
  type EventParent,
  type EventPlace,
} from '../store/sessions/events.js';
import type { Rows } from '../store/keyset.js';
import type { EventRow, SessionRow } from '../store/rows.js';
import { askedOfNodes } from './asked-fields.js';
import { builder } from './builder.js';
import type { Context } from './context.js';
import { checkFilterTexts, textInputs } from './filter-texts.js';
import { fromGlobalId } from './global-id.js';
import { loadBy } from './loaders.js';
import { Event, Session, User } from './nouns.js';
import { pace } from './pace.js';
import { isUuid, toConnection, toPage, type ConnectionShape, type Paging, type PagingArgs } from './paging.js';
import { needs, projectCaller } from './scopes.js';
import { loadSession, sessionIdsOf, TimeRange } from './session.js';
import { checkTimeRange } from './time-range.js';

builder.node(Event, {
  description: 'An event that a client sent, as the server stored it.',
  id: { resolve: (event) => event.id, description: 'The id of the event.' },
  isTypeOf: (value) => typeof value === 'object' && value !== null && 'occurredAt' in value,
  loadOne: (id, context) => findEvent(context, fromGlobalId('Event', id, 'id')),
  fields: (t) => ({
    type: t.exposeString('type', {
      description: 'The type of the event: log, error, usage, 404, session, sessionend, or any other name.',
    }),
    source: t.exposeString('source', {
      nullable: true,
      description: 'Where the event comes from: a page, a logger, a feature.',
    }),
    message: t.exposeString('message', { nullable: true, description: 'The text of the event.' }),
    occurredAt: t.expose('occurredAt', { type: 'DateTime', description: 'When the event happened.' }),
    receivedAt: t.expose('receivedAt', { type: 'DateTime', description: 'When the server received the event.' }),
    value: t.exposeFloat('value', { nullable: true, description: 'A number that belongs to the event.' }),
    tags: t.exposeStringList('tags', { description: 'Words to find the event by.' }),
    referenceId: t.exposeString('referenceId', {
      nullable: true,
      description: "The client's own identifier of the event.",
    }),
    version: t.exposeString('version', { nullable: true, description: 'The version of the application.' }),
    user: t.field({
      type: User,
      nullable: true,
      description: 'The user that the event names; null if it names none. Its session says whose it is then.',
      resolve: ({ identity, userName }) => (identity === null ? null : { identity, name: userName }),
    }),
    session: t.field({
      type: Session,
      nullable: true,
      description: 'The session of the event; null if the event has no session.',
      resolve: ({ sessionId }, _args, context) => (sessionId === null ? null : loadSession(context, sessionId)),
    }),
    data: t.expose('data', { type: 'JSONObject', description: 'The other data that the client sent with the event.' }),
  }),
});

/** The columns that each field above needs, where they differ from the column of its own name. */
const READS: Readonly<Record<string, readonly EventField[]>> = {
  __typename: [],
  user: ['identity', 'userName'],
  session: ['sessionId'],
};

/** The columns to read for these GraphQL fields. The order is fixed, so that equal requests give the same statement. */
export function readsOf(names: ReadonlySet<string>): EventField[] {
  // Cursors need the id, so the statement always reads it.
  const reads = new Set<string>(['id']);
  for (const name of names) for (const field of READS[name] ?? [name]) reads.add(field);
  return EVENT_FIELDS.filter((field) => reads.has(field));
}

export const EventFilter = builder.inputType('EventFilter', {
  description: 'Selects events. All conditions must hold (AND); a list matches any of its values.',
  fields: (t) => ({
    ...textInputs(EVENT_TEXTS, (description) => t.stringList({ description })),
    identities: t.stringList({
      description:
        'Events of any of these users, by identity: those that name the user, and those that name nobody in a session of the user, such as the events before signing in.',
    }),
    sessionIds: t.idList({ description: 'Events of any of these sessions.' }),
    tags: t.stringList({ description: 'Events with any of these tags.' }),
    search: t.string({
      description:
        'Events whose source or message contains this text; case does not matter. At most 1,000 characters. A search that takes more than ten seconds ends with UNAVAILABLE; a shorter range in occurredAt makes it faster.',
    }),
    occurredAt: t.field({ type: TimeRange, description: 'Events that happened in this range.' }),
    referenceId: t.string({ description: 'Events with this referenceId.' }),
    hasSession: t.boolean({ description: 'True: events with a session. False: events without a session.' }),
    dataContains: t.field({
      type: 'JSONObject',
      description: 'Events whose data contains this object (JSON containment). At most 16,384 characters as JSON.',
    }),
  }),
});

export const EventConnection = builder.connectionObject(
  { type: Event, name: 'EventConnection', description: 'A page of events.' },
  { name: 'EventEdge', description: 'An event in a page.' },
);

/**
 * The filter as the store takes it: session ids are row ids. Throws BAD_USER_INPUT if the filter has an invalid time, an
 * invalid id or a text that is too long.
 */
export async function checkEventFilter(
  context: Context,
  filter: EventFilterShape | null | undefined,
): Promise<EventFilterShape | null> {
  if (!filter) return null;
  checkTimeRange('filter.occurredAt', filter.occurredAt);
  checkFilterTexts(filter);
  const sessionIds = await sessionIdsOf(context, filter.sessionIds, 'filter.sessionIds');
  return sessionIds ? { ...filter, sessionIds } : filter;
}

async function findEvent(context: Context, id: string): Promise<EventRow | null> {
  const [row] = await eventsByIds(context.services.database, projectCaller(context).reach, [id]);
  return row ?? null;
}

const NEWEST_FIRST: Paging<EventPlace> = { kind: 'events', isPlace: isUuid };
const OLDEST_FIRST: Paging<EventPlace> = { kind: 'session events', isPlace: isUuid };

type EventArgs = PagingArgs & { filter?: EventFilterShape | null };

/** A page of events as a connection, the newest first. Throws BAD_USER_INPUT and INVALID_CURSOR. */
export async function eventConnection(context: Context, args: EventArgs): Promise<ConnectionShape<EventRow>> {
  const { database } = context.services;
  const { reach } = projectCaller(context);
  const filter = await checkEventFilter(context, args.filter);
  const page = toPage(NEWEST_FIRST, args);
  const rows = await listEvents(database, reach, filter, page);
  return toConnection(
    NEWEST_FIRST,
    page,
    rows,
    ({ id }) => id,
    () => countEvents(database, reach, filter),
  );
}

/** The events of a session. One statement reads them for all sessions of the same page. */
async function sessionEventConnection(
  context: Context,
  session: SessionRow,
  args: EventArgs,
  asked: ReadonlySet<string>,
): Promise<ConnectionShape<EventRow>> {
  const { reach } = projectCaller(context);
  const filter = await checkEventFilter(context, args.filter);
  const page = toPage(OLDEST_FIRST, args);
  const fields = readsOf(asked);
  const same = JSON.stringify([page, filter, fields]);
  const byId = ({ id }: EventParent): string => id;
  const rows = await loadBy<EventParent, Rows<EventRow>>(
    context,
    `events ${same}`,
    session,
    async (parents, { services }) => {
      const lists = await listSessionEvents(services.database, reach, parents, filter, page, fields);
      return parents.map(({ id }) => lists.get(id)!);
    },
    byId,
  );
  await pace(context, rows.rows.length);
  const count = (): Promise<number> =>
    loadBy<EventParent, number>(
      context,
      `event count ${JSON.stringify(filter)}`,
      session,
      async (parents, { services }) => {
        const counts = await countSessionEvents(services.database, reach, parents, filter);
        return parents.map(({ id }) => counts.get(id) ?? 0);
      },
      byId,
    );
  return toConnection(OLDEST_FIRST, page, rows, ({ id }) => id, count);
}

builder.objectField(Session, 'events', (t) =>
  t.connection(
    {
      type: Event,
      description: 'The events of the session, the oldest first.',
      args: { filter: t.arg({ type: EventFilter, description: 'Which events to select.' }) },
      resolve: (session, args, context, info) => sessionEventConnection(context, session, args, askedOfNodes(info)),
    },
    EventConnection,
  ),
);

builder.queryFields((t) => ({
  event: t.field({
    type: Event,
    nullable: true,
    description: 'The event with this id; null if the project has no such event. Needs READ.',
    ...needs('READ'),
    args: { id: t.arg.id({ required: true, description: 'The id of the event.' }) },
    resolve: (_root, { id }, context) => findEvent(context, fromGlobalId('Event', id, 'id')),
  }),
  events: t.connection(
    {
      type: Event,
      description: 'Events, the newest first. Needs READ.',
      ...needs('READ'),
      args: { filter: t.arg({ type: EventFilter, description: 'Which events to list.' }) },
      resolve: (_root, args, context) => eventConnection(context, args),
    },
    EventConnection,
  ),
}));
