import type { EventFilter as EventFilterShape } from '../domain/filters.js';
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
} from '../store/events.js';
import type { Rows } from '../store/keyset.js';
import type { EventRow, SessionRow } from '../store/rows.js';
import { askedOfNodes } from './asked-fields.js';
import { builder } from './builder.js';
import type { Context } from './context.js';
import { fromGlobalId } from './global-id.js';
import { loaderOf } from './loaders.js';
import { Event, Session, User } from './nouns.js';
import { isUuid, toConnection, toPage, type ConnectionShape, type Paging, type PagingArgs } from './paging.js';
import { needs, projectCaller } from './scopes.js';
import { loadSession, sessionIdsOf, TimeRange } from './session.js';
import { checkTimeRange } from './time-range.js';

builder.node(Event, {
  description: 'Something a client sent, as it was stored.',
  id: { resolve: (event) => event.id, description: 'The id of the event.' },
  isTypeOf: (value) => typeof value === 'object' && value !== null && 'occurredAt' in value,
  loadOne: (id, context) => findEvent(context, fromGlobalId('Event', id, 'id')),
  fields: (t) => ({
    type: t.exposeString('type', {
      description: 'What kind of event: log, error, usage, 404, session, sessionend, or any other name.',
    }),
    source: t.exposeString('source', {
      nullable: true,
      description: 'Where it comes from: a page, a logger, a feature.',
    }),
    message: t.exposeString('message', { nullable: true, description: 'What it says.' }),
    occurredAt: t.expose('occurredAt', { type: 'DateTime', description: 'When it happened.' }),
    receivedAt: t.expose('receivedAt', { type: 'DateTime', description: 'When it arrived.' }),
    value: t.exposeFloat('value', { nullable: true, description: 'A number that belongs to it.' }),
    tags: t.exposeStringList('tags', { description: 'Words to find it by.' }),
    referenceId: t.exposeString('referenceId', { nullable: true, description: "The client's own handle for it." }),
    version: t.exposeString('version', { nullable: true, description: 'The version of the application.' }),
    user: t.field({
      type: User,
      nullable: true,
      description: 'The user it names.',
      resolve: ({ identity, userName }) => (identity === null ? null : { identity, name: userName }),
    }),
    session: t.field({
      type: Session,
      nullable: true,
      description: 'The session it belongs to.',
      resolve: ({ sessionId }, _args, context) => (sessionId === null ? null : loadSession(context, sessionId)),
    }),
    data: t.expose('data', { type: 'JSONObject', description: 'What else came with it.' }),
  }),
});

/** What each field above is read from, where that is not the column of its name. */
const READS: Readonly<Record<string, readonly EventField[]>> = {
  __typename: [],
  user: ['identity', 'userName'],
  session: ['sessionId'],
};

/** What to read of events of which these fields are asked; in one order, so that equal statements are one. */
function readsOf(names: ReadonlySet<string>): EventField[] {
  // Its place in the list, for cursors, whatever is asked.
  const reads = new Set<string>(['id']);
  for (const name of names) for (const field of READS[name] ?? [name]) reads.add(field);
  return EVENT_FIELDS.filter((field) => reads.has(field));
}

export const EventFilter = builder.inputType('EventFilter', {
  description: 'Which events. Conditions are joined with AND; a list means any of these.',
  fields: (t) => ({
    types: t.stringList({ description: 'Of these types.' }),
    identities: t.stringList({ description: 'That name one of these users.' }),
    sessionIds: t.idList({ description: 'Of these sessions.' }),
    sources: t.stringList({ description: 'From these sources.' }),
    tags: t.stringList({ description: 'With any of these tags.' }),
    search: t.string({ description: 'Part of the source or the message, ignoring case.' }),
    occurredAt: t.field({ type: TimeRange, description: 'That happened then.' }),
    referenceId: t.string({ description: 'With this handle.' }),
    hasSession: t.boolean({ description: 'With a session, or without.' }),
    dataContains: t.field({ type: 'JSONObject', description: 'Whose data contains this (JSON containment).' }),
  }),
});

const EventConnection = builder.connectionObject(
  { type: Event, name: 'EventConnection', description: 'A page of events.' },
  { name: 'EventEdge', description: 'An event in a page.' },
);

/** The filter as the store takes it. BAD_USER_INPUT where a time or an id in it is none. */
export async function checkEventFilter(
  context: Context,
  filter: EventFilterShape | null | undefined,
): Promise<EventFilterShape | null> {
  if (!filter) return null;
  checkTimeRange('filter.occurredAt', filter.occurredAt);
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

async function eventConnection(context: Context, args: EventArgs): Promise<ConnectionShape<EventRow>> {
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

/** The events of a session, gathered with those of the other sessions on the same page: one statement for all. */
async function sessionEventConnection(
  context: Context,
  session: SessionRow,
  args: EventArgs,
  asked: ReadonlySet<string>,
): Promise<ConnectionShape<EventRow>> {
  const { database } = context.services;
  const { reach } = projectCaller(context);
  const filter = await checkEventFilter(context, args.filter);
  const page = toPage(OLDEST_FIRST, args);
  const fields = readsOf(asked);
  const same = JSON.stringify([page, filter, fields]);
  const byId = ({ id }: EventParent): string => id;
  const rows = await loaderOf<EventParent, Rows<EventRow>, string>(
    context,
    `events ${same}`,
    async (parents) => {
      const lists = await listSessionEvents(database, reach, parents, filter, page, fields);
      return parents.map(({ id }) => lists.get(id)!);
    },
    byId,
  ).load(session);
  const count = (): Promise<number> =>
    loaderOf<EventParent, number, string>(
      context,
      `event count ${JSON.stringify(filter)}`,
      async (parents) => {
        const counts = await countSessionEvents(database, reach, parents, filter);
        return parents.map(({ id }) => counts.get(id) ?? 0);
      },
      byId,
    ).load(session);
  return toConnection(OLDEST_FIRST, page, rows, ({ id }) => id, count);
}

builder.objectField(Session, 'events', (t) =>
  t.connection(
    {
      type: Event,
      description: 'What the user did, the oldest first.',
      args: { filter: t.arg({ type: EventFilter, description: 'Which of them.' }) },
      resolve: (session, args, context, info) => sessionEventConnection(context, session, args, askedOfNodes(info)),
    },
    EventConnection,
  ),
);

builder.queryFields((t) => ({
  event: t.field({
    type: Event,
    nullable: true,
    description: 'An event; null where the project has none of this id. Needs READ.',
    ...needs('READ'),
    args: { id: t.arg.id({ required: true, description: 'The id of the event.' }) },
    resolve: (_root, { id }, context) => findEvent(context, fromGlobalId('Event', id, 'id')),
  }),
  events: t.connection(
    {
      type: Event,
      description: 'Events, the newest first. Needs READ.',
      ...needs('READ'),
      args: { filter: t.arg({ type: EventFilter, description: 'Which events.' }) },
      resolve: (_root, args, context) => eventConnection(context, args),
    },
    EventConnection,
  ),
}));
