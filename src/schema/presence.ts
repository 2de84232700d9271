import type { GraphQLResolveInfo } from 'graphql';
import { userIdOf } from '../domain/identity.js';
import type {
  Beside,
  PresenceUpdate as PresenceUpdateShape,
  UserPresence as UserPresenceShape,
} from '../domain/presence.js';
import { readPresencePlace } from '../domain/feed-cursor.js';
import type { PresencePlace } from '../domain/presence-cursor.js';
import { AppError } from '../errors.js';
import { countPresenceAt, listPresenceAt, presenceOfAt } from '../store/presence/presence-at.js';
import { MOST_COUNTED } from '../store/presence/presence-history.js';
import { countPresence, listPresence, presenceOf } from '../store/presence/read-presence.js';
import { getProject } from '../store/projects/projects.js';
import { usersByIds } from '../store/sessions/users.js';
import { askedUnder } from './asked-fields.js';
import { builder } from './builder.js';
import type { Context } from './context.js';
import { fromGlobalId } from './global-id.js';
import { isUuid, toConnection, toPage, type Paging } from './paging.js';
import { needs, projectCaller } from './scopes.js';

export const PresenceStatus = builder.enumType('PresenceStatus', {
  description: 'Whether a user is online.',
  values: {
    ONLINE: { description: 'At least one session of the user counts as online.' },
    OFFLINE: { description: 'No session of the user counts as online.' },
  },
});

export const UserPresence = builder.objectRef<UserPresenceShape>('UserPresence');
builder.node(UserPresence, {
  description: 'Whether a user is online, and since when.',
  id: {
    description: 'The id of the presence of this user. It follows from the project and the identity.',
    resolve: ({ identity }, _args, context) => userIdOf(projectCaller(context).reach.projectId, identity),
  },
  isTypeOf: (value) => typeof value === 'object' && value !== null && 'onlineSessions' in value,
  loadOne: async (id, context) => {
    const { database } = context.services;
    const { reach } = projectCaller(context);
    const [user] = await usersByIds(database, reach, [fromGlobalId('UserPresence', id, 'id')]);
    const [presence] = user ? await presenceOf(database, reach, [user.identity]) : [];
    return presence ?? null;
  },
  fields: (t) => ({
    identity: t.exposeString('identity', { description: 'The identity of the user.' }),
    name: t.exposeString('name', { nullable: true, description: 'The name of the user.' }),
    status: t.expose('status', { type: PresenceStatus, description: 'Whether the user is online.' }),
    since: t.expose('since', {
      type: 'DateTime',
      nullable: true,
      description: 'When the status last changed. Null for a user who was never seen, or was erased.',
    }),
    lastSeenAt: t.expose('lastSeenAt', {
      type: 'DateTime',
      nullable: true,
      description: "The time of the user's latest event or heartbeat.",
    }),
    onlineSessions: t.exposeInt('onlineSessions', {
      description:
        'How many sessions of the user count as online: at least 1 if ONLINE, 0 if OFFLINE. A user with several devices is one user. Subscribers get every change of this number.',
    }),
  }),
});

const UserPresenceConnection = builder.connectionObject(
  { type: UserPresence, name: 'UserPresenceConnection', description: 'A page of users with their presence.' },
  { name: 'UserPresenceEdge', description: 'A user in a page.' },
);

const DAY = 86_400_000;

/** Since when the project keeps sessions and presence. Null: it keeps everything. */
export async function keptSince(context: Context, now: Date): Promise<Date | null> {
  const project = await getProject(context.services.database, projectCaller(context).reach);
  return project?.retentionDays == null ? null : new Date(now.getTime() - project.retentionDays * DAY);
}

/** So far a client's clock may be ahead. Milliseconds. */
const CLOCK_ERROR = 5 * 60_000;

/**
 * The moment of the past that `at` is; null: it is now. Throws BAD_USER_INPUT for an invalid time, for one of the future, and for one
 * of which the project keeps nothing.
 */
