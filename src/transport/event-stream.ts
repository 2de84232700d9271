import type { ExecutionResult } from 'graphql';
import { isAsyncIterable, type FetchAPI, type Plugin } from 'graphql-yoga';

/** How long a browser's EventSource waits before it connects again. Milliseconds. */
const RETRY = 3_000;
/** So often a comment is sent, where nothing else is: proxies cut what is silent, the hastiest after 30 seconds. Milliseconds. */
const COMMENT_EVERY = 15_000;

const encoder = new TextEncoder();

/** What a result says to the client; what an error says to HTTP (`extensions.http`) came too late. */
function wordsOf({ errors, ...rest }: ExecutionResult): string {
  if (!errors) return JSON.stringify(rest);
  const said = errors.map((error) => {
    const { http: _http, ...extensions } = error.extensions;
    return { ...error.toJSON(), extensions };
  });
  return JSON.stringify({ ...rest, errors: said });
}

function answerWith(results: AsyncIterable<ExecutionResult>, commentEvery: number, fetchAPI: FetchAPI): Response {
  const iterator = results[Symbol.asyncIterator]();
  let comments: NodeJS.Timeout | undefined;
  const body = new fetchAPI.ReadableStream<Uint8Array>({
    start(controller) {
      // Something must come at once: some browsers do not take a stream for opened before.
      controller.enqueue(encoder.encode(`retry: ${RETRY}\n\n`));
      comments = setInterval(() => {
        // Who has not taken the last one yet needs no other.
        if ((controller.desiredSize ?? 0) > 0) controller.enqueue(encoder.encode(':\n\n'));
      }, commentEvery);
    },
    async pull(controller) {
      try {
        const { value, done } = await iterator.next();
        if (!done) {
          controller.enqueue(encoder.encode(`event: next\ndata: ${wordsOf(value)}\n\n`));
          return;
        }
        clearInterval(comments);
        controller.enqueue(encoder.encode('event: complete\ndata:\n\n'));
        controller.close();
      } catch (error) {
        clearInterval(comments);
        controller.error(error);
      }
    },
    async cancel() {
      clearInterval(comments);
      await iterator.return?.();
    },
  });
  return new fetchAPI.Response(body, {
    headers: { 'Content-Type': 'text/event-stream', 'Cache-Control': 'no-cache, no-transform' },
  });
}

/**
 * Subscriptions as server-sent events, in the distinct connections mode of graphql-sse: each message is an event called
 * `next`, which is why a page listens by that name, and the last `complete`. Over what Yoga does it tells EventSource
 * when to come back, and how often it comments is known.
 */
export function useEventStreams(commentEvery = COMMENT_EVERY): Plugin {
  return {
    onResultProcess(process) {
      // Where the client accepts no stream, no processor was found.
      if (!process.resultProcessor || !isAsyncIterable(process.result)) return;
      const results = process.result as AsyncIterable<ExecutionResult>;
      process.setResultProcessor(
        (_result, fetchAPI) => answerWith(results, commentEvery, fetchAPI),
        'text/event-stream',
      );
    },
  };
}
