import {
  createSourceEventStream,
  execute,
  type DocumentNode,
  type ExecutionArgs,
  type ExecutionResult,
  type GraphQLError,
} from 'graphql';
import type { WebSocket } from 'ws';
import type { Caller } from '../domain/access.js';
import type { Context } from '../schema/context.js';
import { admitOperation } from './graphql.js';
import type { Observer } from '../observation.js';

/**
 * Subscriptions over WebSockets. What a service hands to many subscribers is one object; those who ask the same
 * of it, with the same rights, share one execution and one text. So the cost of an event follows the different
 * subscriptions, and each subscriber costs one write to its socket.
 */
export interface SharedSubscriptions {
  /**
   * Begins a subscription, and sends its messages on the socket, under `id`, itself: what is answered yields
   * nothing, ends when the subscription does, and throws what it fails with. Errors before the first event
   * come back as a result. `mask` makes of an error what the caller may hear.
   */
  subscribe(
    args: ExecutionArgs,
    to: { socket: WebSocket; id: string; mask: (result: ExecutionResult) => ExecutionResult },
  ): Promise<AsyncIterableIterator<never> | ExecutionResult>;
}

/** Bytes that wait in a socket before its subscription waits too: then what comes meanwhile is joined. */
const MOST_WAITING = 65_536;

function rightsOf(caller: Caller): string {
  if (caller.kind === 'operator') return 'operator';
  const { reach, scopes } = caller;
  return `${reach.projectId} ${[...scopes].toSorted().join()} ${reach.userIds?.toSorted().join() ?? '*'}`;
}

function send(socket: WebSocket, frame: string): Promise<void> | void {
  if (socket.bufferedAmount < MOST_WAITING) {
    socket.send(frame);
    return undefined;
  }
  // A socket that fails meanwhile ends its subscriptions by itself.
  return new Promise((resolve) => socket.send(frame, () => resolve()));
}

export function createSharedSubscriptions(observe: Observer): SharedSubscriptions {
  /** By event, then by subscription: the text of the result. */
  const texts = new WeakMap<object, Map<string, Promise<string>>>();
  const documents = new WeakMap<DocumentNode, number>();
  let count = 0;
  let delivered = 0;

  /** Told once for all that a turn of the loop delivers. */
  function delivers(): void {
    delivered += 1;
    if (delivered > 1) return;
    setImmediate(() => {
      observe({ kind: 'messages.delivered', count: delivered });
      delivered = 0;
    });
  }

  function kindOf({ document, operationName, variableValues, contextValue }: ExecutionArgs): string {
    let number = documents.get(document);
    if (number === undefined) documents.set(document, (number = count += 1));
    const { caller } = contextValue as Context;
    return `${number} ${operationName ?? ''} ${JSON.stringify(variableValues ?? {})} ${rightsOf(caller)}`;
  }

  function textOf(
    event: object,
    kind: string,
    args: ExecutionArgs,
    mask: (result: ExecutionResult) => ExecutionResult,
  ): Promise<string> {
    let byKind = texts.get(event);
    if (!byKind) texts.set(event, (byKind = new Map()));
    let text = byKind.get(kind);
    if (!text) {
      text = Promise.resolve(execute({ ...args, rootValue: event })).then((result) => JSON.stringify(mask(result)));
      byKind.set(kind, text);
    }
    return text;
  }

  return {
    async subscribe(args, { socket, id, mask }) {
      await admitOperation(args);
      const source = await createSourceEventStream(args);
      if (!(Symbol.asyncIterator in source)) return mask(source);
      const events = source as AsyncGenerator<object>;
      const kind = kindOf(args);
      const head = `{"id":${JSON.stringify(id)},"type":"next","payload":`;

      async function pump(): Promise<void> {
        for await (const event of events) {
          const text = await textOf(event, kind, args, mask);
          if (socket.readyState !== socket.OPEN) return;
          const sent = send(socket, `${head}${text}}`);
          delivers();
          if (sent) await sent;
        }
      }

      const end = pump().then(
        (): IteratorResult<never> => ({ value: undefined, done: true }),
        (error: unknown) => {
          // Told to the client as it is thrown.
          throw mask({ errors: [error as GraphQLError] }).errors![0]!;
        },
      );
      // Whoever iterates is told; where nobody does any more, nobody needs to know.
      end.catch(() => {});
      const messages: AsyncIterableIterator<never> = {
        next: () => end,
        async return() {
          await events.return(undefined);
          return { value: undefined, done: true };
        },
        [Symbol.asyncIterator]: () => messages,
      };
      return messages;
    },
  };
}
