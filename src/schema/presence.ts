import type { PresenceUpdate as PresenceUpdateShape, UserPresence as UserPresenceShape } from '../domain/presence.js';
import { AppError } from '../errors.js';
import { countPresence, listPresence, presenceOf } from '../store/presence.js';
import { builder } from './builder.js';
import { isUuid, toConnection, toPage, type Paging } from './paging.js';
import { needs, projectCaller } from './scopes.js';

const PresenceStatus = builder.enumType('PresenceStatus', {
  description: 'Whether a user is there.',
  values: {
    ONLINE: { description: 'At least one session of the user counts as online.' },
    OFFLINE: { description: 'None does.' },
  },
});

export const UserPresence = builder.objectRef<UserPresenceShape>('UserPresence').implement({
  description: 'Whether a user is there, and since when.',
  fields: (t) => ({
    identity: t.exposeString('identity', { description: 'Who.' }),
    name: t.exposeString('name', { nullable: true, description: 'What people call the user.' }),
    status: t.expose('status', { type: PresenceStatus, description: 'There or not.' }),
    since: t.expose('since', {
      type: 'DateTime',
      nullable: true,
      description: 'When the status last changed; null for a user never seen, or erased.',
    }),
    lastSeenAt: t.expose('lastSeenAt', {
      type: 'DateTime',
      nullable: true,
      description: 'The latest event or heartbeat.',
    }),
    onlineSessions: t.exposeInt('onlineSessions', {
      description:
        'Sessions that count as online, at least 1 while ONLINE and 0 while OFFLINE: several devices are one user.',
    }),
  }),
});

const UserPresenceConnection = builder.connectionObject(
  { type: UserPresence, name: 'UserPresenceConnection', description: 'A page of users with their presence.' },
  { name: 'UserPresenceEdge', description: 'A user in a page.' },
);

const MOST_IDENTITIES = 1_000;

function checkIdentities(identities: readonly string[] | null | undefined): readonly string[] | null {
  if (!identities) return null;
  if (identities.length <= MOST_IDENTITIES) return identities;
  throw new AppError(
    'BAD_USER_INPUT',
    `identities holds ${identities.length} users; at most 1,000 can be asked for at once.`,
    {
      field: 'identities',
    },
  );
}

const BY_USER: Paging<string> = { kind: 'presence', isPlace: isUuid };
const isPosition = (value: unknown): value is number => Number.isInteger(value);
/** A list of named users has the order in which they were named. */
const BY_POSITION: Paging<number> = { kind: 'presence of', isPlace: isPosition };

builder.queryField('presence', (t) =>
  t.connection(
    {
      type: UserPresence,
      description: 'Who is online now, or the state of the identities asked for. Needs PRESENCE or READ.',
      ...needs('PRESENCE', 'READ'),
      args: {
        identities: t.arg.stringList({ description: 'These users, in this order, the never seen too: at most 1,000.' }),
        status: t.arg({
          type: PresenceStatus,
          defaultValue: 'ONLINE',
          description: 'Only users of this status; null for both. Where identities are given it is passed over.',
        }),
      },
      resolve: async (_root, args, context) => {
        const { database, clock } = context.services;
        const { reach } = projectCaller(context);
        const identities = checkIdentities(args.identities);
        if (identities) {
          const page = toPage(BY_POSITION, args);
          const states = await presenceOf(database, reach, identities, clock.now());
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
        const rows = await listPresence(database, reach, filter, page, clock.now());
        const connection = toConnection(
          BY_USER,
          page,
          rows,
          ({ userId }) => userId,
          () => countPresence(database, reach, filter),
        );
        return { ...connection, edges: connection.edges.map(({ cursor, node }) => ({ cursor, node: node.presence })) };
      },
    },
    UserPresenceConnection,
  ),
);

const PresenceUpdateKind = builder.enumType('PresenceUpdateKind', {
  description: 'How an update is to be read.',
  values: {
    SNAPSHOT: {
      description: 'The state when the subscription began, or after a gap. It replaces what the client knows.',
    },
    DIFF: { description: 'What changed since the message before.' },
  },
});

const PresenceUpdate = builder.objectRef<PresenceUpdateShape>('PresenceUpdate').implement({
  description: 'One message of userPresence.',
  fields: (t) => ({
    kind: t.expose('kind', { type: PresenceUpdateKind, description: 'The whole state, or what changed.' }),
    users: t.field({ type: [UserPresence], description: 'The users it speaks of.', resolve: ({ users }) => users }),
    at: t.expose('at', { type: 'DateTime', description: 'When the server made it.' }),
  }),
});

builder.subscriptionField('userPresence', (t) =>
  t.field({
    type: PresenceUpdate,
    description:
      'First a SNAPSHOT of the users that match, then a DIFF for each change, with nothing lost between the two. Needs PRESENCE or READ.',
    ...needs('PRESENCE', 'READ'),
    args: {
      identities: t.arg.stringList({
        description:
          'At most 1,000; each of them is in the SNAPSHOT, the offline and the never seen too. Left out: every user of the project (the SNAPSHOT then holds those who are online).',
      }),
    },
    subscribe: (_root, { identities }, context) =>
      context.services.presence.watch(projectCaller(context).reach, checkIdentities(identities)),
    resolve: (update) => update,
  }),
);
