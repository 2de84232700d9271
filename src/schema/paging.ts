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

/** A cursor is the kind of list it belongs to and the row's place in it, so that one of another list is told apart. */
function encodeCursor(kind: string, place: unknown): string {
  return Buffer.from(JSON.stringify([kind, place])).toString('base64url');
}

function decodeCursor<Place>(
  kind: string,
  isPlace: (value: unknown) => value is Place,
  name: string,
  cursor: string,
): Place {
  try {
    const parts: unknown = JSON.parse(Buffer.from(cursor, 'base64url').toString('utf8'));
    if (Array.isArray(parts) && parts.length === 2 && parts[0] === kind && isPlace(parts[1])) return parts[1];
  } catch {
    // Answered below.
  }
  throw new AppError(
    'INVALID_CURSOR',
    `${name} is not a cursor of this list; take it from a page of the same query and order.`,
    {
      field: name,
    },
  );
}

function checkCount(name: string, value: number): number {
  if (value >= 0 && value <= MOST_ROWS) return value;
  throw new AppError('BAD_USER_INPUT', `${name} is ${value}; 0 to ${MOST_ROWS} rows can be asked for.`, {
    field: name,
  });
}

/** A list's way of paging: what its cursors are called and what a place looks like. */
export interface Paging<Place> {
  readonly kind: string;
  readonly isPlace: (value: unknown) => value is Place;
}

/** The page that the arguments ask for. Throws BAD_USER_INPUT, or INVALID_CURSOR for a cursor of another list. */
export function toPage<Place>(
  { kind, isPlace }: Paging<Place>,
  { first, after, last, before }: PagingArgs,
): Page<Place> {
  if (first != null && last != null) {
    throw new AppError('BAD_USER_INPUT', 'Give first or last, not both.', { field: 'last' });
  }
  return {
    limit: last != null ? checkCount('last', last) : checkCount('first', first ?? DEFAULT_ROWS),
    after: after == null ? null : decodeCursor(kind, isPlace, 'after', after),
    before: before == null ? null : decodeCursor(kind, isPlace, 'before', before),
    backwards: last != null,
  };
}

/** A row in a page. Its cursor is made where one is asked for: most ask for the nodes alone. */
class Edge<Place, Row> {
  constructor(
    private readonly list: { readonly kind: string; readonly placeOf: (row: Row) => Place },
    readonly node: Row,
  ) {}

  get cursor(): string {
    return encodeCursor(this.list.kind, this.list.placeOf(this.node));
  }
}

/** What a connection's fields are read from. `totalCount` is called only where somebody asks. */
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
