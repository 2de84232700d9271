import SchemaBuilder from '@pothos/core';
import RelayPlugin, { decodeGlobalID } from '@pothos/plugin-relay';
import { AppError } from '../errors.js';
import type { Instant } from '../store/rows.js';
import type { Context } from './context.js';
import { DateTime, JSONObject } from './scalars.js';

type Json = Record<string, unknown>;

function decode(id: string): { typename: string; id: string } {
  try {
    return decodeGlobalID(id);
  } catch {
    throw new AppError('BAD_USER_INPUT', 'id is not an id of this API; take it from the id field of a thing.', {
      field: 'id',
    });
  }
}

/** The one builder: every file of the schema adds its noun to it. */
export const builder = new SchemaBuilder<{
  Context: Context;
  DefaultFieldNullability: false;
  DefaultEdgesNullability: { list: false; items: false };
  DefaultNodeNullability: false;
  Connection: { totalCount: () => Promise<number> };
  Scalars: {
    DateTime: { Input: Date; Output: Instant };
    JSONObject: { Input: Json; Output: Json };
    ID: { Input: string; Output: string };
  };
}>({
  plugins: [RelayPlugin],
  defaultFieldNullability: false,
  relay: {
    clientMutationId: 'omit',
    cursorType: 'String',
    decodeGlobalID: decode,
    nodesOnConnection: { description: 'The rows of this page.' },
    edgesFieldOptions: {
      nullable: { list: false, items: false },
      description: 'The rows of this page with their cursors.',
    },
    nodeFieldOptions: { nullable: false, description: 'The row.' },
    cursorFieldOptions: { description: 'The place of this row, for `after` and `before`.' },
    pageInfoFieldOptions: { description: 'Whether there is more, and where to go on.' },
    pageInfoTypeOptions: { description: 'Where a page lies in its list.' },
    hasNextPageFieldOptions: { description: 'There are rows after this page.' },
    hasPreviousPageFieldOptions: { description: 'There are rows before this page.' },
    startCursorFieldOptions: { description: 'The cursor of the first row of this page.' },
    endCursorFieldOptions: { description: 'The cursor of the last row of this page.' },
    firstArgOptions: { description: 'How many rows from the front: 0 to 100. Default 20.' },
    afterArgOptions: { description: 'Only rows after this cursor.' },
    lastArgOptions: { description: 'How many rows from the end: 0 to 100.' },
    beforeArgOptions: { description: 'Only rows before this cursor.' },
    nodeTypeOptions: { description: 'Anything that has an id of its own.' },
    nodeQueryOptions: {
      description: 'Whatever has this id; null where the project has no such thing. Needs READ; keys need MANAGE.',
      extensions: { scopes: ['READ'] },
    },
    nodesQueryOptions: false,
    idFieldOptions: { description: 'An id that no other thing has.' },
  },
});

builder.addScalarType('DateTime', DateTime);
builder.addScalarType('JSONObject', JSONObject);
builder.queryType({ description: 'What can be read.' });
builder.mutationType({ description: 'What can be changed.' });
builder.subscriptionType({
  description: 'What can be watched, over WebSocket (graphql-transport-ws) or server-sent events.',
});

builder.globalConnectionField('totalCount', (t) =>
  t.int({
    description: 'How many rows the whole list has. They are counted only where this is asked for.',
    resolve: (connection) => connection.totalCount(),
  }),
);
