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

/** The whole schema. Every resolver works on the Context it is given and on nothing else. */
export const schema: GraphQLSchema = enforceScopes(builder.toSchema());
