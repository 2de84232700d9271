import { decodeGlobalID } from '@pothos/plugin-relay';
import { isObjectType, type GraphQLObjectType, type GraphQLResolveInfo } from 'graphql';
import { expect, test } from 'vitest';
import type { Context } from '../../src/schema/context.js';
import { schema } from '../../src/schema/schema.js';

const nodes = Object.values(schema.getTypeMap()).filter(
  (type): type is GraphQLObjectType<unknown, Context> =>
    isObjectType(type) && type.getInterfaces().some(({ name }) => name === 'Node'),
);
const projectId = '00000000-0000-4000-8000-000000000001';
const context = { caller: { kind: 'project', reach: { projectId, userIds: null } } } as unknown as Context;

test.each(nodes.map((type) => [type.name, type] as const))('the id of a %s is there at once', (name, type) => {
  const row = { id: '00000000-0000-4000-8000-000000000002', identity: 'ada' };
  const id: unknown = type.getFields()['id']!.resolve!(row, {}, context, {} as GraphQLResolveInfo);
  expect(id).toEqual(expect.any(String));
  expect(decodeGlobalID(id as string)).toEqual({
    typename: name,
    // The ids of users follow from their identities.
    id: name.startsWith('User') ? expect.stringMatching(/^[0-9a-f-]{36}$/) : row.id,
  });
});
