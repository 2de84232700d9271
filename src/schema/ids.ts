import { isObjectType, type GraphQLField, type GraphQLFieldResolver, type GraphQLSchema } from 'graphql';
import type { Context } from './context.js';
import { toGlobalId, type NodeType } from './global-id.js';

/** What the builder keeps of a type that `builder.node` has made. */
interface NodeOptions {
  readonly id: { readonly resolve: GraphQLFieldResolver<unknown, Context, unknown, string> };
}

/**
 * Makes the `id` of each Node at once. The resolver of the Relay plugin is an async function: so each id of an answer was a promise,
 * and nothing that selects an id could be executed without waiting. A change with two ids took twice as long.
 */
export function makeIdsAtOnce(schema: GraphQLSchema): GraphQLSchema {
  for (const type of Object.values(schema.getTypeMap())) {
    if (!isObjectType(type) || !type.getInterfaces().some(({ name }) => name === 'Node')) continue;
    const { id } = type.extensions['pothosOptions'] as NodeOptions;
    const field = type.getFields()['id'] as GraphQLField<unknown, Context>;
    field.resolve = (parent, args: Record<string, unknown>, context, info) =>
      toGlobalId(type.name as NodeType, id.resolve(parent, args, context, info));
  }
  return schema;
}
