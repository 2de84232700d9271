import { useEffect, useEffectEvent, useSyncExternalStore } from 'react';
import type { TypedDocumentNode } from '@graphql-typed-document-node/core';
import { NetworkError } from 'graphql-sse';
import { stringifyDocument } from 'urql';
import { refuse, useApi } from './api';

/** The first wait before coming back, and the longest. Milliseconds. */
const FIRST_WAIT = 500;
const LONGEST_WAIT = 10_000;

/** The streams that are lost just now. */
const lost = new Set<symbol>();
const listeners = new Set<() => void>();

function mark(stream: symbol, isLost: boolean): void {
  if (lost.has(stream) === isLost) return;
  if (isLost) lost.add(stream);
  else lost.delete(stream);
  for (const listener of listeners) listener();
}

/** Whether something that should be live is cut off and being sought again. */
export const useReconnecting = (): boolean =>
  useSyncExternalStore(
    (listener) => {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    () => lost.size > 0,
  );

/**
 * Watches a subscription while the page is looked at. A tab in the background lets go of it, since a browser
 * has six connections to a server and no more; when it is looked at again, and after every loss, `open`
 * is called with `again`, to ask for what was missed.
 */
export function useLive<Data, Variables extends Record<string, unknown>>(
  document: TypedDocumentNode<Data, Variables>,
  variables: Variables,
  on: { data: (data: Data) => void; open?: (again: boolean) => void },
): void {
  const { streams } = useApi();
  const onData = useEffectEvent((data: Data) => on.data(data));
  const onOpen = useEffectEvent((again: boolean) => on.open?.(again));
  const asked = JSON.stringify(variables);

  useEffect(() => {
    const stream = Symbol('stream');
    const query = stringifyDocument(document);
    let stop: (() => void) | null = null;
    let timer: number | undefined;
    let wait = FIRST_WAIT;
    let opened = false;

    function comeBack(): void {
      stop = null;
      mark(stream, true);
      timer = window.setTimeout(connect, wait * (0.75 + Math.random() / 2));
      wait = Math.min(wait * 2, LONGEST_WAIT);
    }

    function connect(): void {
      let over = false;
      let forbidden = false;
      const unsubscribe = streams.subscribe<Data>(
        { query, variables: JSON.parse(asked) as Variables },
        {
          next({ data, errors }) {
            if (over) return;
            if (data) onData(data);
            // What is forbidden stays so; the page's query says it in words.
            forbidden ||= errors?.some(({ extensions }) => extensions['code'] === 'FORBIDDEN') ?? false;
          },
          error(error) {
            if (over) return;
            const status = error instanceof NetworkError ? (error.response as Response | undefined)?.status : null;
            if (status === 401) refuse();
            else if (status !== 403) comeBack();
          },
          complete() {
            if (!over && !forbidden) comeBack();
          },
        },
        {
          connected() {
            wait = FIRST_WAIT;
            mark(stream, false);
            onOpen(opened);
            opened = true;
          },
        },
      );
      stop = () => {
        over = true;
        unsubscribe();
      };
    }

    function letGo(): void {
      window.clearTimeout(timer);
      stop?.();
      stop = null;
      mark(stream, false);
    }

    function onVisibility(): void {
      letGo();
      if (!window.document.hidden) connect();
    }

    if (!window.document.hidden) connect();
    window.document.addEventListener('visibilitychange', onVisibility);
    return () => {
      window.document.removeEventListener('visibilitychange', onVisibility);
      letGo();
    };
  }, [streams, document, asked]);
}
