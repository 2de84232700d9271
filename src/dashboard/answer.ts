import { useEffect, useEffectEvent, useMemo, useRef, useState } from 'react';
import type { TypedDocumentNode } from '@graphql-typed-document-node/core';
import { useQuery, type AnyVariables, type CombinedError, type UseQueryArgs, type UseQueryState } from 'urql';
import { isTooMuch, isUnreachable } from './api';
import { useRetry } from './reach';

/** The longest rest after an answer. A computer that slept meanwhile seems to have waited for hours. Milliseconds. */
const LONGEST_REST = 60_000;

/** How long the server should rest before it is asked again, after an answer that took so long. Milliseconds. */
export const restAfter = (took: number): number => Math.min(took * 10, LONGEST_REST);

/** An answer and whether it is the answer to what is asked now. */
interface Answer<Data> {
  /** It stays when the same is asked again and that fails. */
  readonly data: Data | undefined;
  /** Why what is asked now could not be answered. If the server cannot be reached, it is tried again by itself. */
  readonly error: CombinedError | undefined;
  /** The data answers another question than the one that is asked now: it is shown dimmed until the new answer is there. */
  readonly isOld: boolean;
  /** Asks once more. While an answer is under way, this is only noted: it is asked once, a rest after that answer. */
  readonly again: () => void;
  /** After an error: asks once more, if no answer is under way. */
  readonly retry: () => void;
  /** How long the server should rest before it is asked again: ten times as long as the latest answer took. Milliseconds. */
  readonly rest: () => number;
}

/**
 * Asks a query whose variables move with the time. `question` says in words of the page what is asked: while it stays, a new
 * answer replaces the one before without notice; when it changes, the data is old until the new answer is there. `fetch`: for
 * an answer that can take seconds, a fetch of turns.ts.
 */
export function useAnswer<Data, Variables extends AnyVariables>(
  query: TypedDocumentNode<Data, Variables>,
  variables: Variables,
  question: string,
  fetch?: typeof globalThis.fetch,
): Answer<Data> {
  const context = useMemo(() => ({ question, ...(fetch && { fetch }) }), [question, fetch]);
  const [{ data, error: latestError, operation, fetching, stale }, ask] = useQuery<Data>({ query, variables, context });
  const [kept, keep] = useState<{ data: Data; question: unknown }>();
  const answered: unknown = operation?.context['question'];
  const error = answered === question ? latestError : undefined;
  const now = data === undefined ? kept : { data, question: answered };
  if (now && (now.data !== kept?.data || now.question !== kept.question)) keep(now);
  const isOld = now !== undefined && now.question !== question;
  const shown = error && isOld ? undefined : now;
  // A new request takes the place of the one that is under way. So there must be none, or no answer would ever come.
  const isAsking = fetching || stale;
  /** The question that is to be asked again after the answer that is under way. */
  const noted = useRef<string | null>(null);
  const askNow = (): void => ask({ requestPolicy: 'network-only' });
  const again = (): void => {
    if (isAsking) noted.current = question;
    else askNow();
  };
  const retry = (): void => {
    if (!isAsking) askNow();
  };
  const isLost = error !== undefined && isUnreachable(error);
  useRetry(isLost, retry);

  const begun = useRef<{ question: string; at: number } | null>(null);
  /** How long the latest answer took, with the wait for its turn. Milliseconds. */
  const took = useRef({ question, time: 0 });
  const rest = (): number => (took.current.question === question ? restAfter(took.current.time) : 0);

  /** Takes down how long the answer took. Returns the rest before it is asked again, null if that was not noted. */
  const onAnswer = useEffectEvent((): number | null => {
    const time = begun.current === null ? 0 : Date.now() - begun.current.at;
    const before = took.current.question === question ? took.current.time : 0;
    if (!error) took.current = { question, time };
    else if (isTooMuch(error)) took.current = { question, time: Math.max(before, time) };
    begun.current = null;
    // What could not be reached is tried again anyway.
    const isDue = noted.current === question && !isLost;
    noted.current = null;
    return isDue ? rest() : null;
  });
  const askNoted = useEffectEvent(askNow);
  useEffect(() => {
    if (isAsking) {
      if (begun.current?.question !== question) begun.current = { question, at: Date.now() };
      return undefined;
    }
    const wait = onAnswer();
    if (wait === null) return undefined;
    const timer = window.setTimeout(() => askNoted(), wait);
    return () => window.clearTimeout(timer);
  }, [isAsking, question]);
  return { data: shown?.data, error, isOld, again, retry, rest };
}

/** What a query of a page is answered, and two ways to ask once more. */
type Asked<Data, Variables extends AnyVariables> = UseQueryState<Data, Variables> & {
  /** After an error: asks once more, if no answer is under way. */
  readonly retry: () => void;
  /** Asks once more, also if an answer is under way: something was changed since it was asked. */
  readonly again: () => void;
};

/**
 * Asks a query as `useQuery` does. Whoever tries again by itself must use `retry`: a new request takes the place of the one
 * that is under way, so a server that takes longer to answer than the page waits would never be heard.
 */
export function useAsked<Data, Variables extends AnyVariables>(
  question: UseQueryArgs<Variables, Data>,
): Asked<Data, Variables> {
  const [state, ask] = useQuery(question);
  const again = (): void => ask({ requestPolicy: 'network-only' });
  return {
    ...state,
    again,
    retry() {
      if (!state.fetching && !state.stale) again();
    },
  };
}

/** Calls `action` each time `turn` has changed, and not at first. */
export function useTurn(turn: number, action: () => void): void {
  const seen = useRef(turn);
  const act = useEffectEvent(action);
  useEffect(() => {
    if (seen.current === turn) return;
    seen.current = turn;
    act();
  }, [turn]);
}
