import type { GraphQLSchema } from 'graphql';
import { builder } from './builder.js';
import './project.js';
import './session.js';
import './user.js';
import './event.js';
import './presence.js';
import './presence-device.js';
import './presence-history.js';
import './statistics.js';
import './breakdown.js';
import './ingest.js';
import './change.js';
import './live.js';
import './webhook.js';
import { makeIdsAtOnce } from './ids.js';
import { tellListLimits } from './list-limits.js';
import { enforceScopes } from './scopes.js';
import { tidyTexts } from './texts.js';

function build(): GraphQLSchema {
  const built = enforceScopes(makeIdsAtOnce(tellListLimits(tidyTexts(builder.toSchema()))));
  // The Relay plugin makes this field and has no option for the description of its argument.
  built.getQueryType()!.getFields()['node']!.args[0]!.description = 'The id, as an id field returns it.';
  return built;
}

/** The whole schema. A resolver uses only the Context that it gets, and no global state. */
export const schema: GraphQLSchema = build();
