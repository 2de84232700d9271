import { useEffect, useEffectEvent, useSyncExternalStore } from 'react';
import type { TypedDocumentNode } from '@graphql-typed-document-node/core';
import { NetworkError } from 'graphql-sse';
import { stringifyDocument } from 'urql';
import { refuse, useApi } from './api';
import { tellReachable, waitAfter, whenReachable } from './reach';

/** The streams that are lost at present. */
const lost = new Set<symbol>();
const listeners = new Set<() => void>();

function mark(stream: symbol, isLost: boolean): void {
  if (lost.has(stream) === isLost) return;
  if (isLost) lost.add(stream);
  else lost.delete(stream);
  for (const listener of listeners) listener();
}

/** Whether a stream is lost and the page is trying to open it again. */
export const useReconnecting = (): boolean =>
  useSyncExternalStore(
    (listener) => {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },
    () => lost.size > 0,
  );

/**
 * Keeps a subscription open while the tab is visible. A tab in the background closes its stream, because a browser
 * has at most six connections to a server. `on.open` is called each time the stream opens. `again` is true
 * unless it opened at the first try: the page must then read what it missed.
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
    let failures = 0;
    let again = false;

    function comeBack(): void {
      stop = null;
      again = true;
      mark(stream, true);
      timer = window.setTimeout(connect, waitAfter(failures));
      failures += 1;
    }

    /** Opens the stream now, unless it is open or being opened. */
    function hurry(): void {
      if (stop || window.document.hidden) return;
      window.clearTimeout(timer);
      connect();
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
            // A forbidden stream is not tried again. The query of the page shows the message.
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
            failures = 0;
            mark(stream, false);
            onOpen(again);
            again = true;
            tellReachable();
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
      if (window.document.hidden) letGo();
    }

    if (!window.document.hidden) connect();
    window.document.addEventListener('visibilitychange', onVisibility);
    // A page that is shown again is such a sign.
    const end = whenReachable(hurry);
    return () => {
      end();
      window.document.removeEventListener('visibilitychange', onVisibility);
      letGo();
    };
  }, [streams, document, asked]);
}
