import {
  getOperationAST,
  Kind,
  type ArgumentNode,
  type ExecutionArgs,
  type ExecutionResult,
  type GraphQLError,
} from 'graphql';
import { isAsyncIterable, type FetchAPI, type Plugin } from 'graphql-yoga';
import { SharedText } from './deflate.js';
import { withoutHttp } from './mask-error.js';
import { textStream } from './text-stream.js';

/** How long a browser's EventSource waits before it connects again. Milliseconds. */
const RETRY = 3_000;
/**
 * The time between two comments. Proxies cut silent connections, some after 30 seconds, and comments prevent that.
 * Milliseconds.
 */
export const COMMENT_EVERY = 15_000;

/**
 * The headers of every event stream. X-Accel-Buffering: without it nginx collects messages in a buffer before it sends them.
 */
export const EVENT_STREAM_HEADERS = {
  'Content-Type': 'text/event-stream',
  'Cache-Control': 'no-cache, no-transform',
  'X-Accel-Buffering': 'no',
};

/** A comment, which clients ignore. */
export const COMMENT = Buffer.from(':\n\n');
const BEGINNING = Buffer.from(`retry: ${RETRY}\n\n`);
const COMPLETE = Buffer.from('event: complete\ndata:\n\n');

/** The message of a result. Streams that share the result share the message. */
const made = new WeakMap<ExecutionResult, SharedText>();
/** The cursor of the event from which a result was made. */
const cursors = new WeakMap<ExecutionResult, string>();
/** The errors with which subscriptions have failed. (Yoga copies a result that has errors, but keeps the errors.) */
const endings = new WeakSet<GraphQLError>();

/**
 * Remembers the cursor of the event from which a result was made: it becomes the message's id. A part that more parts follow
 * gets no id: a client that went on after it would miss the other parts.
 */
export function noteCursor(
  result: ExecutionResult,
  event: { readonly cursor?: unknown; readonly hasMore?: unknown },
): void {
  if (typeof event.cursor === 'string' && event.hasMore !== true && !result.errors) cursors.set(result, event.cursor);
}

/** Remembers that a subscription has failed with the errors of this result. */
export function noteEnding(result: ExecutionResult): ExecutionResult {
  for (const error of result.errors ?? []) endings.add(error);
  return result;
}

/**
 * The same subscription, which goes on after a cursor. EventSource sends the `id` of its last message as Last-Event-ID when
 * it connects again. The cursor replaces the root field's `after`: the header is newer than the address, which EventSource
 * does not change. A root field without an `after` argument, or inside a fragment, stays as it is.
 */
export function goOnAfter(args: ExecutionArgs, cursor: string): ExecutionArgs {
  const { schema, document, operationName } = args;
  const operation = getOperationAST(document, operationName)!;
  const fields = schema.getSubscriptionType()!.getFields();
  const after: ArgumentNode = {
    kind: Kind.ARGUMENT,
    name: { kind: Kind.NAME, value: 'after' },
    value: { kind: Kind.STRING, value: cursor },
  };
  const selections = operation.selectionSet.selections.map((selection) => {
    if (selection.kind !== Kind.FIELD) return selection;
    const canGoOn = fields[selection.name.value]?.args.some(({ name }) => name === 'after');
    if (!canGoOn) return selection;
    const others = (selection.arguments ?? []).filter(({ name }) => name.value !== 'after');
    return { ...selection, arguments: [...others, after] };
  });
  const changed = { ...operation, selectionSet: { ...operation.selectionSet, selections } };
  const definitions = document.definitions.map((one) => (one === operation ? changed : one));
  return { ...args, document: { ...document, definitions } };
}

/** The message that a stream sends for a result. */
export function messageOf(result: ExecutionResult): SharedText {
  let message = made.get(result);
  if (!message) {
    const cursor = cursors.get(result);
    const { errors, ...rest } = result;
    // The HTTP status has been sent already, so the errors go without it.
    const words = JSON.stringify(errors ? { ...rest, errors: errors.map(withoutHttp) } : rest);
    const id = cursor === undefined ? '' : `id: ${cursor}\n`;
    made.set(result, (message = new SharedText(Buffer.from(`event: next\n${id}data: ${words}\n\n`))));
  }
  return message;
}

function answerWith(
  results: AsyncIterable<ExecutionResult>,
  acceptEncoding: string | null,
  commentEvery: number,
  fetchAPI: FetchAPI,
): Response {
  const iterator = results[Symbol.asyncIterator]();
  let comments: NodeJS.Timeout | undefined;
  let hasFailed = false;
  let push: (bytes: Uint8Array) => void;
  const texts = textStream(acceptEncoding, (bytes) => push(bytes));
  const body = new fetchAPI.ReadableStream<Uint8Array>({
    start(controller) {
      push = (bytes) => controller.enqueue(bytes);
      // Some browsers take a stream for open only when its first bytes have come.
      texts.write(BEGINNING);
      comments = setInterval(() => {
        // A client that has not read the last comment needs no other.
        if ((controller.desiredSize ?? 0) > 0) texts.write(COMMENT);
      }, commentEvery);
    },
    async pull(controller) {
      try {
        const { value, done } = await iterator.next();
        if (!done) {
          hasFailed = value.errors?.some((error) => endings.has(error)) ?? false;
          texts.writeShared(messageOf(value));
          return;
        }
        clearInterval(comments);
        // A subscription ends by a failure, or because the server ends it (it closes, the token has run out). In the second
        // case the stream stops without `complete`, so that clients connect again.
        if (hasFailed) texts.write(COMPLETE);
        texts.end();
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
  return new fetchAPI.Response(body, { headers: { ...EVENT_STREAM_HEADERS, ...texts.headers } });
}

/**
 * Subscriptions as server-sent events, in the distinct connections mode of graphql-sse: each message is an event called
 * `next`, so a page listens by that name. After a failure the last message is `complete`. In addition to what Yoga does, it
 * sets EventSource's `retry` and `id`, and the time between comments is known.
 */
export function useEventStreams(commentEvery = COMMENT_EVERY): Plugin {
  return {
    onResultProcess(process) {
      // If the client does not accept an event stream, there is no result processor.
      if (!process.resultProcessor || !isAsyncIterable(process.result)) return;
      const results = process.result as AsyncIterable<ExecutionResult>;
      const acceptEncoding = process.request.headers.get('accept-encoding');
      process.setResultProcessor(
        (_result, fetchAPI) => answerWith(results, acceptEncoding, commentEvery, fetchAPI),
        'text/event-stream',
      );
    },
  };
}
