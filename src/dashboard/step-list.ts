import { useEffect, useEffectEvent, useRef, useState } from 'react';
import type { CombinedError } from 'urql';
import { useApi } from './api';
import {
  StepsAroundDocument,
  StepsDocument,
  StepsPageDocument,
  type StepEdgeFragment,
  type StepFragment,
} from './generated/graphql';
import { useLive } from './live';

/** So many events are held at a time. Who scrolls on presses a button, and the list begins anew from there. */
const MOST = 5_000;
/** So many live events are held. If more come, they are read as a page. */
const MOST_LIVE = 500;

/** Which events of the session are shown. */
export interface StepFilter {
  /** Part of the message or the source; null: all. */
  readonly search: string | null;
  readonly type: string | null;
}

/** A run of events of the session without gaps, in order. */
interface Run {
  readonly edges: readonly StepEdgeFragment[];
  readonly hasEarlier: boolean;
  readonly hasMore: boolean;
  /** What came live. It is shown when all before it is loaded. */
  readonly live: readonly StepFragment[];
}

const EMPTY: Run = { edges: [], hasEarlier: false, hasMore: true, live: [] };

const byTime = (a: StepFragment, b: StepFragment): number => a.occurredAt.localeCompare(b.occurredAt);

/** The events of a run as they are shown. */
function stepsOf({ edges, hasMore, live }: Run): StepFragment[] {
  const nodes = edges.map(({ node }) => node);
  if (hasMore || live.length === 0) return nodes;
  const have = new Set(nodes.map(({ id }) => id));
  return [...nodes, ...live.filter(({ id }) => !have.has(id))].toSorted(byTime);
}

/** The events of a session that are loaded, and what can be done with them. */
export interface StepList {
  readonly steps: readonly StepFragment[];
  readonly hasEarlier: boolean;
  readonly hasMore: boolean;
  /** So many are loaded that no more are added. */
  readonly isFull: boolean;
  readonly loading: boolean;
  readonly error: CombinedError | null;
  readonly more: () => void;
  readonly earlier: () => void;
  /** Begins anew after the last event that is loaded. */
  readonly goOn: () => void;
  /** After an error: asks once more for what could not be read, if nothing is being asked. */
  readonly retry: () => void;
  /** The error after this event (null: after the start), else the first of the session. It is loaded, if it was not. */
  readonly findError: (after: string | null) => Promise<string | null>;
}

/**
 * The events of a session that match `filter`: a run that grows at both ends on demand, and at its end live. It begins around
 * the instant `at` (ISO 8601); null: at the start of the session.
 */
