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
    throw new AppError('BAD_USER_INPUT', 'id is not an id of this API. Take the value of an id field of an answer.', {
      field: 'id',
    });
  }
}

/** The only schema builder. Each file of this folder adds its types and fields to it. */
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
    cursorFieldOptions: { description: 'The place of this row in the list, for `after` and `before`.' },
    pageInfoFieldOptions: { description: 'Whether there are more rows, and the cursors to read them with.' },
    pageInfoTypeOptions: { description: 'The place of a page in its list.' },
    hasNextPageFieldOptions: { description: 'Whether there are rows after this page.' },
    hasPreviousPageFieldOptions: { description: 'Whether there are rows before this page.' },
    startCursorFieldOptions: { description: 'The cursor of the first row of this page.' },
    endCursorFieldOptions: { description: 'The cursor of the last row of this page.' },
    firstArgOptions: { description: 'How many rows to read from the start of the list: 0 to 100. Default 20.' },
    afterArgOptions: { description: 'Only rows after this cursor.' },
    lastArgOptions: { description: 'How many rows to read from the end of the list: 0 to 100.' },
    beforeArgOptions: { description: 'Only rows before this cursor.' },
    nodeTypeOptions: { description: 'An object with a globally unique id.' },
    nodeQueryOptions: {
      description:
        'The object with this id; null if the project has no such object. Needs READ; an API key needs MANAGE.',
      extensions: { scopes: ['READ'] },
    },
    nodesQueryOptions: false,
    idFieldOptions: { description: 'The globally unique id of the object.' },
  },
});

builder.addScalarType('DateTime', DateTime);
builder.addScalarType('JSONObject', JSONObject);
builder.queryType({ description: 'Everything that a client can read.' });
builder.mutationType({ description: 'Everything that a client can change.' });
builder.subscriptionType({
  description: 'Everything that a client can watch, over WebSocket (graphql-transport-ws) or server-sent events.',
});

builder.globalConnectionField('totalCount', (t) =>
  t.int({
    description: 'The number of rows of the whole list. The server counts them only if the query selects this field.',
    resolve: (connection) => connection.totalCount(),
  }),
);
