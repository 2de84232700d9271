import { builder } from './builder.js';
import { checkEventFilter, EventFilter } from './event.js';
import { Event } from './nouns.js';
import { needs, projectCaller } from './scopes.js';

builder.subscriptionFields((t) => ({
  eventIngested: t.field({
    type: Event,
    description:
      'Each event when it is stored. If the server may have missed an event, the subscription ends with UNAVAILABLE: subscribe again, then read what is missing with a query, or use `changes`, which misses nothing. Needs READ.',
    ...needs('READ'),
    args: { filter: t.arg({ type: EventFilter, description: 'Only these events.' }) },
    subscribe: async (_root, { filter }, context) =>
      context.services.live.watchEvents(projectCaller(context).reach, await checkEventFilter(context, filter)),
    resolve: (event) => event,
  }),
}));
