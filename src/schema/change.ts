import { SESSION_CHANGE_KINDS, type FeedPlace } from '../domain/change.js';
import { readFeedCursor, writeFeedCursor } from '../domain/feed-cursor.js';
import type { EventFilter as EventFilterShape } from '../domain/filters.js';
import { AppError } from '../errors.js';
import { createView, type FeedChange, type FeedFilter } from '../services/feed/feed-view.js';
import { PRICE_OF_PAGE, type Pay } from '../services/feed/read-feed.js';
import type { PresenceChangeRow } from '../store/presence/presence-history.js';
import { askedOfNodes, askedUnder } from './asked-fields.js';
import { builder } from './builder.js';
import type { Context } from './context.js';
import { checkEventFilter, EventFilter, readsOf } from './event.js';
import { toGlobalId } from './global-id.js';
import { loadBy } from './loaders.js';
import { Change, Event, Session } from './nouns.js';
import { toPage, type Paging } from './paging.js';
import { needs, projectCaller } from './scopes.js';
import { sessionIdsOf } from './session.js';

type Of<Kind extends FeedChange['kind']> = Extract<FeedChange, { kind: Kind }>;

/** The cursor of a change of presence that was not read from the feed. Those of an answer are found together. */
async function cursorOf(context: Context, change: PresenceChangeRow): Promise<string> {
  const place = await loadBy<PresenceChangeRow, FeedPlace>(
    context,
    'places of presence',
    change,
    async (changes, by) => {
      const places = await by.services.feed.reader.placesOfPresence(projectCaller(by).reach, changes);
      return changes.map(({ id }) => places.get(id)!);
    },
    ({ id }) => id,
  );
  return writeFeedCursor(place);
}

const KINDS = {
  EVENT: 'EventChange',
  SESSION: 'SessionChange',
  PRESENCE: 'PresenceChange',
  ERASURE: 'ErasureChange',
} as const;

Change.implement({
  description: 'Something that was stored, in the order of the commits. Its cursor says where to go on after it.',
  // Without it, each type is asked in turn.
  resolveType: (change) => KINDS[(change as FeedChange).kind],
  fields: (t) => ({
    cursor: t.string({
      description: 'The place after this change in the feed, for `after`. It is valid as long as the feed is kept.',
      // Only changes of presence are kept elsewhere too.
      resolve: (change, _args, context) => change.cursor ?? cursorOf(context, change as PresenceChangeRow),
    }),
    at: t.expose('at', { type: 'DateTime', description: 'When the server stored it.' }),
  }),
});

/** Whether a value is a change of this kind. */
const isOf =
  (kind: FeedChange['kind']) =>
  (value: unknown): boolean =>
    typeof value === 'object' && value !== null && (value as Partial<FeedChange>).kind === kind;

builder.objectRef<Of<'EVENT'>>(KINDS.EVENT).implement({
  description: 'An event was stored.',
  interfaces: [Change],
  isTypeOf: isOf('EVENT'),
  fields: (t) => ({
    // Exposed, it is read in place by what is compiled, without a call of a resolver.
    event: t.expose('event', { type: Event, description: 'The event as it is now.' }),
  }),
});

const SessionChangeKind = builder.enumType('SessionChangeKind', {
  description: 'What happened to a session.',
  values: {
    STARTED: { description: 'The session started.' },
    UPDATED: { description: 'The session changed: it got an event or a heartbeat, or it was reopened.' },
    ENDED: { description: 'The session ended.' },
    MERGED: { description: 'The session became part of another one: both were the same visit (rule 27).' },
  },
});

const SessionChange = builder.objectRef<Of<'SESSION'>>(KINDS.SESSION).implement({
  description: 'A change of a session.',
  interfaces: [Change],
  isTypeOf: isOf('SESSION'),
  fields: (t) => ({
    kind: t.field({ type: SessionChangeKind, description: 'What happened.', resolve: ({ change }) => change }),
    session: t.field({ type: Session, description: 'The session as it is now.', resolve: ({ session }) => session }),
    mergedId: t.id({
      nullable: true,
      description: 'Of kind MERGED: the id of the session that is no more; `session` is what it became.',
      resolve: ({ mergedId }) => (mergedId === null ? null : toGlobalId('Session', mergedId)),
    }),
  }),
});