export function useStepList(sessionId: string, { search, type }: StepFilter, at: string | null): StepList {
  const { client } = useApi();
  const [run, setRun] = useState<Run>(EMPTY);
  const [loading, setLoading] = useState(true);
  const [error, setError] = useState<CombinedError | null>(null);
  const filter = { search, types: type === null ? null : [type] };
  const question = JSON.stringify([sessionId, filter, at]);
  /** The number of the latest request. The answer to an earlier one is dropped. */
  const turn = useRef(0);
  const busy = useRef(false);
  /** Asks once more for what was asked last. */
  const repeat = useRef<() => void>(() => {});

  /** Asks for a page and puts its answer into the run, unless something else was asked meanwhile. Whether it did. */
  async function ask<Data>(
    query: () => Promise<{ data?: Data | undefined; error?: CombinedError | undefined }>,
    put: (data: Data) => ((known: Run) => Run) | null,
  ): Promise<boolean> {
    turn.current += 1;
    const mine = turn.current;
    busy.current = true;
    repeat.current = () => void ask(query, put);
    const asking = query();
    // An effect begins this, and changes no state itself.
    await Promise.resolve();
    if (turn.current !== mine) return false;
    setLoading(true);
    const { data, error } = await asking;
    if (turn.current !== mine) return false;
    busy.current = false;
    setLoading(false);
    setError(error ?? null);
    const change = data && put(data);
    if (change) setRun(change);
    return Boolean(change);
  }

  type Place = { first?: number; after?: string | null; last?: number; before?: string | null };
  const readPage = (place: Place) => () =>
    client.query(StepsPageDocument, { id: sessionId, filter, ...place }, { requestPolicy: 'network-only' }).toPromise();

  const beginAfter = (after: string | null): Promise<boolean> =>
    ask(readPage({ first: 100, after }), ({ session }) => {
      if (!session) return null;
      const { edges, pageInfo } = session.events;
      return () => ({ ...EMPTY, edges, hasEarlier: after !== null, hasMore: pageInfo.hasNextPage });
    });

  const beginAround = (instant: string): Promise<boolean> =>
    ask(
      () =>
        client
          .query(
            StepsAroundDocument,
            {
              id: sessionId,
              before: { ...filter, occurredAt: { to: instant } },
              from: { ...filter, occurredAt: { from: instant } },
            },
            { requestPolicy: 'network-only' },
          )
          .toPromise(),
      ({ session }) => {
        if (!session) return null;
        const { before, from } = session;
        return () => ({
          ...EMPTY,
          edges: [...before.edges, ...from.edges],
          hasEarlier: before.pageInfo.hasPreviousPage,
          hasMore: from.pageInfo.hasNextPage,
        });
      },
    );

  const last = run.edges.at(-1)?.cursor ?? null;
  const isFull = run.edges.length >= MOST;

  /** Reads what comes after the run. */
  async function extend(): Promise<void> {
    if (busy.current) return;
    await ask(readPage({ first: 100, after: last }), ({ session }) => {
      if (!session) return null;
      const { edges, pageInfo } = session.events;
      return (known) => {
        const have = new Set(known.edges.map(({ node }) => node.id));
        return {
          ...known,
          edges: [...known.edges, ...edges.filter(({ node }) => !have.has(node.id))],
          hasMore: pageInfo.hasNextPage,
        };
      };
    });
  }

  async function earlier(): Promise<void> {
    const first = run.edges[0];
    if (busy.current || !first) return;
    await ask(readPage({ last: 100, before: first.cursor }), ({ session }) => {
      if (!session) return null;
      const { edges, pageInfo } = session.events;
      return (known) => ({ ...known, edges: [...edges, ...known.edges], hasEarlier: pageInfo.hasPreviousPage });
    });
  }

  async function findError(after: string | null): Promise<string | null> {
    const steps = stepsOf(run);
    const place = steps.findIndex(({ id }) => id === after);
    const loaded = steps.slice(place + 1).find(({ type }) => type === 'error');
    if (loaded) return loaded.id;
    const errors = { ...filter, types: ['error'] };
    const read = async (cursor: string | null): Promise<StepFragment | undefined> => {
      const { data } = await client
        .query(
          StepsPageDocument,
          { id: sessionId, filter: errors, first: 1, after: cursor },
          { requestPolicy: 'network-only' },
        )
        .toPromise();
      return data?.session?.events.edges[0]?.node;
    };
    // After the run or, where none is left, from the start of the session.
    const found = (run.hasMore && last !== null && (await read(last))) || (await read(null));
    if (!found) return null;
    if (steps.some(({ id }) => id === found.id)) return found.id;
    return (await beginAround(found.occurredAt)) ? found.id : null;
  }

  const reload = (): void => void (at === null ? beginAfter(null) : beginAround(at));
  const asked = useRef('');
  const start = useEffectEvent(() => reload());
  useEffect(() => {
    asked.current = question;
    queueMicrotask(start);
  }, [question]);

  useLive(
    StepsDocument,
    { filter: { ...filter, sessionIds: [sessionId] } },
    {
      data({ eventIngested }) {
        setRun((known) => {
          const live = [...known.live.filter(({ id }) => id !== eventIngested.id), eventIngested];
          return live.length > MOST_LIVE ? { ...known, live: [], hasMore: true } : { ...known, live };
        });
      },
      // What came between the page and the stream.
      open: () => {
        if (!run.hasMore) void extend();
      },
    },
  );

  return {
    steps: stepsOf(run),
    hasEarlier: run.hasEarlier,
    hasMore: run.hasMore,
    isFull,
    loading,
    error,
    more: () => {
      if (run.hasMore && !isFull && !error) void extend();
    },
    earlier: () => void earlier(),
    goOn: () => void beginAfter(last),
    retry() {
      if (!busy.current) repeat.current();
    },
    findError,
  };
}
