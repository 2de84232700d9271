import {
  getNamedType,
  isAbstractType,
  isCompositeType,
  isLeafType,
  isObjectType,
  type GraphQLCompositeType,
  type GraphQLField,
  type GraphQLObjectType,
  type GraphQLSchema,
} from 'graphql';
import type { Need } from '../../src/schema/scopes.js';

type Field = GraphQLField<unknown, unknown>;

export interface RootField {
  /** As in `Query.session`. */
  readonly name: string;
  readonly operation: 'query' | 'mutation' | 'subscription';
  readonly field: Field;
}

/** Every root field of the schema. */
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

/** Fields below the roots that need a scope of their own, by name (as in `Project.apiKeys`), with that need. */
export function guardedFields(schema: GraphQLSchema): Record<string, Need> {
  const roots = new Set([schema.getQueryType(), schema.getMutationType(), schema.getSubscriptionType()]);
  const fields = Object.values(schema.getTypeMap())
    .filter(isObjectType)
    .filter((type) => !roots.has(type))
    .flatMap((type) =>
      Object.values(type.getFields())
        .filter(({ extensions }) => extensions['scopes'] !== undefined)
        .map(({ name, extensions }) => [`${type.name}.${name}`, extensions['scopes'] as Need]),
    );
  return Object.fromEntries(fields) as Record<string, Need>;
}

/** A field, and the shortest path of fields to it. */
export interface Way {
  /** As in `Session.events`. */
  readonly name: string;
  readonly root: RootField;
  /** The path below the root, from the outside in: fields, or `... on Type`. The last is the field itself. Empty: the root. */
  readonly steps: readonly string[];
  /** The needs of the root and of each guarded field on the path, including the field itself. */
  readonly needs: readonly Need[];
}

/** The shortest path to each field that a caller may read; `isMet` says which needs the caller meets. */
export function waysOf(schema: GraphQLSchema, roots: readonly RootField[], isMet: (need: Need) => boolean): Way[] {
  const needOf = (field: Field): Need[] => (field.extensions['scopes'] ? [field.extensions['scopes'] as Need] : []);
  const found = new Map<string, Way>();
  let next = roots.map((root) => ({
    field: root.field,
    way: { name: root.name, root, steps: [], needs: needOf(root.field) } as Way,
  }));
  while (next.length > 0) {
    const reached = next.filter(({ way }) => way.needs.every(isMet) && !found.has(way.name));
    next = [];
    for (const { field, way } of reached) {
      if (found.has(way.name)) continue;
      found.set(way.name, way);
      const type = getNamedType(field.type);
      if (!isCompositeType(type)) continue;
      const kinds = isAbstractType(type) ? schema.getPossibleTypes(type) : [type];
      for (const kind of kinds) {
        const step = kind === type ? [] : [`... on ${kind.name}`];
        if (!isObjectType(kind)) continue;
        for (const inner of Object.values(kind.getFields()) as Field[]) {
          const steps = [...way.steps, ...step, inner.name];
          next.push({
            field: inner,
            way: { name: `${kind.name}.${inner.name}`, root: way.root, steps, needs: [...way.needs, ...needOf(inner)] },
          });
        }
      }
    }
  }
  return [...found.values()];
}

/** A document with this path and nothing else. Its variables are the root's arguments. */
export function documentOf(schema: GraphQLSchema, { name, root, steps }: Way): string {
  const [typeName, fieldName] = name.split('.') as [string, string];
  const field =
    steps.length === 0 ? root.field : (schema.getType(typeName) as GraphQLObjectType).getFields()[fieldName]!;
  const leaf = isCompositeType(getNamedType(field.type)) ? ' { __typename }' : '';
  const inside =
    steps.length === 0 ? leaf : steps.toReversed().reduce((inner, step) => ` { __typename ${step}${inner} }`, leaf);
  const defined = root.field.args.map((arg) => `$${arg.name}: ${String(arg.type)}`).join(', ');
  const given = root.field.args.map((arg) => `${arg.name}: $${arg.name}`).join(', ');
  return `${root.operation}${defined ? ` (${defined})` : ''} { ${root.field.name}${given ? `(${given})` : ''}${inside} }`;
}

/** Every field below the roots with arguments, as `Session.events(after, before, …)`. */
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
 * A document with a root field, all its arguments as variables of the same names, and everything below it. No type comes
 * twice on a path. Fields in `without` are left out. If `filters` is given, lists further down are filtered by the
 * variable of their filter's type.
 */
export function wholeDocument(
  schema: GraphQLSchema,
  { operation, field }: RootField,
  without: ReadonlySet<string>,
  filters: readonly string[] = [],
): string {
  const variables = new Map(field.args.map((arg) => [arg.name, String(arg.type)]));

  /** The fields that have other types in other kinds of an abstract type: selected together, each needs a name of its own. */
  function clashesOf(kinds: readonly GraphQLObjectType[]): ReadonlySet<string> {
    const types = new Map<string, Set<string>>();
    for (const kind of kinds)
      for (const { name, type } of Object.values(kind.getFields()))
        types.set(name, (types.get(name) ?? new Set()).add(String(type)));
    return new Set([...types].filter(([, several]) => several.size > 1).map(([name]) => name));
  }

  function selectionOf(
    type: GraphQLCompositeType,
    above: readonly string[],
    clashes: ReadonlySet<string> = new Set(),
  ): string {
    if (isAbstractType(type)) {
      const possible = schema.getPossibleTypes(type);
      const clashing = clashesOf(possible);
      // One kind within another is left out: it has its own part, and the document would have too many fields.
      const within = [...above, ...possible.map(({ name }) => name)];
      const kinds = possible.map((one) => `... on ${one.name} ${selectionOf(one, within, clashing)}`);
      return `{ __typename ${kinds.join(' ')} }`;
    }
    const parts = Object.values(type.getFields()).flatMap((inner) => {
      const named = getNamedType(inner.type);
      if (without.has(`${type.name}.${inner.name}`) || above.includes(named.name)) return [];
      // A page's rows of several types, once: the edges have the same.
      if (inner.name === 'nodes' && isAbstractType(named)) return [];
      const called = clashes.has(inner.name) ? `${type.name}_${inner.name}: ${inner.name}` : inner.name;
      if (isLeafType(named)) return [called];
      const filter = inner.args.find((arg) => filters.includes(String(arg.type)));
      if (filter) variables.set(String(filter.type), String(filter.type));
      // A few rows of each list: an operation may read a limited number in all.
      const given = [
        ...(filter ? [`filter: $${String(filter.type)}`] : []),
        ...(inner.args.some(({ name }) => name === 'first') ? ['first: 10'] : []),
      ];
      const args = given.length > 0 ? `(${given.join(', ')})` : '';
      return isCompositeType(named) ? [`${called}${args} ${selectionOf(named, [...above, named.name])}`] : [];
    });
    return `{ __typename ${parts.join(' ')} }`;
  }

  const named = getNamedType(field.type);
  const selection = isCompositeType(named) ? selectionOf(named, [named.name]) : '';
  const defined = [...variables].map(([name, type]) => `$${name}: ${type}`).join(', ');
  const given = field.args.map(({ name }) => `${name}: $${name}`).join(', ');
  return `${operation}${defined ? ` (${defined})` : ''} { ${field.name}${given ? `(${given})` : ''} ${selection} }`;
}
