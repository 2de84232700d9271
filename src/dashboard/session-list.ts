import { useEffect, useEffectEvent, useRef, useState } from 'react';
import type { Client, CombinedError } from 'urql';
import { useApi } from './api';
import {
  NewSessionsDocument,
  SessionCountDocument,
  SessionRowsDocument,
  SessionsDocument,
  type SessionFilter,
  type SessionOrder,
  type SessionRowFragment,
} from './generated/graphql';
import { useLive } from './live';
import { useThrottled } from './throttle';

/** The list looks for new sessions at most once in this time. Milliseconds. */
const LOOK = 2_000;
/** New sessions are counted up to this number. */
export const MOST_NEW = 100;

/** The state of a list of sessions. Rows keep their places until the list is loaded again. */
interface SessionListState {
  readonly rows: readonly SessionRowFragment[];
  readonly cursor: string | null;
  readonly hasMore: boolean;
  readonly total: number | null;
  /** The number of matching sessions that started after the list was loaded. */
  readonly fresh: number;
  readonly error: CombinedError | null;
  readonly loading: boolean;
  /** When the first page was requested. Milliseconds. */
  readonly askedAt: number;
}

const NOTHING: SessionListState = {
  rows: [],
  cursor: null,
  hasMore: true,
  total: null,
  fresh: 0,
  error: null,
  loading: true,
  askedAt: 0,
};

/** The last list that was shown, so that the user finds it unchanged when coming back. */
let kept: { client: Client; question: string; state: SessionListState } | null = null;

/** Sessions that started after this are new: the first start of a list of newest first, else `askedAt`. Milliseconds. */
function newestOf({ rows, askedAt }: SessionListState, { field, direction }: SessionOrder): number {
  const first = field === 'STARTED_AT' && direction === 'DESC' ? rows[0] : undefined;
  return first ? Date.parse(first.startedAt) : askedAt;
}

/**
 * A list of sessions that loads more pages on demand. Its rows are updated live, in their places. `retry`: after an error,
 * asks once more for the page that could not be read.
 */
export function useSessionList(
  filter: SessionFilter,
  orderBy: SessionOrder,
): SessionListState & { more: () => void; retry: () => void; reload: () => void } {
  const { client } = useApi();
  const question = JSON.stringify([filter, orderBy]);
  const [[answered, state], setAll] = useState<readonly [string, SessionListState]>(() => [
    question,
    kept?.client === client && kept.question === question ? kept.state : NOTHING,
  ]);
  // Answers to an older filter or order are dropped.
  const asking = useRef(question);
  const busy = useRef(false);
  /** The number of the latest page that was requested. The answer to an earlier one is dropped: its page has another start. */
  const turn = useRef(0);
  const shown = answered === question ? state : { ...state, loading: true, fresh: 0, error: null };

  const set = (change: (known: SessionListState) => SessionListState): void =>
    setAll(([of, known]) => (of === question ? [of, change(known)] : [of, known]));

  async function ask(after: string | null): Promise<void> {
    if (busy.current && after !== null) return;
    busy.current = true;
    turn.current += 1;
    const mine = turn.current;
    const askedAt = after === null ? Date.now() : shown.askedAt;
    const { data, error } = await client
      .query(SessionsDocument, { filter, orderBy, after }, { requestPolicy: 'network-only' })
      .toPromise();
    if (asking.current !== question || turn.current !== mine) return;
    busy.current = false;
    setAll(([of, known]) => {
      const before = of === question && after !== null ? known : { ...NOTHING, total: known.total };
      if (!data) return [question, { ...before, loading: false, error: error ?? null }];
      const have = new Set(before.rows.map(({ id }) => id));
      const { nodes, pageInfo } = data.sessions;
      return [
        question,
        {
          ...before,
          rows: [...before.rows, ...nodes.filter(({ id }) => !have.has(id))],
          cursor: pageInfo.endCursor ?? null,
          hasMore: pageInfo.hasNextPage,
          loading: false,
          error: null,
          askedAt,
        },
      ];
    });
  }

  async function measure(): Promise<void> {
    const { data } = await client
      .query(SessionCountDocument, { filter }, { requestPolicy: 'network-only' })
      .toPromise();
    if (data && asking.current === question) set((known) => ({ ...known, total: data.sessions.totalCount }));
  }

  async function lookForNew(): Promise<void> {
    const from = new Date(Math.max(newestOf(shown, orderBy), Date.parse(filter.startedAt?.from ?? '') || 0));
    const { data } = await client
      .query(
        NewSessionsDocument,
        { filter: { ...filter, startedAt: { ...filter.startedAt, from: from.toISOString() } } },
        { requestPolicy: 'network-only' },
      )
      .toPromise();
    if (!data || asking.current !== question) return;
    set((known) => {
      const have = new Set(known.rows.map(({ id }) => id));
      return { ...known, fresh: data.sessions.nodes.filter(({ id }) => !have.has(id)).length };
    });
  }

  /** After a gap: reads the first page again, updates its rows in their places, and looks for new sessions. */
  async function catchUp(): Promise<void> {
    look();
    const { data } = await client
      .query(SessionsDocument, { filter, orderBy, after: null }, { requestPolicy: 'network-only' })
      .toPromise();
    if (!data || asking.current !== question) return;
    const now = new Map(data.sessions.nodes.map((session) => [session.id, session]));
    set((known) => ({ ...known, rows: known.rows.map((session) => now.get(session.id) ?? session) }));
  }

  const look = useThrottled(() => void lookForNew(), LOOK);
  const reload = (): void => {
    void ask(null).then(measure);
  };
  const begin = useEffectEvent(() => {
    if (answered === question && shown.rows.length > 0) void catchUp();
    else reload();
  });
  useEffect(() => {
    asking.current = question;
    busy.current = false;
    begin();
  }, [question]);

  useEffect(() => {
    if (answered === question && !state.loading) kept = { client, question, state };
  }, [client, answered, question, state]);

  useLive(
    SessionRowsDocument,
    {},
    {
      data({ sessionChanged: { kind, session } }) {
        set((known) => {
          const place = known.rows.findIndex(({ id }) => id === session.id);
          return place < 0 ? known : { ...known, rows: known.rows.with(place, session) };
        });
        if (kind === 'STARTED') look();
      },
      open: (again) => again && void catchUp(),
    },
  );

  return {
    ...shown,
    more: () => {
      if (shown.hasMore && !shown.loading && !shown.error) void ask(shown.cursor);
    },
    retry() {
      if (busy.current) return;
      if (shown.rows.length > 0) void ask(shown.cursor);
      else reload();
    },
    reload,
  };
}
