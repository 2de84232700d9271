import {
  DISABLED_REASON,
  LONGEST_QUERY,
  LONGEST_URL,
  MOST_WEBHOOKS,
  type DisabledReason as DisabledReasonName,
} from '../domain/webhook.js';
import { countDeliveries, getDelivery, listDeliveries, type DeliveryRow } from '../store/webhooks/deliveries.js';
import { getWebhook, listWebhooks, type WebhookRow } from '../store/webhooks/webhooks.js';
import { builder } from './builder.js';
import { fromGlobalId, toGlobalId } from './global-id.js';
import { isUuid, toConnection, toPage, type Paging } from './paging.js';
import { Project, reachOf } from './project.js';
import { checkScope, needs, projectCaller } from './scopes.js';

const DisabledReason = builder.enumType('WebhookDisabledReason', {
  description: 'Why a webhook delivers nothing, and how it goes on.',
  values: Object.fromEntries(
    Object.entries(DISABLED_REASON).map(([name, description]) => [name, { description }]),
  ) as Record<DisabledReasonName, { description: string }>,
});

const WebhookDelivery = builder.objectRef<DeliveryRow>('WebhookDelivery');
builder.node(WebhookDelivery, {
  description:
    'An attempt to deliver a message of a webhook. The server keeps those of 7 days, and of each webhook the latest 10,080. It keeps neither what was sent nor the body of the answer.',
  id: { resolve: ({ id }) => id, description: 'The id of the attempt.' },
  isTypeOf: (value) => typeof value === 'object' && value !== null && 'webhookId' in value,
  loadOne: (id, context) => {
    checkScope(context.caller, ['MANAGE']);
    const { reach } = projectCaller(context);
    return getDelivery(context.services.database, reach, fromGlobalId('WebhookDelivery', id, 'id'));
  },
  fields: (t) => ({
    at: t.expose('at', { type: 'DateTime', description: 'When the attempt began.' }),
    messageId: t.exposeString('messageId', {
      description:
        'The `webhook-id` of the message. Every attempt of a message has the same. Empty: the server could not make a message.',
    }),
    attempt: t.exposeInt('attempt', { description: 'The number of the attempt, from 1 on.' }),
    status: t.exposeInt('status', {
      nullable: true,
      description: 'The HTTP status of the answer: 2xx takes the message. Null: there was no answer.',
    }),
    error: t.exposeString('error', {
      nullable: true,
      description:
        'Why there was no answer, or why the answer does not take the message. If the reason begins with “The server” or with a code, the receiver is not at fault, and the attempt does not count as its failure.',
    }),
    milliseconds: t.exposeFloat('milliseconds', { description: 'How long the receiver took. Milliseconds.' }),
    changes: t.exposeInt('changes', { description: 'The number of results in the message.' }),
  }),
});

const WebhookDeliveryConnection = builder.connectionObject(
  { type: WebhookDelivery, name: 'WebhookDeliveryConnection', description: 'A page of attempts.' },
  { name: 'WebhookDeliveryEdge', description: 'An attempt in a page.' },
);
const NEWEST_FIRST: Paging<string> = { kind: 'deliveries', isPlace: isUuid };

const Webhook = builder.objectRef<WebhookRow>('Webhook');
builder.node(Webhook, {
  description:
    'A stored subscription of `changes`. The server posts its results to a URL, signed by the rules of Standard Webhooks, and repeats a message until it is taken.',
  id: { resolve: ({ id }) => id, description: 'The id of the webhook.' },
  isTypeOf: (value) => typeof value === 'object' && value !== null && 'disabledReason' in value,
  loadOne: (id, context) => {
    checkScope(context.caller, ['MANAGE']);
    return getWebhook(context.services.database, projectCaller(context).reach, fromGlobalId('Webhook', id, 'id'));
  },
  fields: (t) => ({
    name: t.exposeString('name', { description: 'What the webhook is for. May be empty.' }),
    url: t.exposeString('url', { description: 'Where the messages are posted.' }),
    query: t.exposeString('query', { description: 'The subscription whose results are posted.' }),
    variables: t.expose('variables', {
      type: 'JSONObject',
      nullable: true,
      description: 'The variables of the subscription.',
    }),
    enabled: t.exposeBoolean('enabled', { description: 'Whether messages are posted.' }),
    disabledReason: t.field({
      type: DisabledReason,
      nullable: true,
      description: 'Why it is not enabled; null while it is.',
      resolve: ({ disabledReason }) => disabledReason as DisabledReasonName | null,
    }),
    createdAt: t.expose('createdAt', { type: 'DateTime', description: 'When the webhook was made.' }),
    cursor: t.exposeString('cursor', { description: 'The place in the feed up to which everything was taken.' }),
    lag: t.float({
      description: 'Seconds from the oldest change that waits to now; 0 where none waits.',
      extensions: { reads: 50 },
      resolve: (webhook, _args, context) => context.services.webhooks.lag(projectCaller(context).reach, webhook),
    }),
    deliveries: t.connection(
      {
        type: WebhookDelivery,
        description: 'The latest attempts, the newest first.',
        async resolve({ id }, args, context) {
          const { database } = context.services;
          const { reach } = projectCaller(context);
          const page = toPage(NEWEST_FIRST, args);
          return toConnection(
            NEWEST_FIRST,
            page,
            await listDeliveries(database, reach, id, page),
            (delivery) => delivery.id,
            () => countDeliveries(database, reach, id),
          );
        },
      },
      WebhookDeliveryConnection,
    ),
  }),
});

