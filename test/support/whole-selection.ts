import {
  getNamedType,
  isAbstractType,
  isCompositeType,
  isLeafType,
  isObjectType,
  type GraphQLCompositeType,
  type GraphQLField,
  type GraphQLSchema,
} from 'graphql';

type Field = GraphQLField<unknown, unknown>;

export interface RootField {
  /** As in `Query.session`. */
  readonly name: string;
  readonly operation: 'query' | 'mutation' | 'subscription';
  readonly field: Field;
}

/** Every field that an operation can begin with. */
export function rootFields(schema: GraphQLSchema): RootField[] {
  const roots = {
    query: schema.getQueryType(),
    mutation: schema.getMutationType(),
    subscription: schema.getSubscriptionType(),
  };
  return Object.entries(roots).flatMap(([operation, type]) =>
    Object.values(type?.getFields() ?? {}).map((field) => ({
      name: `${type!.name}.${field.name}`,
      operation: operation as RootField['operation'],
      field,
    })),
  );
}

/** Fields below the roots that bear a need of their own, as in `Project.apiKeys`. */
export function guardedFields(schema: GraphQLSchema): string[] {
  const roots = new Set([schema.getQueryType(), schema.getMutationType(), schema.getSubscriptionType()]);
  return Object.values(schema.getTypeMap())
    .filter(isObjectType)
    .filter((type) => !roots.has(type))
    .flatMap((type) =>
      Object.values(type.getFields())
        .filter(({ extensions }) => extensions['scopes'] !== undefined)
        .map(({ name }) => `${type.name}.${name}`),
    );
}

/** Every field below the roots that takes arguments, with them: `Session.events(after, before, …)`. */
export function fieldsWithArguments(schema: GraphQLSchema): string[] {
  const roots = new Set([schema.getQueryType(), schema.getMutationType(), schema.getSubscriptionType()]);
  return Object.values(schema.getTypeMap())
    .filter(isObjectType)
    .filter((type) => !roots.has(type) && !type.name.startsWith('__'))
    .flatMap((type) =>
      Object.values(type.getFields())
        .filter(({ args }) => args.length > 0)
        .map(({ name, args }) => `${type.name}.${name}(${args.map((arg) => arg.name).join(', ')})`),
    );
}

/**
 * A document that asks for a root field with all of its arguments, as variables of the same names, and for
 * everything below it; no type comes twice on the way down. Fields in `without` are left out. Where `filters`
 * is given, lists further down are filtered by the variable of their filter's type.
 */
export function wholeDocument(
  schema: GraphQLSchema,
  { operation, field }: RootField,
  without: ReadonlySet<string>,
  filters: readonly string[] = [],
): string {
  const variables = new Map(field.args.map((arg) => [arg.name, String(arg.type)]));

  function selectionOf(type: GraphQLCompositeType, above: readonly string[]): string {
    if (isAbstractType(type)) {
      const kinds = schema
        .getPossibleTypes(type)
        .map((one) => `... on ${one.name} ${selectionOf(one, [...above, one.name])}`);
      return `{ __typename ${kinds.join(' ')} }`;
    }
    const parts = Object.values(type.getFields()).flatMap((inner) => {
      const named = getNamedType(inner.type);
      if (without.has(`${type.name}.${inner.name}`) || above.includes(named.name)) return [];
      if (isLeafType(named)) return [inner.name];
      const filter = inner.args.find((arg) => filters.includes(String(arg.type)));
      if (filter) variables.set(String(filter.type), String(filter.type));
      const args = filter ? `(filter: $${String(filter.type)})` : '';
      return isCompositeType(named) ? [`${inner.name}${args} ${selectionOf(named, [...above, named.name])}`] : [];
    });
    return `{ __typename ${parts.join(' ')} }`;
  }

  const named = getNamedType(field.type);
  const selection = isCompositeType(named) ? selectionOf(named, [named.name]) : '';
  const defined = [...variables].map(([name, type]) => `$${name}: ${type}`).join(', ');
  const given = field.args.map(({ name }) => `${name}: $${name}`).join(', ');
  return `${operation}${defined ? ` (${defined})` : ''} { ${field.name}${given ? `(${given})` : ''} ${selection} }`;
}
