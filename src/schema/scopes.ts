import {
  defaultFieldResolver,
  getNamedType,
  getOperationAST,
  isNonNullType,
  isObjectType,
  Kind,
  type ExecutionArgs,
  type FragmentDefinitionNode,
  type GraphQLField,
  type GraphQLNamedType,
  type GraphQLResolveInfo,
  type GraphQLSchema,
  type SelectionSetNode,
} from 'graphql';
import type { Caller, ProjectCaller, Scope } from '../domain/access.js';
import { AppError } from '../errors.js';
import type { Context } from './context.js';

/**
 * Who may use a field: a key with any of these scopes, the operator if OPERATOR is listed, or any key of the project
 * (ANY_KEY).
 */
export type Need = readonly (Scope | 'OPERATOR')[] | 'ANY_KEY';

/** For the options of a field. `...needs('READ', 'PRESENCE')`: either scope is enough. */
export const needs = (...scopes: Exclude<Need, 'ANY_KEY'>) => ({ extensions: { scopes } });
export const needsAnyKey = { extensions: { scopes: 'ANY_KEY' } };

const needOf = (field: GraphQLField<unknown, unknown>): Need | undefined =>
  field.extensions['scopes'] as Need | undefined;

/** Throws FORBIDDEN with the scopes that would be enough, if the caller has none of them. */
export function checkScope(caller: Caller, need: Need): void {
  const requiredScopes = need === 'ANY_KEY' ? [] : need;
  if (caller.kind === 'operator') {
    if (requiredScopes.includes('OPERATOR')) return;
    throw new AppError(
      'FORBIDDEN',
      'The operator key creates projects and belongs to no project. Use a key of the project.',
      { requiredScopes },
    );
  }
  if (need === 'ANY_KEY' || need.some((scope) => scope !== 'OPERATOR' && caller.scopes.has(scope))) return;
  const scopes = need.filter((scope) => scope !== 'OPERATOR');
  const message =
    scopes.length > 0 ? `This needs a key with the scope ${scopes.join(' or ')}.` : 'This needs the operator key.';
  throw new AppError('FORBIDDEN', message, { requiredScopes });
}

/**
 * The caller, who must belong to a project: throws FORBIDDEN for the operator. The check of scopes usually refuses it
 * before.
 */
export function projectCaller({ caller }: Context): ProjectCaller {
  if (caller.kind === 'project') return caller;
  throw new AppError('FORBIDDEN', 'The operator key belongs to no project. Use a key of the project.');
}

/**
 * Checks all fields of a mutation, and the fields of their answers, before any of them runs. Without this check, the refusal
 * of one non-null field would remove the whole answer, with a new key that is shown only once. The function leaves out
 * nullable fields, because their refusal leaves the rest of the answer, and fields with a directive (@skip, @include).
 * Throws FORBIDDEN.
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
 * Checks an open subscription against a caller: throws FORBIDDEN if the caller lacks the scope of its root field, which may
 * stand in a fragment. The scopes of the fields below are checked when a message is made.
 */
export function checkSubscriptionScope({ schema, document, operationName }: ExecutionArgs, caller: Caller): void {
  const fields = schema.getSubscriptionType()!.getFields();
  const fragments = new Map<string, FragmentDefinitionNode>();
  for (const definition of document.definitions)
    if (definition.kind === Kind.FRAGMENT_DEFINITION) fragments.set(definition.name.value, definition);
  function check({ selections }: SelectionSetNode): void {
    for (const selection of selections) {
      if (selection.kind === Kind.INLINE_FRAGMENT) check(selection.selectionSet);
      else if (selection.kind === Kind.FRAGMENT_SPREAD) check(fragments.get(selection.name.value)!.selectionSet);
      else {
        const field = fields[selection.name.value];
        const need = field && needOf(field);
        if (need) checkScope(caller, need);
      }
    }
  }
  check(getOperationAST(document, operationName)!.selectionSet);
}

/**
 * Adds the check of its scopes to each field's resolver. Throws an Error, so the server does not start, if a field of Query,
 * Mutation or Subscription states no scopes.
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
