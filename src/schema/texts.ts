import { isObjectType, type GraphQLField, type GraphQLSchema } from 'graphql';
import { wellFormed } from '../domain/well-formed.js';
import { AppError } from '../errors.js';
import type { Context } from './context.js';

/** The maximum depth of an argument. No filter needs more, and the functions that read arguments are recursive. */
const DEEPEST = 100;

function tidy(value: unknown, field: string, depth: number): unknown {
  if (typeof value === 'string') return wellFormed(value);
  if (typeof value !== 'object' || value === null || value instanceof Date) return value;
  if (depth > DEEPEST)
    throw new AppError('BAD_USER_INPUT', `${field} is nested too deeply; at most ${DEEPEST} levels are allowed.`, {
      field,
    });
  if (Array.isArray(value)) return value.map((one) => tidy(one, field, depth + 1));
  return Object.fromEntries(
    Object.entries(value).map(([name, inner]) => [wellFormed(name), tidy(inner, field, depth + 1)]),
  );
}

/** This field is left out: domain/check-event.ts checks its events one by one, so that a bad event harms no other (rule 26). */
const CHECKS_ITS_OWN = 'ingestEvents';

/**
 * Makes the texts of the arguments well-formed (wellFormed in domain/) before each resolver runs, so that Postgres can store
 * and compare them. Stored texts are changed in the same way: a search for a text with a NUL finds what was stored from a
 * text with a NUL. Throws BAD_USER_INPUT for an argument of more than 100 levels.
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
