/** Which page of a list to read: keyset pagination, a row's place being the values the list is ordered by. */
export interface Page<Place> {
  /** Rows wanted; one more is read, to know whether there are more. */
  readonly limit: number;
  /** Only what comes after this place. */
  readonly after: Place | null;
  /** Only what comes before this place. */
  readonly before: Place | null;
  /** The last rows of what is left rather than the first. */
  readonly backwards: boolean;
}

/** A page's rows in list order, and whether more lie beyond in the direction of reading. */
export interface Rows<Row> {
  readonly rows: Row[];
  readonly more: boolean;
}

/** Cuts the extra row off and turns a page that was read backwards round. */
export function toPage<Row>(read: Row[], { limit, backwards }: Page<unknown>): Rows<Row> {
  const rows = read.slice(0, limit);
  if (backwards) rows.reverse();
  return { rows, more: read.length > limit };
}
