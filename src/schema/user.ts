import type { UserFilter as UserFilterShape, UserOrder as UserOrderShape } from '../domain/filters.js';
import { userIdOf } from '../domain/identity.js';
import type { UserPresence as UserPresenceShape } from '../domain/presence.js';
import { AppError } from '../errors.js';
import { presenceOf } from '../store/presence/read-presence.js';
import {
  countUsers,
  findUser,
  listUsers,
  readUserData,
  userPlace,
  usersByIdentities,
  usersByIds,
  type ListedUser,
  type Seen,
  type UserPlace,
  type UserRow,
} from '../store/sessions/users.js';
import { builder } from './builder.js';
import type { Context } from './context.js';
import { Event, Session, User } from './nouns.js';
import { EventConnection, eventConnection, EventFilter } from './event.js';
import { checkFilterTexts } from './filter-texts.js';
import { fromGlobalId } from './global-id.js';
import { loadBy } from './loaders.js';
import { pace } from './pace.js';
import { isUuid, toConnection, toPage, type Paging } from './paging.js';
import { PresenceStatus, UserPresence } from './presence.js';
import { needs, projectCaller } from './scopes.js';
import {
  checkSessionFilter,
  isInstant,
  OrderDirection,
  SessionConnection,
  sessionConnection,
  SessionFilter,
  TimeRange,
} from './session.js';
import { checkTimeRange } from './time-range.js';

/** The user with this identity as the database has it; null if the project has not seen the identity. One statement for many. */
const loadUser = (context: Context, identity: string): Promise<ListedUser | null> =>
  loadBy<string, ListedUser | null>(context, 'user', identity, async (identities, by) => {
    const users = await usersByIdentities(by.services.database, projectCaller(by).reach, identities);
    return identities.map((one) => users.get(one) ?? null);
  });

async function seenOf(context: Context, { identity, seen }: UserRow): Promise<Seen> {
  const known = seen ?? (await loadUser(context, identity))?.seen;
  if (known) return known;
  throw new AppError('NOT_FOUND', 'The user was erased a moment ago. Ask again.');
}

/** Rows of sessions, events and presence have an identity too. */
const isUser = (value: unknown): boolean =>
  typeof value === 'object' &&
  value !== null &&
  'identity' in value &&
  !('id' in value) &&
  !('onlineSessions' in value);

builder.node(User, {
  description: 'A user of the application.',
  id: {
    description: 'The id of the user. It follows from the project and the identity. An ErasureChange names it.',
    resolve: ({ identity }, _args, context) => userIdOf(projectCaller(context).reach.projectId, identity),
  },
  isTypeOf: isUser,
  loadOne: async (id, context) => {
    const [user] = await usersByIds(context.services.database, projectCaller(context).reach, [
      fromGlobalId('User', id, 'id'),
    ]);
    return user ?? null;
  },
  fields: (t) => ({
    identity: t.exposeString('identity', { description: "The application's own id for the user." }),
    name: t.exposeString('name', {
      nullable: true,
      description: 'The name of the user, for display: the latest name that a client sent.',
    }),
    firstSeenAt: t.field({
      type: 'DateTime',
      description:
        'When the user was first heard of. It stays when retention deletes the first sessions. For a visitor who signed in it is the start of that visit.',
      resolve: async (user, _args, context) => (await seenOf(context, user)).firstSeenAt,
    }),
    lastSeenAt: t.field({
      type: 'DateTime',
      description: "The time of the user's latest event or heartbeat.",
      resolve: async (user, _args, context) => (await seenOf(context, user)).lastSeenAt,
    }),
    data: t.field({
      type: 'JSONObject',
      description: 'The latest data about the user that a client sent; {} if no client has sent any.',
      resolve: ({ identity }, _args, context) =>
        loadBy<string, Record<string, unknown>>(context, 'user data', identity, async (identities, by) => {
          const data = await readUserData(by.services.database, projectCaller(by).reach, identities);
          return identities.map((one) => data.get(one) ?? {});
        }),
    }),
    presence: t.field({
      type: UserPresence,
      description: 'Whether the user is online.',
      resolve: ({ identity }, _args, context) =>
        loadBy<string, UserPresenceShape>(context, 'presence', identity, async (identities, by) => {
          const states = await presenceOf(by.services.database, projectCaller(by).reach, identities);
          const byIdentity = new Map(states.map((state) => [state.identity, state]));
          return identities.map((one) => byIdentity.get(one)!);
        }),
    }),
    sessions: t.connection(
      {
        type: Session,
        description: "The user's sessions, the newest first.",
        args: { filter: t.arg({ type: SessionFilter, description: 'Which sessions to list.' }) },
        resolve: ({ identity }, args, context) => {
          const { reach } = projectCaller(context);
          const id = userIdOf(reach.projectId, identity);
          const within = reach.userIds === null || reach.userIds.includes(id) ? [id] : [];
          return sessionConnection(context, { ...reach, userIds: within }, args);
        },
      },
      SessionConnection,
    ),
    events: t.connection(
      {
        type: Event,
        description:
          "The user's events, the newest first: those that name the user, and those that name nobody in a session of the user.",
        args: { filter: t.arg({ type: EventFilter, description: 'Which events to list.' }) },
        resolve: ({ identity }, { filter, ...args }, context) => {
          const asked = filter?.identities?.map((one) => one.trim());
          const identities = !asked || asked.includes(identity) ? [identity] : [];
          return eventConnection(context, { ...args, filter: { ...filter, identities } });
        },
      },
      EventConnection,
    ),
  }),
});

