import type { GraphQLSchema } from 'graphql';
import { builder } from './builder.js';
import './project.js';
import './session.js';
import './user.js';
import './event.js';
import './presence.js';
import './statistics.js';
import './ingest.js';
import './live.js';
import { enforceScopes } from './scopes.js';
import { tidyTexts } from './texts.js';

function build(): GraphQLSchema {
  const built = enforceScopes(tidyTexts(builder.toSchema()));
  // The plugin that makes this field has no option for its argument's description.
  built.getQueryType()!.getFields()['node']!.args[0]!.description = 'The id, as the id field of any thing gives it.';
  return built;
}

/** The whole schema. Every resolver works on the Context it is given and on nothing else. */
export const schema: GraphQLSchema = build();