builder.objectRef<Of<'ERASURE'>>(KINDS.ERASURE).implement({
  description: 'A user was erased: forget what you keep of them.',
  interfaces: [Change],
  isTypeOf: isOf('ERASURE'),
  fields: (t) => ({
    userId: t.id({
      description: 'The id of the user, as `User.id` was.',
      resolve: ({ userId }) => toGlobalId('User', userId),
    }),
  }),
});

const ChangeKind = builder.enumType('ChangeKind', {
  description: 'What a change is about.',
  values: {
    EVENT: { description: 'An event was stored: an EventChange.' },
    SESSION: { description: 'A session changed: a SessionChange.' },
    PRESENCE: { description: 'A user came or left, or a device of theirs did: a PresenceChange.' },
    ERASURE: { description: 'A user was erased: an ErasureChange.' },
  },
});

const ChangeFilter = builder.inputType('ChangeFilter', {
  description: 'Selects changes. All conditions must hold (AND); a list matches any of its values.',
  fields: (t) => ({
    kinds: t.field({ type: [ChangeKind], description: 'Only changes of these kinds.' }),
    identities: t.stringList({ description: 'Only changes of these users.' }),
    events: t.field({ type: EventFilter, description: 'Of events: only these.' }),
    sessionChanges: t.field({
      type: [SessionChangeKind],
      description: 'Of sessions: only these kinds. UPDATED is told only if it is asked for here.',
    }),
  }),
});

async function toFilter(
  context: Context,
  filter: (Partial<FeedFilter> & { events?: EventFilterShape | null }) | null | undefined,
): Promise<FeedFilter> {
  return {
    kinds: filter?.kinds ?? null,
    identities: filter?.identities ?? null,
    events: await checkEventFilter(context, filter?.events),
    sessionChanges: filter?.sessionChanges ?? null,
    sessionIds: filter?.sessionIds ?? null,
  };
}

/** The place of the cursor that a client has kept; null without one. Throws INVALID_CURSOR. */
function placeOf(after: string | null | undefined): FeedPlace | null {
  if (after == null) return null;
  const place = readFeedCursor(after);
  if (place) return place;
  throw new AppError('INVALID_CURSOR', 'after is not a cursor of a change. Take the cursor of a change.', {
    field: 'after',
  });
}

/** Reading a change costs as much as a row of a list. */
const payOf =
  (context: Context): Pay =>
  (rows) =>
    rows > 0 ? context.charge(rows) : Promise.resolve();

/** Pays only for what is more than `rows`, which the price of the operation contains already. */
function payBeyond(rows: number, pay: Pay): Pay {
  let left = rows;
  return (more) => {
    const extra = more - left;
    left = Math.max(0, -extra);
    return extra > 0 ? pay(extra) : Promise.resolve();
  };
}

interface ChangePage {
  readonly changes: readonly FeedChange[];
  readonly hasNextPage: boolean;
  readonly hasPreviousPage: boolean;
  readonly endCursor: string;
}

const ChangeEdge = builder.objectRef<FeedChange>('ChangeEdge').implement({
  description: 'A change in a page.',
  fields: (t) => ({
    cursor: t.exposeString('cursor', { description: 'The cursor of the change.' }),
    node: t.field({ type: Change, description: 'The change.', resolve: (change) => change }),
  }),
});

const ChangeConnection = builder.objectRef<ChangePage>('ChangeConnection').implement({
  description:
    'A page of changes. A page can have fewer changes than were asked for, or none, although hasNextPage is true: the filter has left out what was looked at. Go on with endCursor.',
  fields: (t) => ({
    edges: t.field({
      type: [ChangeEdge],
      description: 'The changes of this page with their cursors.',
      resolve: ({ changes }) => [...changes],
    }),
    nodes: t.field({
      type: [Change],
      description: 'The changes of this page.',
      resolve: ({ changes }) => [...changes],
    }),
    pageInfo: t.field({
      type: builder.pageInfoRef(),
      description: 'Whether there are more changes now, and the cursor to read them with.',
      resolve: ({ changes, hasNextPage, hasPreviousPage, endCursor }) => ({
        hasNextPage,
        hasPreviousPage,
        startCursor: changes[0]?.cursor ?? null,
        endCursor,
      }),
    }),
  }),
});

