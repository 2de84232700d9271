import { isObjectType, type GraphQLField, type GraphQLSchema } from 'graphql';
import { wellFormed } from '../domain/well-formed.js';
import { AppError } from '../errors.js';
import type { Context } from './context.js';

/** Deeper arguments are a mistake or an attack: no filter needs them, and what reads them recurses. */
const DEEPEST = 100;

function tidy(value: unknown, field: string, depth: number): unknown {
  if (typeof value === 'string') return wellFormed(value);
  if (typeof value !== 'object' || value === null || value instanceof Date) return value;
  if (depth > DEEPEST) throw new AppError('BAD_USER_INPUT', `${field} nests deeper than ${DEEPEST} levels.`, { field });
  if (Array.isArray(value)) return value.map((one) => tidy(one, field, depth + 1));
  return Object.fromEntries(
    Object.entries(value).map(([name, inner]) => [wellFormed(name), tidy(inner, field, depth + 1)]),
  );
}

/** Events are checked one by one (domain/check-event.ts), so that a bad one harms no other. */
const CHECKS_ITS_OWN = 'ingestEvents';

/**
 * Puts in front of every resolver that its arguments' texts are such as the database can hold and compare, as
 * everything that is stored has become. What is asked for with a NUL is found where it was stored with one.
 */
export function tidyTexts(schema: GraphQLSchema): GraphQLSchema {
  for (const type of Object.values(schema.getTypeMap())) {
    if (!isObjectType(type)) continue;
    for (const field of Object.values(type.getFields()) as GraphQLField<unknown, Context>[]) {
      if (field.args.length === 0 || field.name === CHECKS_ITS_OWN) continue;
      const { resolve, subscribe } = field;
      const tidied = (args: Record<string, unknown>): Record<string, unknown> =>
        Object.fromEntries(Object.entries(args).map(([name, value]) => [name, tidy(value, name, 0)]));
      if (subscribe) field.subscribe = (parent, args, context, info) => subscribe(parent, tidied(args), context, info);
      else if (resolve) field.resolve = (parent, args, context, info) => resolve(parent, tidied(args), context, info);
    }
  }
  return schema;
}
