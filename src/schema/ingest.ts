import type { IngestOutcome } from '../domain/event.js';
import { AppError } from '../errors.js';
import { MOST_EVENTS } from '../services/ingest/admit-events.js';
import { builder } from './builder.js';
import type { Context } from './context.js';
import { toGlobalId } from './global-id.js';
import { Session } from './nouns.js';
import { needs, projectCaller } from './scopes.js';
import { loadSession } from './session.js';

const UserInput = builder.inputType('UserInput', {
  description: 'The user of an event.',
  fields: (t) => ({
    identity: t.string({
      required: true,
      description: 'Your own id for the user, or an e-mail address. 1 to 255 characters without the spaces around it.',
    }),
    name: t.string({ description: 'The name of the user, for display. At most 255 characters.' }),
    data: t.field({ type: 'JSONObject', description: 'Other data about the user.' }),
  }),
});

const EventInput = builder.inputType('EventInput', {
  description: 'An event to store.',
  fields: (t) => ({
    id: t.id({
      description:
        'Idempotency key, 1 to 100 characters. An event with the same id within 3 days gets the status DUPLICATE and changes nothing.',
    }),
    type: t.string({
      required: true,
      defaultValue: 'log',
      description:
        'Known types: log, error, usage, 404, session, sessionend, heartbeat. Any other name is a custom type. 1 to 100 characters.',
    }),
    source: t.string({
      description: 'Where the event comes from: a page, a logger, a feature. At most 2,000 characters.',
    }),
    message: t.string({ description: 'The text of the event. At most 10,000 characters.' }),
    occurredAt: t.field({
      type: 'DateTime',
      description:
        'When the event happened. Default: now. A time in the future becomes now. A time more than 3 days ago is REJECTED.',
    }),
    value: t.float({ description: 'A number that belongs to the event.' }),
    tags: t.stringList({ description: 'Words to find the event by: at most 100.' }),
    referenceId: t.string({
      description:
        "Your own identifier of the event. For a session event without a sessionKey it is the session's key.",
    }),
    sessionKey: t.string({
      description:
        "Your own name for the session (8 to 100 letters, digits or '-'). Without a key the server finds the session by the user's identity and the device.",
    }),
    deviceId: t.id({
      description:
        "What you call the browser or machine: 8 to 100 letters, digits, '-' or '_'. Make a random one, keep it in the browser, and send it with every event and heartbeat. A user has a session on each device. What a visitor does before signing in belongs to the session of the user who signs in.",
    }),
    user: t.field({ type: UserInput, description: 'The user of the event.' }),
    version: t.string({ description: 'The version of the application, e.g. 1.4.2.' }),
    data: t.field({
      type: 'JSONObject',
      description:
        'Any other data: at most 256 KiB as JSON, where a number counts with all its digits (1e300 has 301). The server knows some keys that begin with @: @environment, @request, @error, @simple_error, @level and others.',
    }),
  }),
});

const IngestStatus = builder.enumType('IngestStatus', {
  description: 'What the server did with an event.',
  values: {
    ACCEPTED: { description: 'The event was stored.' },
    DISCARDED: {
      description:
        'The event was not stored, but it may have changed a session: a heartbeat, a repeated start or a repeated end.',
    },
    DUPLICATE: { description: 'The server already has an event with this id.' },
    REJECTED: { description: 'The event was refused and not stored; code and message say why.' },
  },
});

type Result = IngestOutcome & { index: number };

const IngestResult = builder.objectRef<Result>('IngestResult').implement({
  description: 'What the server did with one event.',
  fields: (t) => ({
    index: t.exposeInt('index', { description: 'The position of the event in the request, from 0.' }),
    status: t.expose('status', { type: IngestStatus, description: 'What the server did with the event.' }),
    eventId: t.id({
      nullable: true,
      description: 'The id of the stored event; null if no event was stored.',
      resolve: ({ eventId }) => eventId && toGlobalId('Event', eventId),
    }),
    sessionId: t.id({
      nullable: true,
      description: 'The id of the session of the event; null if it has no session.',
      resolve: ({ sessionId }) => sessionId && toGlobalId('Session', sessionId),
    }),
    code: t.exposeString('code', {
      nullable: true,
      description:
        'The reason for REJECTED and DISCARDED, e.g. INVALID_TYPE, TOO_LARGE, DUPLICATE_SESSION_START. Codes do not change between versions.',
    }),
    message: t.exposeString('message', { nullable: true, description: 'The reason as a sentence.' }),
  }),
});

