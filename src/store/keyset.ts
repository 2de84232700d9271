/** Which page of a list to read (keyset pagination). The place of a row is the values that the list is ordered by. */
export interface Page<Place> {
  /** The number of rows wanted. The store reads one more, to know whether there are more. */
  readonly limit: number;
  /** Only the rows after this place. */
  readonly after: Place | null;
  /** Only the rows before this place. */
  readonly before: Place | null;
  /** Read from the end: the last rows that match instead of the first. */
  readonly backwards: boolean;
}

/** The rows of a page in the order of the list, and whether there are more rows in the direction of reading. */
export interface Rows<Row> {
  readonly rows: Row[];
  readonly more: boolean;
}

/**
 * Makes a page of the rows that were read: removes the extra row, and reverses the rows of a page that was read
 * backwards.
 */
export function toPage<Row>(read: Row[], { limit, backwards }: Page<unknown>): Rows<Row> {
  const rows = read.slice(0, limit);
  if (backwards) rows.reverse();
  return { rows, more: read.length > limit };
}
