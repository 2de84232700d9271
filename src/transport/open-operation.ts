import type { DocumentNode, ExecutionArgs, GraphQLError } from 'graphql';
import type { Door, GraphQLServer } from './graphql.js';

/** An operation as a client sends it. */
interface Params {
  readonly query: string;
  readonly operationName?: string | null | undefined;
  readonly variables?: Record<string, unknown> | null | undefined;
}

/**
 * Parses and validates an operation with the engine, every plugin included: what it runs with, or what is wrong with
 * it. Throws where it does not parse.
 */
export async function openOperation(
  graphql: GraphQLServer,
  door: Door,
  params: Params,
): Promise<
  | { readonly errors: readonly GraphQLError[] }
  | { readonly errors: null; readonly args: ExecutionArgs; readonly execute: (args: ExecutionArgs) => unknown }
> {
  // The engine keeps its notes on an operation by `params`.
  const enveloped = graphql.getEnveloped({ ...door, params } as Door);
  const document = enveloped.parse(params.query) as DocumentNode;
  const errors = enveloped.validate(enveloped.schema, document) as readonly GraphQLError[];
  if (errors.length > 0) return { errors };
  const args: ExecutionArgs = {
    schema: enveloped.schema,
    document,
    operationName: params.operationName ?? null,
    variableValues: params.variables ?? {},
    contextValue: await enveloped.contextFactory(),
  };
  return { errors: null, args, execute: enveloped.execute };
}