async function pastMoment(context: Context, at: Date | null | undefined): Promise<Date | null> {
  if (!at) return null;
  const now = context.services.clock.now();
  const refuse = (why: string): never => {
    throw new AppError('BAD_USER_INPUT', why, { field: 'at' });
  };
  if (Number.isNaN(at.getTime())) refuse('at is not an RFC 3339 instant. Write it like 2026-01-31T09:30:00.000Z.');
  if (at.getTime() - now.getTime() > CLOCK_ERROR)
    refuse(`at is in the future: it is ${now.toISOString()} now. Leave at out to ask who is online now.`);
  if (at >= now) return null;
  const kept = await keptSince(context, now);
  if (kept && at < kept)
    refuse(`The project keeps presence since ${kept.toISOString()} (retentionDays); at is before it.`);
  return at;
}

/** The price of a list of a moment in the past, in rows, in addition to its own rows. */
const PAST_READS = 1_000;

const BY_USER: Paging<string> = { kind: 'presence', isPlace: isUuid };
const isPosition = (value: unknown): value is number => Number.isInteger(value);
/** If the caller names identities, the page has their order. */
const BY_POSITION: Paging<number> = { kind: 'presence of', isPlace: isPosition };

builder.queryField('presence', (t) =>
  t.connection(
    {
      type: UserPresence,
      description: `The users that are online now, or the presence of the given identities; with \`at\`, as it was then. Needs PRESENCE or READ.`,
      ...needs('PRESENCE', 'READ'),
      args: {
        at: t.arg({
          type: 'DateTime',
          description: `A moment in the past: the answer says what subscribers had been told by then. Up to five minutes later than now counts as now, because clocks differ; a later time is refused. The server knows it as long as the project keeps sessions (retentionDays); of the time before it kept changes of presence, users are OFFLINE, since is null. lastSeenAt is null, devices are empty, and name is the name of now. totalCount is at most ${MOST_COUNTED.toLocaleString('en')}.`,
        }),
        identities: t.arg.stringList({
          description: 'Only these users, in this order, also if they were never seen: at most 1,000.',
        }),
        status: t.arg({
          type: PresenceStatus,
          defaultValue: 'ONLINE',
          description: 'Only users of this status; null: both. If identities are given, the server ignores status.',
        }),
      },
      resolve: async (_root, args, context) => {
        const { database } = context.services;
        const { reach } = projectCaller(context);
        const { identities } = args;
        const at = await pastMoment(context, args.at);
        if (identities) {
          const page = toPage(BY_POSITION, args);
          const states = await (at
            ? presenceOfAt(database, reach, identities, at)
            : presenceOf(database, reach, identities));
          const rest = states
            .map((presence, position) => ({ presence, position }))
            .filter(({ position }) => position > (page.after ?? -1) && position < (page.before ?? Infinity));
          const rows = page.backwards ? rest.slice(Math.max(0, rest.length - page.limit)) : rest.slice(0, page.limit);
          const connection = toConnection(
            BY_POSITION,
            page,
            { rows, more: rest.length > rows.length },
            ({ position }) => position,
            async () => states.length,
          );
          return {
            ...connection,
            edges: connection.edges.map(({ cursor, node }) => ({ cursor, node: node.presence })),
          };
        }
        const filter = { status: args.status ?? null };
        const page = toPage(BY_USER, args);
        if (at) await context.charge(PAST_READS);
        const rows = await (at
          ? listPresenceAt(database, reach, filter, page, at)
          : listPresence(database, reach, filter, page));
        const connection = toConnection(
          BY_USER,
          page,
          rows,
          ({ userId }) => userId,
          () => (at ? countPresenceAt(database, reach, filter, at) : countPresence(database, reach, filter)),
        );
        return { ...connection, edges: connection.edges.map(({ cursor, node }) => ({ cursor, node: node.presence })) };
      },
    },
    UserPresenceConnection,
  ),
);

const PresenceUpdateKind = builder.enumType('PresenceUpdateKind', {
  description: 'Whether an update replaces what the client knows, or changes it.',
  values: {
    SNAPSHOT: {
      description:
        'The whole state. It comes when the subscription begins, and when the server cannot say what has changed. It replaces everything that the client knows. If it comes in several parts, the client replaces it when the last part has come.',
    },
    DIFF: { description: 'The changes since the previous message.' },
  },
});

/**
 * How many users an update counts as when the size of a subscription is checked. The limit then has room for each field once.
 */
const CROWD = 10_000;

