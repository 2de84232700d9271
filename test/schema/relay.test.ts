import {
  getNamedType,
  getNullableType,
  GraphQLInt,
  GraphQLString,
  isInterfaceType,
  isListType,
  isNonNullType,
  isObjectType,
  isScalarType,
  type GraphQLArgument,
  type GraphQLField,
  type GraphQLNamedType,
  type GraphQLOutputType,
} from 'graphql';
import { expect, test } from 'vitest';
import { schema } from '../../src/schema/schema.js';

/**
 * The rules of Relay's cursor connections, as @graphql-eslint's schema-relay has them, with two of its options: a list need not
 * be one of edges (an operation answers lists that have no pages), and a connection need not page backwards (the feed of
 * changes has no end to begin at). They are written out here because the plugin brings 256 packages with it, of which one
 * does not take the oldest Node that Footsteps takes.
 */

const types = Object.values(schema.getTypeMap()).filter(({ name }) => !name.startsWith('__'));
const node = schema.getType('Node');

const fieldsOf = (type: GraphQLNamedType): Record<string, GraphQLField<unknown, unknown>> =>
  isObjectType(type) || isInterfaceType(type) ? type.getFields() : {};
const typeOf = (type: GraphQLNamedType, field: string): GraphQLOutputType | undefined => fieldsOf(type)[field]?.type;
/** The type of an item of a list, which may be null itself; undefined if it is no list. */
const itemOf = (type: GraphQLOutputType | undefined): GraphQLNamedType | undefined => {
  const list = type && getNullableType(type);
  return isListType(list) ? getNamedType(list) : undefined;
};

const isConnection = ({ name }: GraphQLNamedType): boolean => name.endsWith('Connection');
const connections = types.filter(isConnection);
const edges = connections.flatMap((type) => itemOf(typeOf(type, 'edges')) ?? []);

test('what has edges and a pageInfo is a connection, and every connection has both', () => {
  const likes = types.filter((type) => 'edges' in fieldsOf(type) && 'pageInfo' in fieldsOf(type));
  expect(likes).toEqual(connections);
  expect(connections.length).toBeGreaterThan(8);
  for (const type of connections) {
    expect([type.name, isObjectType(type)]).toEqual([type.name, true]);
    expect([type.name, itemOf(typeOf(type, 'edges'))?.name]).toEqual([type.name, expect.stringMatching(/Edge$/)]);
    expect([type.name, String(typeOf(type, 'pageInfo'))]).toEqual([type.name, 'PageInfo!']);
  }
});

test('every edge has a cursor and a node that has an id', () => {
  expect(edges).toHaveLength(connections.length);
  for (const type of edges) {
    expect([type.name, isObjectType(type)]).toEqual([type.name, true]);
    const cursor = typeOf(type, 'cursor');
    expect([type.name, String(cursor)]).toEqual([type.name, 'String!']);
    const of = typeOf(type, 'node')!;
    expect([type.name, itemOf(of)]).toEqual([type.name, undefined]);
    const named = getNamedType(of);
    // An interface or a union has many types, and each says for itself what it is.
    if (isObjectType(named))
      expect([type.name, named.getInterfaces()]).toEqual([type.name, expect.arrayContaining([node])]);
  }
});

test('pageInfo says where a page is', () => {
  const page = schema.getType('PageInfo')!;
  expect(isObjectType(page)).toBe(true);
  expect(Object.values(fieldsOf(page)).map(({ name, type }) => `${name}: ${String(type)}`)).toEqual(
    expect.arrayContaining([
      'hasNextPage: Boolean!',
      'hasPreviousPage: Boolean!',
      'startCursor: String',
      'endCursor: String',
    ]),
  );
});

test('every field of a connection pages forwards, and where it pages backwards, with both arguments', () => {
  const paged = types.flatMap((type) =>
    Object.values(fieldsOf(type))
      .filter((field) => isConnection(getNamedType(field.type)))
      .map((field) => ({ field, name: `${type.name}.${field.name}` })),
  );
  expect(paged.length).toBeGreaterThan(connections.length);
  for (const { field, name } of paged) {
    const of = (argument: string): GraphQLArgument | undefined => field.args.find((one) => one.name === argument);
    const takesNumber = (argument: string): boolean => getNullableType(of(argument)?.type) === GraphQLInt;
    const takesCursor = (argument: string): boolean => {
      const type = of(argument)?.type;
      return type !== undefined && !isNonNullType(type) && (type === GraphQLString || isScalarType(type));
    };
    expect([name, takesNumber('first'), takesCursor('after')]).toEqual([name, true, true]);
    if (of('last') || of('before'))
      expect([name, takesNumber('last'), takesCursor('before')]).toEqual([name, true, true]);
  }
});
