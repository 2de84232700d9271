import { userIdOf } from '../domain/identity.js';
import type { UserPresence as UserPresenceShape } from '../domain/presence.js';
import { presenceOf } from '../store/presence.js';
import { findUser, readUserData } from '../store/users.js';
import { builder } from './builder.js';
import { loaderOf } from './loaders.js';
import { Session, User } from './nouns.js';
import { UserPresence } from './presence.js';
import { needs, projectCaller } from './scopes.js';
import { SessionConnection, sessionConnection, SessionFilter } from './session.js';

User.implement({
  description: 'Somebody the application knows.',
  fields: (t) => ({
    identity: t.exposeString('identity', { description: 'Who the user is to the application.' }),
    name: t.exposeString('name', { nullable: true, description: 'What people call the user: the latest name sent.' }),
    data: t.field({
      type: 'JSONObject',
      description: 'What the application last said of the user; {} where it never did.',
      resolve: ({ identity }, _args, context) =>
        loaderOf<string, Record<string, unknown>>(context, 'user data', async (identities) => {
          const data = await readUserData(context.services.database, projectCaller(context).reach, identities);
          return identities.map((one) => data.get(one) ?? {});
        }).load(identity),
    }),
    presence: t.field({
      type: UserPresence,
      description: 'Whether the user is there.',
      resolve: ({ identity }, _args, context) =>
        loaderOf<string, UserPresenceShape>(context, 'presence', async (identities) => {
          const { reach } = projectCaller(context);
          const states = await presenceOf(context.services.database, reach, identities, context.services.clock.now());
          const byIdentity = new Map(states.map((state) => [state.identity, state]));
          return identities.map((one) => byIdentity.get(one)!);
        }).load(identity),
    }),
    sessions: t.connection(
      {
        type: Session,
        description: "The user's sessions, the newest first.",
        args: { filter: t.arg({ type: SessionFilter, description: 'Which of them.' }) },
        resolve: ({ identity }, args, context) => {
          const { reach } = projectCaller(context);
          const id = userIdOf(reach.projectId, identity);
          const within = reach.userIds === null || reach.userIds.includes(id) ? [id] : [];
          return sessionConnection(context, { ...reach, userIds: within }, args);
        },
      },
      SessionConnection,
    ),
  }),
});

builder.queryField('user', (t) =>
  t.field({
    type: User,
    nullable: true,
    description: 'A user; null where the project has never seen the identity. Needs READ.',
    ...needs('READ'),
    args: { identity: t.arg.string({ required: true, description: 'Who.' }) },
    resolve: (_root, { identity }, context) =>
      findUser(context.services.database, projectCaller(context).reach, identity),
  }),
);
