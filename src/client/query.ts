import { asFootstepsError } from './errors.js';
import type { Door } from './post.js';
import { textOf } from './print-document.js';

/** A document that knows its types, as codegen makes it: TypedDocumentNode, or TypedDocumentString. A text knows none. */
export type TypedDocument<Data, Variables> = string | { readonly __apiType?: (variables: Variables) => Data };

/** What a connection of the schema has. */
interface Page<Row> {
  readonly nodes: readonly Row[];
  readonly pageInfo: { readonly hasNextPage: boolean; readonly endCursor?: string | null };
}

export interface Queries {
  /** Runs a query or a mutation. Rejects with a FootstepsError if the answer has an error. `signal` breaks it off. */
  query<Data = any, Variables extends object = Record<string, unknown>>(
    document: TypedDocument<Data, Variables>,
    variables?: Variables,
    options?: { signal?: AbortSignal },
  ): Promise<Data>;
  /**
   * The rows of a list, page after page, each read when it is needed. The document has a variable `after`, and selects `nodes`
   * and `pageInfo { hasNextPage endCursor }` of the list. `listOf` finds the list in the data.
   */
  paginate<Data = any, Variables extends object = Record<string, unknown>, Row = any>(
    document: TypedDocument<Data, Variables>,
    variables: Variables,
    listOf: (data: Data) => Page<Row> | null | undefined,
  ): AsyncGenerator<Row, void>;
}

export function createQueries(door: Door): Queries {
  const query: Queries['query'] = async (document, variables, { signal } = {}) => {
    let body: string;
    try {
      body = JSON.stringify({ query: textOf(document), variables });
    } catch (error) {
      throw asFootstepsError(error, 'BAD_USER_INPUT');
    }
    return door.post(body, signal);
  };
  return {
    query,
    async *paginate(document, variables, listOf) {
      let from: object = {};
      for (;;) {
        const list = listOf(await query(document, { ...variables, ...from }));
        if (!list) return;
        yield* list.nodes;
        if (!list.pageInfo.hasNextPage) return;
        from = { after: list.pageInfo.endCursor };
      }
    },
  };
}