const PresenceUpdate = builder.objectRef<PresenceUpdateShape>('PresenceUpdate').implement({
  description: 'One message of userPresence. It has at most 10,000 users.',
  fields: (t) => ({
    kind: t.expose('kind', { type: PresenceUpdateKind, description: 'The whole state, or changes.' }),
    users: t.field({
      type: [UserPresence],
      description: 'The users of this update, each with the new presence.',
      extensions: { holds: CROWD },
      resolve: ({ users }) => users,
    }),
    at: t.expose('at', { type: 'DateTime', description: 'When the server made this update.' }),
    cursor: t.exposeString('cursor', {
      description:
        'A later subscription goes on from here with `after`, up to 12 hours later. It may repeat the changes of the 2 seconds before. If hasMore is true, the cursor is the place before the first part: keep the cursor of the last part.',
    }),
    hasMore: t.exposeBoolean('hasMore', {
      description:
        'Whether this update is a part, and the next message is the next part. A client replaces what it knows when the last part of a SNAPSHOT has come.',
    }),
  }),
});

/** The place of the cursor that a client has kept. Null: no cursor, or a cursor that holds no place. Throws INVALID_CURSOR. */
function placeOf(after: string | null | undefined): PresencePlace | null {
  if (after == null) return null;
  const place = readPresencePlace(after);
  if (place !== undefined) return place;
  throw new AppError(
    'INVALID_CURSOR',
    'after is not a cursor of userPresence or of changes. Take the cursor of an update.',
    {
      field: 'after',
    },
  );
}

/** The fields beside edges (`Beside`) that a subscription selects, and whose changes it therefore gets. */
function asksOf(info: GraphQLResolveInfo): ReadonlySet<Beside> {
  const asked = askedUnder(info, 'users');
  return new Set((['lastSeenAt', 'devices'] as const).filter((beside) => asked.has(beside)));
}

builder.subscriptionField('userPresence', (t) =>
  t.field({
    type: PresenceUpdate,
    description:
      'First a SNAPSHOT of the users that match, then a DIFF for each change of their status, onlineSessions or name. No change between the two is lost. If lastSeenAt is selected, a DIFF also comes when a user was seen again, at most once a minute for each user. If devices are selected, a DIFF also comes when a device says something about itself (setPresence), and when the devices change although their number stays: one session replaces another. A client that reads slowly gets the latest state of each user. Needs PRESENCE or READ.',
    ...needs('PRESENCE', 'READ'),
    args: {
      identities: t.arg.stringList({
        description:
          'Only these users. At most 1,000. All of them are in the SNAPSHOT, also the offline and the never seen. Left out: every user of the project (the SNAPSHOT then holds the users that are online).',
      }),
      after: t.arg.string({
        description:
          'The cursor of the last update that the client has, or a cursor of `changes`. The first update is then a DIFF with the changes since, and is empty if nothing has changed. A user whose lastSeenAt alone has changed is not in it. It is a SNAPSHOT if more than 20,000 users have changed, if a user was erased, or if the cursor is not valid any more (after 12 hours, or with another database).',
      }),
    },
    subscribe: (_root, { identities, after }, context, info) =>
      context.services.presence.watch(projectCaller(context).reach, {
        identities: identities ?? null,
        after: placeOf(after),
        asks: asksOf(info),
        charge: (rows) => context.charge(rows * (askedUnder(info, 'users').has('devices') ? 2 : 1)),
      }),
    resolve(update, _args, context, info) {
      if (!askedUnder(info, 'users').has('lastSeenAt')) return update;
      const reading = context.services.presence.readLastSeen(projectCaller(context).reach, update.users);
      return reading ? reading.then(() => update) : update;
    },
  }),
);

/** The price of a count, in rows. The server counts at most once a second, for all subscribers together. */
const COUNTED = 100;

builder.subscriptionField('onlineCount', (t) =>
  t.int({
    description:
      'How many users are online: first the number now, then each new number, at most once a second. With a token that is limited to certain users, only these are counted. Needs PRESENCE or READ.',
    extensions: { ...needs('PRESENCE', 'READ').extensions, reads: COUNTED },
    subscribe: (_root, _args, context) => context.services.presence.count(projectCaller(context).reach),
    resolve: ({ online }) => online,
  }),
);
