import { useEffect, useEffectEvent, useRef, useState } from 'react';
import type { CombinedError } from 'urql';
import { restAfter } from './answer';

/** So many rows are held. A narrower filter leads further. */
export const MOST_ROWS = 20_000;

/** One page of a list, as the server answers it. */
interface Page<Row> {
  readonly nodes: readonly Row[];
  readonly pageInfo: { readonly hasNextPage: boolean; readonly endCursor?: string | null };
}

interface PagedListState<Row> {
  readonly rows: readonly Row[];
  /** The question that the rows answer. */
  readonly answered: string;
  readonly cursor: string | null;
  readonly hasMore: boolean;
  readonly loading: boolean;
  readonly error: CombinedError | null;
}

/** A list whose pages are loaded on demand. */
export interface PagedList<Row> extends PagedListState<Row> {
  /** The rows answer another question than the one that is asked now. */
  readonly isOld: boolean;
  readonly more: () => void;
  /** After an error: asks once more for the page that could not be read, if nothing is being asked. */
  readonly retry: () => void;
  readonly reload: () => void;
  /** Reads the first page again and updates its rows in their places. Without rows, or after an error, it does nothing. */
  readonly refresh: () => void;
  /** How long the list should rest after the latest refresh (restAfter). Milliseconds. */
  readonly rest: () => number;
}

/**
 * A list that loads more pages on demand. `read` reads the page after a cursor (null: the first page); when `question`
 * changes, the list begins anew.
 */
export function usePagedList<Row extends { readonly id: string }>(
  question: string,
  read: (after: string | null) => Promise<{ page: Page<Row> | undefined; error: CombinedError | undefined }>,
): PagedList<Row> {
  const [state, setState] = useState<PagedListState<Row>>({
    rows: [],
    answered: question,
    cursor: null,
    hasMore: true,
    loading: true,
    error: null,
  });
  /** The number of the latest request. The answer to an earlier one is dropped. */
  const turn = useRef(0);
  const busy = useRef(false);

  async function ask(after: string | null): Promise<void> {
    turn.current += 1;
    const mine = turn.current;
    busy.current = true;
    const reading = read(after);
    // An effect begins this, and changes no state itself.
    await Promise.resolve();
    if (turn.current !== mine) return;
    // An error is that of the question that was answered last.
    setState((known) => ({ ...known, loading: true, error: known.answered === question ? known.error : null }));
    const { page, error } = await reading;
    if (turn.current !== mine) return;
    busy.current = false;
    setState((known) => {
      const before = after === null ? { rows: [], answered: question, cursor: null, hasMore: true } : known;
      const { rows } = before;
      if (!page) return { ...before, loading: false, error: error ?? null };
      const have = new Set(rows.map(({ id }) => id));
      return {
        rows: [...rows, ...page.nodes.filter(({ id }) => !have.has(id))],
        answered: question,
        cursor: page.pageInfo.endCursor ?? null,
        hasMore: page.pageInfo.hasNextPage,
        loading: false,
        error: null,
      };
    });
  }

  const took = useRef(0);
  async function refresh(): Promise<void> {
    if (state.rows.length === 0 || state.error) return;
    const begun = performance.now();
    const { page } = await read(null);
    took.current = performance.now() - begun;
    if (!page || asked.current !== question) return;
    const latest = new Map(page.nodes.map((row) => [row.id, row]));
    setState((known) => ({ ...known, rows: known.rows.map((row) => latest.get(row.id) ?? row) }));
  }

  const asked = useRef('');
  const begin = useEffectEvent(() => void ask(null));
  useEffect(() => {
    asked.current = question;
    begin();
  }, [question]);

  const isOld = state.answered !== question;
  return {
    ...state,
    loading: isOld || state.loading,
    error: isOld ? null : state.error,
    isOld,
    more() {
      const { hasMore, error, cursor, rows } = state;
      if (!isOld && hasMore && !busy.current && !error && cursor !== null && rows.length < MOST_ROWS) void ask(cursor);
    },
    retry() {
      if (!busy.current) void ask(isOld ? null : state.cursor);
    },
    reload: () => void ask(null),
    refresh: () => void refresh(),
    rest: () => restAfter(took.current),
  };
}
