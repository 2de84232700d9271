import {
  defaultFieldResolver,
  getNamedType,
  isNonNullType,
  isObjectType,
  Kind,
  type GraphQLField,
  type GraphQLNamedType,
  type GraphQLResolveInfo,
  type GraphQLSchema,
  type SelectionSetNode,
} from 'graphql';
import type { Caller, ProjectCaller, Scope } from '../domain/access.js';
import { AppError } from '../errors.js';
import type { Context } from './context.js';

/** Who may use a field: holders of any of these scopes, the operator where that is among them; anybody with a key of the project. */
export type Need = readonly (Scope | 'OPERATOR')[] | 'ANY_KEY';

/** For a field's options: `...needs('READ', 'PRESENCE')` means either is enough. */
export const needs = (...scopes: Exclude<Need, 'ANY_KEY'>) => ({ extensions: { scopes } });
export const needsAnyKey = { extensions: { scopes: 'ANY_KEY' } };

const needOf = (field: GraphQLField<unknown, unknown>): Need | undefined =>
  field.extensions['scopes'] as Need | undefined;

/** Throws FORBIDDEN, naming what would be needed, where the caller has it not. */
export function checkScope(caller: Caller, need: Need): void {
  const requiredScopes = need === 'ANY_KEY' ? [] : need;
  if (caller.kind === 'operator') {
    if (requiredScopes.includes('OPERATOR')) return;
    throw new AppError(
      'FORBIDDEN',
      'The operator key creates projects and belongs to none; use a key of the project.',
      { requiredScopes },
    );
  }
  if (need === 'ANY_KEY' || need.some((scope) => scope !== 'OPERATOR' && caller.scopes.has(scope))) return;
  const scopes = need.filter((scope) => scope !== 'OPERATOR');
  const message =
    scopes.length > 0 ? `This needs a key with the scope ${scopes.join(' or ')}.` : 'This needs the operator key.';
  throw new AppError('FORBIDDEN', message, { requiredScopes });
}

/** The caller, who belongs to a project: checked before by the field's scopes. */
export function projectCaller({ caller }: Context): ProjectCaller {
  if (caller.kind === 'project') return caller;
  throw new AppError('FORBIDDEN', 'The operator key belongs to no project; use a key of the project.');
}

/**
 * Looks at a mutation whole before any of it runs, at what the caller may not have of any of its fields and answers: without
 * that, the refusal of one would take the answer of all with it, and a key that is shown once with that. Where null can
 * stand in a field's place it sees to itself, and so does one under a condition (@skip, @include).
 */
function checkMutation({ operation, fragments, schema }: GraphQLResolveInfo, caller: Caller): void {
  const opened = new Set<string>();
  function check(set: SelectionSetNode | undefined, type: GraphQLNamedType | undefined): void {
    if (!isObjectType(type)) return;
    for (const selection of set?.selections ?? []) {
      if (selection.directives?.length) continue;
      if (selection.kind === Kind.INLINE_FRAGMENT) check(selection.selectionSet, type);
      else if (selection.kind === Kind.FRAGMENT_SPREAD) {
        const { value: name } = selection.name;
        if (opened.has(name)) continue;
        opened.add(name);
        check(fragments[name]?.selectionSet, type);
      } else {
        const field = type.getFields()[selection.name.value];
        if (!field || !isNonNullType(field.type)) continue;
        const need = needOf(field);
        if (need) checkScope(caller, need);
        check(selection.selectionSet, getNamedType(field.type));
      }
    }
  }
  check(operation.selectionSet, schema.getMutationType() ?? undefined);
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
      const isMutation = type === schema.getMutationType();
      field.resolve = (parent, args, context, info) => {
        checkScope(context.caller, need);
        if (isMutation) checkMutation(info, context.caller);
        return resolve(parent, args, context, info);
      };
    }
  }
  return schema;
}