/** Only for the number of rows. */
const PAGING: Paging<never> = { kind: 'changes', isPlace: (_value): _value is never => false };

builder.queryFields((t) => ({
  changes: t.field({
    type: ChangeConnection,
    description:
      'What was stored after a cursor, in the order of the commits; without `after`, from the oldest that is kept (7 days, or changeRetentionDays of the project). An older cursor fails with CURSOR_EXPIRED, which says from where on there is more. Each change shows its event or session as it is now; what was deleted since is left out. Needs READ.',
    ...needs('READ'),
    args: {
      after: t.arg.string({ description: 'Only changes after this cursor of a change, or of changeCursor.' }),
      first: t.arg.int({ description: 'How many changes to read: 0 to 100. Default 20.' }),
      filter: t.arg({ type: ChangeFilter, description: 'Which changes to read.' }),
    },
    async resolve(_root, { after, first, filter }, context, info) {
      const { feed, database } = context.services;
      const { reach } = projectCaller(context);
      const { limit } = toPage(PAGING, { first: first ?? null });
      const from = placeOf(after);
      const view = createView(reach, await toFilter(context, filter));
      const page = await feed.reader.read(view, from ?? (await feed.reader.oldest(reach)), {
        limit,
        pay: payBeyond(limit + PRICE_OF_PAGE, payOf(context)),
        asked: readsOf(askedOfNodes(info, 'event')),
        database,
      });
      return {
        changes: page.changes,
        hasNextPage: page.isMore,
        hasPreviousPage: from !== null,
        endCursor: writeFeedCursor(page.next),
      };
    },
  }),
  changeCursor: t.string({
    description: 'The cursor of now: everything that is stored later comes after it. Needs READ.',
    ...needs('READ'),
    resolve: async (_root, _args, context) => {
      projectCaller(context);
      return writeFeedCursor(await context.services.feed.reader.now());
    },
  }),
}));

builder.subscriptionFields((t) => ({
  changes: t.field({
    type: Change,
    description:
      'Everything stored after `after` (default: now), then live, none missing, none twice, in the order of the commits. It goes on by itself whatever the server loses; a client that was away goes on with the cursor of the last change that it has. Over server-sent events the cursor is the id of the message, and Last-Event-ID takes the place of `after`. What was stored before the subscription reaches the present costs as much as reading lists; if the key has no points left, the subscription waits for them. It ends with CURSOR_EXPIRED if the database becomes another one. Needs READ.',
    ...needs('READ'),
    args: {
      after: t.arg.string({ description: 'The cursor of the last change that the client has, or of changeCursor.' }),
      filter: t.arg({ type: ChangeFilter, description: 'Which changes to tell.' }),
    },
    subscribe: async (_root, { after, filter }, context, info) =>
      context.services.feed.watch(projectCaller(context).reach, await toFilter(context, filter), {
        after: placeOf(after),
        pay: payOf(context),
        asked: readsOf(askedUnder(info, 'event')),
      }),
    resolve: (change) => change,
  }),
  sessionChanged: t.field({
    type: SessionChange,
    description:
      'Each session when it starts, changes, ends and is merged: after `after` (default: now), then live, none missing, none twice, as `changes` tells them. Needs READ.',
    ...needs('READ'),
    args: {
      identities: t.arg.stringList({ description: 'Only sessions of these users, by identity.' }),
      sessionIds: t.arg.idList({ description: 'Only these sessions.' }),
      kinds: t.arg({ type: [SessionChangeKind], description: 'Only changes of these kinds.' }),
      after: t.arg.string({ description: 'The cursor of the last change that the client has, or of changeCursor.' }),
    },
    subscribe: async (_root, { identities, sessionIds, kinds, after }, context) =>
      context.services.feed.watch(
        projectCaller(context).reach,
        {
          kinds: ['SESSION'],
          identities: identities ?? null,
          events: null,
          sessionChanges: kinds ?? SESSION_CHANGE_KINDS,
          sessionIds: await sessionIdsOf(context, sessionIds, 'sessionIds'),
        },
        { after: placeOf(after), pay: payOf(context) },
      ) as Promise<AsyncIterableIterator<Of<'SESSION'>>>,
    resolve: (change) => change,
  }),
}));
