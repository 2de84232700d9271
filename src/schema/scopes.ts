import { defaultFieldResolver, isObjectType, type GraphQLField, type GraphQLSchema } from 'graphql';
import type { Caller, ProjectCaller, Scope } from '../domain/access.js';
import { AppError } from '../errors.js';
import type { Context } from './context.js';

/** Who may use a field: holders of any of these scopes; anybody with a key of the project; the operator. */
export type Need = readonly Scope[] | 'ANY_KEY' | 'OPERATOR';

/** For a field's options: `...needs('READ', 'PRESENCE')` means either is enough. */
export const needs = (...scopes: readonly Scope[]) => ({ extensions: { scopes } });
export const needsAnyKey = { extensions: { scopes: 'ANY_KEY' } };
export const needsOperator = { extensions: { scopes: 'OPERATOR' } };

const needOf = (field: GraphQLField<unknown, unknown>): Need | undefined =>
  field.extensions['scopes'] as Need | undefined;

/** Throws FORBIDDEN, naming what would be needed, where the caller has it not. */
export function checkScope(caller: Caller, need: Need): void {
  if (need === 'OPERATOR') {
    if (caller.kind === 'operator') return;
    throw new AppError('FORBIDDEN', 'This needs the operator key.', { requiredScopes: ['OPERATOR'] });
  }
  if (caller.kind === 'operator') {
    throw new AppError(
      'FORBIDDEN',
      'The operator key creates projects and belongs to none; use a key of the project.',
      {
        requiredScopes: need === 'ANY_KEY' ? [] : need,
      },
    );
  }
  if (need === 'ANY_KEY' || need.some((scope) => caller.scopes.has(scope))) return;
  throw new AppError('FORBIDDEN', `This needs a key with the scope ${need.join(' or ')}.`, { requiredScopes: need });
}

/** The caller, who belongs to a project: checked before by the field's scopes. */
export function projectCaller({ caller }: Context): ProjectCaller {
  if (caller.kind === 'project') return caller;
  throw new AppError('FORBIDDEN', 'The operator key belongs to no project; use a key of the project.');
}

/**
 * Puts every field's need in front of its resolver. A field of Query, Mutation or Subscription without a
 * need is a mistake in the schema and stops the server from starting.
 */
export function enforceScopes(schema: GraphQLSchema): GraphQLSchema {
  const roots = [schema.getQueryType(), schema.getMutationType(), schema.getSubscriptionType()];
  for (const type of Object.values(schema.getTypeMap())) {
    if (!isObjectType(type)) continue;
    for (const field of Object.values(type.getFields()) as GraphQLField<unknown, Context>[]) {
      const need = needOf(field as GraphQLField<unknown, unknown>);
      if (need === undefined) {
        if (roots.includes(type)) throw new Error(`${type.name}.${field.name} does not say which scope it needs.`);
        continue;
      }
      const { resolve = defaultFieldResolver, subscribe } = field;
      if (subscribe) {
        field.subscribe = (parent, args, context, info) => {
          checkScope(context.caller, need);
          return subscribe(parent, args, context, info);
        };
        continue;
      }
      field.resolve = (parent, args, context, info) => {
        checkScope(context.caller, need);
        return resolve(parent, args, context, info);
      };
    }
  }
  return schema;
}
