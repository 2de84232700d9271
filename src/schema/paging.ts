import { decodeCursor, encodeCursor } from '../domain/cursor.js';
import { AppError } from '../errors.js';
import type { Page, Rows } from '../store/keyset.js';

export interface PagingArgs {
  first?: number | null;
  after?: string | null;
  last?: number | null;
  before?: string | null;
}

const DEFAULT_ROWS = 20;
const MOST_ROWS = 100;

function placeOf<Place>({ kind, isPlace }: Paging<Place>, name: string, cursor: string): Place {
  const place = decodeCursor(kind, isPlace, cursor);
  if (place !== undefined) return place;
  throw new AppError(
    'INVALID_CURSOR',
    `${name} is not a cursor of this list. Take a cursor from a page of the same query with the same order.`,
    { field: name },
  );
}

/** A number of rows. Throws BAD_USER_INPUT if it is not 0 to 100. */
export function checkCount(name: string, value: number): number {
  if (value >= 0 && value <= MOST_ROWS) return value;
  throw new AppError('BAD_USER_INPUT', `${name} is ${value}; it must be 0 to ${MOST_ROWS} rows.`, {
    field: name,
  });
}

/** How a list is paged: the kind that stands in its cursors, and a test of a place. */
export interface Paging<Place> {
  readonly kind: string;
  readonly isPlace: (value: unknown) => value is Place;
}

/**
 * The page that the arguments ask for; 20 rows by default. Throws BAD_USER_INPUT for a wrong number of rows, and
 * INVALID_CURSOR for a cursor of another list.
 */
export function toPage<Place>(paging: Paging<Place>, { first, after, last, before }: PagingArgs): Page<Place> {
  if (first != null && last != null) {
    throw new AppError('BAD_USER_INPUT', 'Give first or last, but not both.', { field: 'last' });
  }
  return {
    limit: last != null ? checkCount('last', last) : checkCount('first', first ?? DEFAULT_ROWS),
    after: after == null ? null : placeOf(paging, 'after', after),
    before: before == null ? null : placeOf(paging, 'before', before),
    backwards: last != null,
  };
}

/** A row in a page. The getter makes the cursor only when a query selects it: most queries select only the nodes. */
class Edge<Place, Row> {
  constructor(
    private readonly list: { readonly kind: string; readonly placeOf: (row: Row) => Place },
    readonly node: Row,
  ) {}

  get cursor(): string {
    return encodeCursor(this.list.kind, this.list.placeOf(this.node));
  }
}

/** The value behind a connection's fields. `totalCount` is called only if the query selects it. */
export interface ConnectionShape<Row> {
  edges: { readonly cursor: string; readonly node: Row }[];
  pageInfo: {
    readonly hasNextPage: boolean;
    readonly hasPreviousPage: boolean;
    readonly startCursor: string | null;
    readonly endCursor: string | null;
  };
  totalCount: () => Promise<number>;
}

export function toConnection<Place, Row>(
  { kind }: Paging<Place>,
  page: Page<Place>,
  { rows, more }: Rows<Row>,
  placeOf: (row: Row) => Place,
  totalCount: () => Promise<number>,
): ConnectionShape<Row> {
  const list = { kind, placeOf };
  const edges = rows.map((node) => new Edge(list, node));
  return {
    edges,
    pageInfo: {
      hasNextPage: page.backwards ? page.before !== null : more,
      hasPreviousPage: page.backwards ? more : page.after !== null,
      get startCursor() {
        return edges[0]?.cursor ?? null;
      },
      get endCursor() {
        return edges.at(-1)?.cursor ?? null;
      },
    },
    totalCount,
  };
}

const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/i;

export const isUuid = (value: unknown): value is string => typeof value === 'string' && UUID.test(value);