builder.objectField(UserPresence, 'user', (t) =>
  t.field({
    type: User,
    nullable: true,
    description: 'The user; null if the project has never seen the identity. Needs READ.',
    ...needs('READ'),
    resolve: ({ identity }, _args, context) => loadUser(context, identity),
  }),
);

builder.queryField('user', (t) =>
  t.field({
    type: User,
    nullable: true,
    description: 'The user with this identity; null if the project has never seen the identity. Needs READ.',
    ...needs('READ'),
    args: { identity: t.arg.string({ required: true, description: "The user's identity." }) },
    resolve: (_root, { identity }, context) =>
      findUser(context.services.database, projectCaller(context).reach, identity),
  }),
);

const UserFilter = builder.inputType('UserFilter', {
  description: 'Selects users. All conditions must hold (AND); a list matches any of its values.',
  fields: (t) => ({
    search: t.string({
      description:
        'Users whose identity or name contains this text; case does not matter, in any script. At most 1,000 characters.',
    }),
    identities: t.stringList({ description: 'Any of these users, by identity.' }),
    status: t.field({ type: PresenceStatus, description: 'Users of this status.' }),
    firstSeenAt: t.field({ type: TimeRange, description: 'Users who were first seen in this range.' }),
    lastSeenAt: t.field({ type: TimeRange, description: 'Users who were last seen in this range.' }),
    dataContains: t.field({
      type: 'JSONObject',
      description: 'Users whose data contains this object (JSON containment). At most 16,384 characters as JSON.',
    }),
    sessions: t.field({ type: SessionFilter, description: 'Users with at least one session like this.' }),
  }),
});

const UserOrderField = builder.enumType('UserOrderField', {
  description: 'The value that users are ordered by.',
  values: {
    FIRST_SEEN_AT: { description: 'When the user was first heard of (firstSeenAt).' },
    LAST_SEEN_AT: { description: "The time of the user's latest event or heartbeat (lastSeenAt)." },
  },
});

const UserOrder = builder.inputType('UserOrder', {
  description: 'The order of users.',
  fields: (t) => ({
    field: t.field({
      type: UserOrderField,
      required: true,
      defaultValue: 'LAST_SEEN_AT',
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

const UserConnection = builder.connectionObject(
  { type: User, name: 'UserConnection', description: 'A page of users.' },
  { name: 'UserEdge', description: 'A user in a page.' },
);

/** The filter as the store takes it. Throws BAD_USER_INPUT if it has an invalid time or a text that is too long. */
function checkUserFilter(filter: UserFilterShape | null | undefined): UserFilterShape | null {
  if (!filter) return null;
  checkTimeRange('filter.firstSeenAt', filter.firstSeenAt);
  checkTimeRange('filter.lastSeenAt', filter.lastSeenAt);
  checkFilterTexts(filter);
  checkSessionFilter(filter.sessions, 'filter.sessions');
  return filter;
}

const LATEST_FIRST: UserOrderShape = { field: 'LAST_SEEN_AT', direction: 'DESC' };

const pagingOf = ({ field, direction }: UserOrderShape): Paging<UserPlace> => ({
  kind: `users ${field} ${direction}`,
  isPlace: (value): value is UserPlace =>
    Array.isArray(value) && value.length === 2 && isInstant(value[0]) && isUuid(value[1]),
});

builder.queryField('users', (t) =>
  t.connection(
    {
      type: User,
      description: 'Users. Without orderBy, those who were seen last are first. Needs READ.',
      ...needs('READ'),
      args: {
        filter: t.arg({ type: UserFilter, description: 'Which users to list.' }),
        orderBy: t.arg({ type: UserOrder, description: 'The order of the list.' }),
      },
      async resolve(_root, args, context) {
        const { database } = context.services;
        const { reach } = projectCaller(context);
        const filter = checkUserFilter(args.filter);
        const order = args.orderBy ?? LATEST_FIRST;
        const paging = pagingOf(order);
        const page = toPage(paging, args);
        const rows = await listUsers(database, reach, filter, order, page);
        await pace(context, rows.rows.length);
        return toConnection<UserPlace, ListedUser>(
          paging,
          page,
          rows,
          (row) => userPlace(row, order),
          () => countUsers(database, reach, filter),
        );
      },
    },
    UserConnection,
  ),
);
