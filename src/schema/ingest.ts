import type { IngestOutcome } from '../domain/event.js';
import { builder } from './builder.js';
import { toGlobalId } from './global-id.js';
import { Session } from './nouns.js';
import { needs, projectCaller } from './scopes.js';
import { loadSession } from './session.js';

const UserInput = builder.inputType('UserInput', {
  description: 'Whose event it is.',
  fields: (t) => ({
    identity: t.string({
      required: true,
      description: 'Who the user is to you: an id or an e-mail address. 1 to 255 characters after trimming.',
    }),
    name: t.string({ description: 'What people call the user. At most 255 characters.' }),
    data: t.field({ type: 'JSONObject', description: 'Anything else worth keeping about the user.' }),
  }),
});

const EventInput = builder.inputType('EventInput', {
  description: 'Something that happened.',
  fields: (t) => ({
    id: t.id({
      description:
        'Idempotency key, 1 to 100 characters. The same id again within 3 days is answered DUPLICATE and changes nothing.',
    }),
    type: t.string({
      required: true,
      defaultValue: 'log',
      description:
        'Known types: log, error, usage, 404, session, sessionend, heartbeat. Any other name is a custom type. 1 to 100 characters.',
    }),
    source: t.string({ description: 'Where it comes from: a page, a logger, a feature. At most 2,000 characters.' }),
    message: t.string({ description: 'What it says. At most 10,000 characters.' }),
    occurredAt: t.field({
      type: 'DateTime',
      description: 'When it happened. Default: now. A time in the future becomes now; more than 3 days ago is refused.',
    }),
    value: t.float({ description: 'A number that belongs to it.' }),
    tags: t.stringList({ description: 'Words to find it by: at most 100.' }),
    referenceId: t.string({
      description: "Your own handle for the event; for a session event it is the session's key.",
    }),
    sessionKey: t.string({
      description:
        "Names the session yourself (8 to 100 letters, digits or '-'). Without it the session is found by the user's identity.",
    }),
    user: t.field({ type: UserInput, description: 'Whose event it is.' }),
    version: t.string({ description: 'Application version, e.g. 1.4.2' }),
    data: t.field({
      type: 'JSONObject',
      description:
        'Free data, at most 256 KiB as JSON. Keys that begin with @ are known: @environment, @request, @error, @simple_error, @level and others.',
    }),
  }),
});

const IngestStatus = builder.enumType('IngestStatus', {
  description: 'What became of an event.',
  values: {
    ACCEPTED: { description: 'Stored.' },
    DISCARDED: { description: 'Took effect (a heartbeat, a repeated start or end) and is not kept as an event.' },
    DUPLICATE: { description: 'An event with this id was taken already.' },
    REJECTED: { description: 'Not stored; code and message say why.' },
  },
});

type Result = IngestOutcome & { index: number };

const IngestResult = builder.objectRef<Result>('IngestResult').implement({
  description: 'What became of one event.',
  fields: (t) => ({
    index: t.exposeInt('index', { description: 'Position in the request, from 0.' }),
    status: t.expose('status', { type: IngestStatus, description: 'What became of it.' }),
    eventId: t.id({
      nullable: true,
      description: "The stored event's id.",
      resolve: ({ eventId }) => eventId && toGlobalId('Event', eventId),
    }),
    sessionId: t.id({
      nullable: true,
      description: 'The session it belongs to, if any.',
      resolve: ({ sessionId }) => sessionId && toGlobalId('Session', sessionId),
    }),
    code: t.exposeString('code', {
      nullable: true,
      description:
        'For REJECTED and DISCARDED: a stable reason, e.g. INVALID_TYPE, TOO_LARGE, DUPLICATE_SESSION_START.',
    }),
    message: t.exposeString('message', { nullable: true, description: 'The reason in a sentence.' }),
  }),
});

const IngestPayload = builder.objectRef<readonly IngestOutcome[]>('IngestPayload').implement({
  description: 'What became of the events of a request.',
  fields: (t) => {
    const counted = (status: IngestOutcome['status'], description: string) =>
      t.int({ description, resolve: (outcomes) => outcomes.filter((outcome) => outcome.status === status).length });
    return {
      accepted: counted('ACCEPTED', 'How many were stored.'),
      discarded: counted('DISCARDED', 'How many took effect and are not kept.'),
      duplicates: counted('DUPLICATE', 'How many were known already.'),
      rejected: counted('REJECTED', 'How many were refused.'),
      results: t.field({
        type: [IngestResult],
        description: 'One per event, in the order of the request.',
        resolve: (outcomes) => outcomes.map((outcome, index) => ({ ...outcome, index })),
      }),
    };
  },
});

const HeartbeatInput = builder.inputType('HeartbeatInput', {
  description: 'Whose heartbeat: a session key or an identity.',
  fields: (t) => ({
    sessionKey: t.string({ description: "Either the session's key..." }),
    identity: t.string({ description: "...or the user's identity." }),
    close: t.boolean({
      required: true,
      defaultValue: false,
      description:
        'True: the session ends here. It counts as online for 5 more seconds, so that a page load is no departure, or for up to 35 where another tab was heard; only then is its user OFFLINE, if no other session is online.',
    }),
  }),
});

const HeartbeatPayload = builder
  .objectRef<{ acknowledged: boolean; sessionId: string | null }>('HeartbeatPayload')
  .implement({
    description: 'What became of a heartbeat.',
    fields: (t) => ({
      acknowledged: t.exposeBoolean('acknowledged', {
        description: 'False where there was no session to keep alive or to open.',
      }),
      session: t.field({
        type: Session,
        nullable: true,
        description: 'The session it kept alive. Needs READ: a key that may only send sees no session.',
        ...needs('READ'),
        resolve: ({ sessionId }, _args, context) => (sessionId === null ? null : loadSession(context, sessionId)),
      }),
    }),
  });

builder.mutationFields((t) => ({
  ingestEvents: t.field({
    type: IngestPayload,
    description: 'Takes 1 to 1,000 events. Answers when every accepted event is durably stored. Needs INGEST.',
    ...needs('INGEST'),
    args: {
      events: t.arg({ type: [EventInput], required: true, description: 'The events, in any order.' }),
      sentAt: t.arg({
        type: 'DateTime',
        description:
          "Your clock when you sent the request. Where it differs from the server's by more than 2 seconds, the difference is taken off every occurredAt.",
      }),
    },
    resolve: (_root, { events, sentAt }, context) =>
      context.services.ingest.ingestEvents(projectCaller(context), events, context.sender, sentAt),
  }),
  recordHeartbeat: t.field({
    type: HeartbeatPayload,
    description:
      'Says that a user or session is still there, or with close that it leaves. Send it every 30 seconds. Needs INGEST.',
    ...needs('INGEST'),
    args: { input: t.arg({ type: HeartbeatInput, required: true, description: 'Whose heartbeat.' }) },
    resolve: (_root, { input }, context) =>
      context.services.ingest.recordHeartbeat(projectCaller(context), input, context.sender),
  }),
}));
