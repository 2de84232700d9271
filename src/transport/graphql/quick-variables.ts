import {
  isInputObjectType,
  isInputType,
  isListType,
  isNonNullType,
  typeFromAST,
  type GraphQLInputObjectType,
  type GraphQLInputType,
  type GraphQLSchema,
  type OperationDefinitionNode,
} from 'graphql';

type Fields = Record<string, unknown>;
type Coerce = (value: unknown) => unknown;

/** Thrown for a value that graphql-js must decide about. */
const UNUSUAL = Symbol('unusual');

/**
 * A function that coerces a value of this type. It uses graphql-js' own functions for scalars and enums. It throws for a value
 * that graphql-js would refuse or change (e.g. one value in the place of a list).
 */
function coerceOf(type: GraphQLInputType, known: Map<GraphQLInputObjectType, Coerce>): Coerce {
  if (isNonNullType(type)) {
    const inner = coerceOf(type.ofType, known);
    return (value) => {
      if (value === null) throw UNUSUAL;
      return inner(value);
    };
  }
  if (isListType(type)) {
    const inner = coerceOf(type.ofType, known);
    return (value) => {
      if (value === null) return null;
      if (!Array.isArray(value)) throw UNUSUAL;
      return value.map(inner);
    };
  }
  if (isInputObjectType(type)) return known.get(type) ?? coerceObjectOf(type, known);
  return (value) => {
    if (value === null) return null;
    const parsed: unknown = type.parseValue(value);
    if (parsed === undefined) throw UNUSUAL;
    return parsed;
  };
}

function coerceObjectOf(type: GraphQLInputObjectType, known: Map<GraphQLInputObjectType, Coerce>): Coerce {
  const fields: { name: string; byDefault: unknown; isNeeded: boolean; coerce: Coerce }[] = [];
  const coerceObject: Coerce = (value) => {
    if (value === null) return null;
    if (typeof value !== 'object' || Array.isArray(value)) throw UNUSUAL;
    const coerced: Fields = {};
    let given = 0;
    for (const { name, byDefault, isNeeded, coerce } of fields) {
      if (Object.hasOwn(value, name)) {
        given += 1;
        coerced[name] = coerce((value as Fields)[name]);
      } else if (byDefault !== undefined) coerced[name] = byDefault;
      else if (isNeeded) throw UNUSUAL;
    }
    if (given < Object.keys(value).length) throw UNUSUAL;
    return coerced;
  };
  known.set(type, coerceObject);
  for (const { name, type: inner, defaultValue } of Object.values(type.getFields())) {
    const isNeeded = isNonNullType(inner) && defaultValue === undefined;
    fields.push({ name, byDefault: defaultValue, isNeeded, coerce: coerceOf(inner, known) });
  }
  return coerceObject;
}

/**
 * Returns a function that coerces the variables of an operation. It returns null if graphql-js must decide: if a variable is
 * left out that is required or has a default, or if a value is unusual or wrong. graphql-js' own function (getVariableValues)
 * notes the path of each value, and takes six times as long for a hundred events.
 */
export function quickVariables(
  schema: GraphQLSchema,
  { variableDefinitions = [] }: OperationDefinitionNode,
): (given: Readonly<Fields>) => Fields | null {
  const known = new Map<GraphQLInputObjectType, Coerce>();
  const variables = variableDefinitions.map(({ variable, type: node, defaultValue }) => {
    const type = typeFromAST(schema, node as never);
    if (!isInputType(type)) throw new Error(`The type of $${variable.name.value} is not an input type.`);
    const isNeeded = defaultValue !== undefined || isNonNullType(type);
    return { name: variable.name.value, isNeeded, coerce: coerceOf(type, known) };
  });
  return (given) => {
    const coerced: Fields = {};
    try {
      for (const { name, isNeeded, coerce } of variables) {
        if (Object.hasOwn(given, name)) coerced[name] = coerce(given[name]);
        else if (isNeeded) return null;
      }
      return coerced;
    } catch {
      // A value is unusual, or its type refuses it.
      return null;
    }
  };
}
