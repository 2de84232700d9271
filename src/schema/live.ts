import type { SessionChange as SessionChangeShape } from '../services/live.js';
import { builder } from './builder.js';
import { checkEventFilter, EventFilter } from './event.js';
import { Event, Session } from './nouns.js';
import { needs, projectCaller } from './scopes.js';
import { sessionIdsOf } from './session.js';

const SessionChangeKind = builder.enumType('SessionChangeKind', {
  description: 'What happened to a session.',
  values: {
    STARTED: { description: 'It began.' },
    UPDATED: { description: 'It moved on: an event, a heartbeat, a reopening.' },
    ENDED: { description: 'It ended.' },
  },
});

const SessionChange = builder.objectRef<SessionChangeShape>('SessionChange').implement({
  description: 'A change of a session.',
  fields: (t) => ({
    kind: t.expose('kind', { type: SessionChangeKind, description: 'What happened.' }),
    session: t.field({ type: Session, description: 'The session as it is now.', resolve: ({ session }) => session }),
    at: t.expose('at', { type: 'DateTime', description: 'When the server stored the change.' }),
  }),
});

builder.subscriptionFields((t) => ({
  sessionChanged: t.field({
    type: SessionChange,
    description:
      'Sessions as they start, move on and end. Where one may have been missed it ends with UNAVAILABLE: read, then subscribe again. Needs READ.',
    ...needs('READ'),
    args: {
      identities: t.arg.stringList({ description: 'Only of these users.' }),
      sessionIds: t.arg.idList({ description: 'Only these sessions.' }),
      kinds: t.arg({ type: [SessionChangeKind], description: 'Only these changes.' }),
    },
    subscribe: async (_root, { identities, sessionIds, kinds }, context) =>
      context.services.live.watchSessions(projectCaller(context).reach, {
        identities: identities ?? null,
        sessionIds: await sessionIdsOf(context, sessionIds, 'sessionIds'),
        kinds: kinds ?? null,
      }),
    resolve: (change) => change,
  }),
  eventIngested: t.field({
    type: Event,
    description:
      'Events as they are stored. Where one may have been missed it ends with UNAVAILABLE: read, then subscribe again. Needs READ.',
    ...needs('READ'),
    args: { filter: t.arg({ type: EventFilter, description: 'Only these events.' }) },
    subscribe: async (_root, { filter }, context) =>
      context.services.live.watchEvents(projectCaller(context).reach, await checkEventFilter(context, filter)),
    resolve: (event) => event,
  }),
}));
