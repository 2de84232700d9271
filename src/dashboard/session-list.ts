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

/** New sessions are looked for no more often than this. Milliseconds. */
const LOOK = 2_000;
/** As many new sessions as are told apart. */
export const MOST_NEW = 100;

/** What a list of sessions knows. Rows keep their place until it is loaded anew. */
interface SessionListState {
  readonly rows: readonly SessionRowFragment[];
  readonly cursor: string | null;
  readonly hasMore: boolean;
  readonly total: number | null;
  /** Sessions that have begun since, and match. */
  readonly fresh: number;
  readonly error: CombinedError | null;
  readonly loading: boolean;
  /** When the first page was asked for. */
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

/** The list that was left last, so that coming back finds it as it was. */
let kept: { client: Client; question: string; state: SessionListState } | null = null;

/** Sessions that began since then are new to the list: the latest start it shows, else when it was asked for. */
function newestOf({ rows, askedAt }: SessionListState, { field, direction }: SessionOrder): number {
  const first = field === 'STARTED_AT' && direction === 'DESC' ? rows[0] : undefined;
  return first ? Date.parse(first.startedAt) : askedAt;
}

/** A list of sessions as it is scrolled through, with its rows kept up to date in place. */
export function useSessionList(
  filter: SessionFilter,
  orderBy: SessionOrder,
): SessionListState & { more: () => void; reload: () => void } {
  const { client } = useApi();
  const question = JSON.stringify([filter, orderBy]);
  const [[answered, state], setAll] = useState<readonly [string, SessionListState]>(() => [
    question,
    kept?.client === client && kept.question === question ? kept.state : NOTHING,
  ]);
  // Answers to an older question are of no use.
  const asking = useRef(question);
  const busy = useRef(false);
  const shown = answered === question ? state : { ...state, loading: true, fresh: 0 };

  const set = (change: (known: SessionListState) => SessionListState): void =>
    setAll(([of, known]) => (of === question ? [of, change(known)] : [of, known]));

  async function ask(after: string | null): Promise<void> {
    if (busy.current && after !== null) return;
    busy.current = true;
    const askedAt = after === null ? Date.now() : shown.askedAt;
    const { data, error } = await client
      .query(SessionsDocument, { filter, orderBy, after }, { requestPolicy: 'network-only' })
      .toPromise();
    if (asking.current !== question) return;
    busy.current = false;
    setAll(([of, known]) => {
      const before = of === question && after !== null ? known : { ...NOTHING, total: known.total };
      if (!data) return [question, { ...before, loading: false, hasMore: false, error: error ?? null }];
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

  /** After an absence: the rows at the top as they are now, in their places, and what has begun since. */
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
      if (shown.hasMore && !shown.loading) void ask(shown.cursor);
    },
    reload,
  };
}