const IngestPayload = builder.objectRef<readonly IngestOutcome[]>('IngestPayload').implement({
  description: 'What the server did with the events of a request.',
  fields: (t) => {
    const counted = (status: IngestOutcome['status'], description: string) =>
      t.int({ description, resolve: (outcomes) => outcomes.filter((outcome) => outcome.status === status).length });
    return {
      accepted: counted('ACCEPTED', 'Number of events that were stored.'),
      discarded: counted('DISCARDED', 'Number of events that were not stored but may have changed a session.'),
      duplicates: counted('DUPLICATE', 'Number of events that the server already had.'),
      rejected: counted('REJECTED', 'Number of events that were refused.'),
      results: t.field({
        type: [IngestResult],
        description: 'One result for each event, in the order of the request.',
        resolve: (outcomes) => outcomes.map((outcome, index) => ({ ...outcome, index })),
      }),
    };
  },
});

export const HeartbeatInput = builder.inputType('HeartbeatInput', {
  description:
    'A heartbeat of a session, a user or a device: give sessionKey alone, or identity, deviceId or both of these.',
  fields: (t) => ({
    sessionKey: t.string({ description: "The session's key." }),
    identity: t.string({ description: "The user's identity." }),
    deviceId: t.id({
      description: 'The device, as in EventInput: with identity, or alone if nobody is signed in.',
    }),
    close: t.boolean({
      required: true,
      defaultValue: false,
      description:
        'True: the session ends now. It still counts as online for 5 seconds, so that a page load does not make the user OFFLINE. If another tab has sent heartbeats, it counts as online for up to 35 seconds. Then the user is OFFLINE, unless another session is online.',
    }),
  }),
});

export const HeartbeatPayload = builder
  .objectRef<{ acknowledged: boolean; sessionId: string | null }>('HeartbeatPayload')
  .implement({
    description: 'What the server did with a heartbeat.',
    fields: (t) => ({
      acknowledged: t.exposeBoolean('acknowledged', {
        description: 'False if there was no session to keep open, and none to start.',
      }),
      session: t.field({
        type: Session,
        nullable: true,
        description: 'The session of the heartbeat. Needs READ: a key that has only INGEST cannot read sessions.',
        ...needs('READ'),
        resolve: ({ sessionId }, _args, context) => (sessionId === null ? null : loadSession(context, sessionId)),
      }),
    }),
  });

/** Number of events that the fields of an operation have sent so far. Aliases make several ingestEvents fields possible. */
const sent = new WeakMap<Context, number>();

/** Adds the events of one more field. Throws TOO_MANY_EVENTS if all fields of the operation send more than 1,000 events. */
function countEvents(context: Context, count: number): void {
  const before = sent.get(context) ?? 0;
  if (before > 0 && before + count > MOST_EVENTS) {
    throw new AppError(
      'TOO_MANY_EVENTS',
      `An operation sends at most 1,000 events. This operation has already sent ${before}, so none of these ${count} events was stored.`,
      { field: 'events' },
    );
  }
  sent.set(context, before + count);
}

builder.mutationFields((t) => ({
  ingestEvents: t.field({
    type: IngestPayload,
    description:
      'Stores 1 to 1,000 events. The server answers after it has durably stored every accepted event. Needs INGEST.',
    ...needs('INGEST'),
    args: {
      events: t.arg({ type: [EventInput], required: true, description: 'The events, in any order.' }),
      sentAt: t.arg({
        type: 'DateTime',
        description:
          "The time of your clock when you send the request. If it differs from the server's clock by more than 2 seconds, the server corrects every occurredAt by the difference.",
      }),
    },
    resolve(_root, { events, sentAt }, context) {
      countEvents(context, events.length);
      return context.services.ingest.ingestEvents(projectCaller(context), events, context.sender, sentAt);
    },
  }),
  recordHeartbeat: t.field({
    type: HeartbeatPayload,
    description:
      'Tells the server that a user or session is still there or, with close, that it ends. Send one every 30 seconds. Needs INGEST.',
    ...needs('INGEST'),
    args: { input: t.arg({ type: HeartbeatInput, required: true, description: 'The heartbeat.' }) },
    resolve: (_root, { input }, context) =>
      context.services.ingest.recordHeartbeat(projectCaller(context), input, context.sender),
  }),
}));