builder.objectField(Project, 'webhooks', (t) =>
  t.field({
    type: [Webhook],
    description: `The webhooks of the project, the oldest first: at most ${MOST_WEBHOOKS}. Needs MANAGE.`,
    extensions: { ...needs('MANAGE').extensions, reads: MOST_WEBHOOKS, holds: MOST_WEBHOOKS },
    resolve: (project, _args, { services: { database } }) => listWebhooks(database, reachOf(project)),
  }),
);

const CreateWebhookPayload = builder
  .objectRef<{ webhook: WebhookRow; secret: string }>('CreateWebhookPayload')
  .implement({
    description: 'A webhook and its new secret.',
    fields: (t) => ({
      webhook: t.field({ type: Webhook, description: 'The webhook.', resolve: ({ webhook }) => webhook }),
      secret: t.exposeString('secret', {
        description:
          'The secret with which the receiver verifies messages: `whsec_…`. The server shows it only this once.',
      }),
    }),
  });

const URL = `Where to post: a URL that begins with https://, with at most ${LONGEST_URL} characters, no user name and no password. Its address must be a public one, unless the operator allows others (WEBHOOKS_TO).`;
const QUERY = `A subscription of \`changes\`, with at most ${LONGEST_QUERY} characters. Its \`after\` has no effect: the webhook has its own cursor.`;
const VARIABLES = `The variables of the subscription, with at most ${LONGEST_QUERY} characters as JSON.`;
const NAME = 'What the webhook is for: at most 100 characters.';
/** The cost of a test in rows: so much that an operation has one at most, because each may take 15 seconds. */
const TEST = 10_000;

builder.mutationFields((t) => ({
  createWebhook: t.field({
    type: CreateWebhookPayload,
    description: `Makes a webhook: every result of a \`changes\` subscription is posted to a URL, signed, and again until it is taken. The results are those of a key with READ. A project has at most ${MOST_WEBHOOKS} (TOO_MANY_WEBHOOKS). Needs MANAGE.`,
    ...needs('MANAGE'),
    args: {
      url: t.arg.string({ required: true, description: URL }),
      query: t.arg.string({ required: true, description: QUERY }),
      variables: t.arg({ type: 'JSONObject', description: VARIABLES }),
      name: t.arg.string({ required: true, defaultValue: '', description: NAME }),
      after: t.arg.string({
        description: 'Begin after this cursor of the feed. Left out: with what is stored from now on.',
      }),
    },
    resolve: (_root, args, context) => context.services.webhooks.create(projectCaller(context), args),
  }),
  updateWebhook: t.field({
    type: Webhook,
    description:
      'Changes a webhook. What is left out stays. If more than the name changes, it is tried at once, and its failures are forgotten. Needs MANAGE.',
    ...needs('MANAGE'),
    args: {
      id: t.arg.id({ required: true, description: 'The id of the webhook.' }),
      url: t.arg.string({ description: URL }),
      query: t.arg.string({ description: QUERY }),
      variables: t.arg({ type: 'JSONObject', description: VARIABLES }),
      name: t.arg.string({ description: NAME }),
      enabled: t.arg.boolean({
        description: 'True starts a webhook that was stopped or given up, where it stopped; false stops it.',
      }),
      after: t.arg.string({
        description: 'Go back, or on, to this cursor of the feed: everything after it is posted, as new messages.',
      }),
    },
    resolve: (_root, { id, ...changes }, context) =>
      context.services.webhooks.update(projectCaller(context), fromGlobalId('Webhook', id, 'id'), changes),
  }),
  rotateWebhookSecret: t.field({
    type: CreateWebhookPayload,
    description:
      'Makes a new secret. For a day messages are signed with the old one too, so that the receiver can change over. Another rotation in that time ends the older of the two. Needs MANAGE.',
    ...needs('MANAGE'),
    args: { id: t.arg.id({ required: true, description: 'The id of the webhook.' }) },
    resolve: (_root, { id }, context) =>
      context.services.webhooks.rotateSecret(projectCaller(context), fromGlobalId('Webhook', id, 'id')),
  }),
  deleteWebhook: t.field({
    type: 'ID',
    description: 'Deletes a webhook. Returns its id. A message that is being sent may still arrive. Needs MANAGE.',
    ...needs('MANAGE'),
    args: { id: t.arg.id({ required: true, description: 'The id of the webhook.' }) },
    resolve: async (_root, { id }, context) => {
      const uuid = fromGlobalId('Webhook', id, 'id');
      await context.services.webhooks.remove(projectCaller(context), uuid);
      return toGlobalId('Webhook', uuid);
    },
  }),
  testWebhook: t.field({
    type: WebhookDelivery,
    description:
      'Sends a sample now and says what came back, within 15 seconds. The message has the type `test`, and the oldest kept change that the query asks for, if one is found quickly. It changes nothing else. Needs MANAGE.',
    extensions: { ...needs('MANAGE').extensions, reads: TEST },
    args: { id: t.arg.id({ required: true, description: 'The id of the webhook.' }) },
    resolve: (_root, { id }, context) =>
      context.services.webhooks.test(projectCaller(context).reach, fromGlobalId('Webhook', id, 'id')),
  }),
}));

builder.queryField('webhookProblems', (t) =>
  t.stringList({
    description:
      'What is wrong with a query for a webhook, as createWebhook checks it; empty: nothing. For forms that tell it while somebody types. Needs MANAGE.',
    extensions: { ...needs('MANAGE').extensions, reads: 100 },
    args: {
      query: t.arg.string({ required: true, description: QUERY }),
      variables: t.arg({ type: 'JSONObject', description: VARIABLES }),
    },
    resolve: async (_root, { query, variables }, context) => [
      ...(await context.services.webhooks.problems(projectCaller(context).reach, query, variables ?? null)),
    ],
  }),
);
