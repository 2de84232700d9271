import {
  createSourceEventStream,
  getOperationAST,
  type DocumentNode,
  type ExecutionArgs,
  type ExecutionResult,
  type GraphQLError,
} from 'graphql';
import type { Socket } from 'node:net';
import { Sender, type WebSocket } from 'ws';
import type { Caller } from '../domain/access.js';
import type { Context } from '../schema/context.js';
import { admitOperation, executeEvent } from './graphql.js';
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
   * come back as a result. `connection` is what the WebSocket runs over; `mask` makes of an error what the caller may hear.
   */
  subscribe(
    args: ExecutionArgs,
    to: Subscriber & { readonly mask: (result: ExecutionResult) => ExecutionResult },
  ): Promise<AsyncIterableIterator<never> | ExecutionResult>;
}

interface Subscriber {
  readonly socket: WebSocket;
  readonly connection: Socket;
  /** The client's name for the subscription. */
  readonly id: string;
}

/** The ws package's own way to make a frame; it has no types. */
declare module 'ws' {
  export const Sender: {
    frame(
      data: Buffer,
      options: { fin: boolean; opcode: number; mask: boolean; readOnly: boolean; rsv1: boolean },
    ): Buffer[];
  };
}
/** RFC 6455, 5.2: a whole message of text, as a server sends it. */
const TEXT_FRAME = { fin: true, opcode: 1, mask: false, readOnly: true, rsv1: false };

const CLOSE = Buffer.from('}');

/** A result, ready for the sockets that wait for it: encoded once. */
class Message {
  private readonly result: Buffer;
  /** The last frame: some clients call all their subscriptions alike, others each differently. */
  private last: { readonly id: string; readonly frame: Buffer } | null = null;

  constructor(result: ExecutionResult) {
    this.result = Buffer.from(JSON.stringify(result));
  }

  frameFor(id: string): Buffer {
    if (this.last?.id === id) return this.last.frame;
    const head = Buffer.from(`{"id":${JSON.stringify(id)},"type":"next","payload":`);
    const frame = Buffer.concat(Sender.frame(Buffer.concat([head, this.result, CLOSE]), TEXT_FRAME));
    this.last = { id, frame };
    return frame;
  }
}

/** Bytes that wait in a socket before its subscription waits too: then what comes meanwhile is joined. */
const MOST_WAITING = 65_536;

function rightsOf(caller: Caller): string {
  if (caller.kind === 'operator') return 'operator';
  const { reach, scopes } = caller;
  return `${reach.projectId} ${[...scopes].toSorted().join()} ${reach.userIds?.toSorted().join() ?? '*'}`;
}

/**
 * One write of bytes that are the same for all, where the WebSocket's own send would copy the text, frame it, and write
 * in two parts, for each subscriber. It comes between no frames of the socket's own, which writes each of them at once.
 */
function send(connection: Socket, frame: Buffer): Promise<void> | void {
  if (connection.writableLength < MOST_WAITING) {
    connection.write(frame);
    return undefined;
  }
  // A socket that fails meanwhile ends its subscriptions by itself.
  return new Promise((resolve) => connection.write(frame, () => resolve()));
}

export function createSharedSubscriptions(observe: Observer): SharedSubscriptions {
  /** By event, then by subscription. */
  const made = new WeakMap<object, Map<string, Promise<Message>>>();
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

  /** What is the same for those who share; never throws. */
  function kindOf({ document, operationName, variableValues, contextValue }: ExecutionArgs): string {
    let number = documents.get(document);
    if (number === undefined) documents.set(document, (number = count += 1));
    const { caller } = contextValue as Context;
    // Others than those it defines change nothing.
    const defined = getOperationAST(document, operationName)?.variableDefinitions ?? [];
    const variables = defined.map(({ variable }) => [variable.name.value, variableValues?.[variable.name.value]]);
    return `${number} ${operationName ?? ''} ${textOf(variables)} ${rightsOf(caller)}`;
  }

  /** Values as text. What nests deeper than can be written is like nothing else: whoever reads it says what is wrong. */
  function textOf(variables: readonly unknown[]): string {
    try {
      return JSON.stringify(variables);
    } catch {
      return `alone ${(count += 1)}`;
    }
  }

  function messageOf(
    event: object,
    kind: string,
    args: ExecutionArgs,
    mask: (result: ExecutionResult) => ExecutionResult,
  ): Promise<Message> {
    let byKind = made.get(event);
    if (!byKind) made.set(event, (byKind = new Map()));
    let message = byKind.get(kind);
    if (!message) {
      message = Promise.resolve(executeEvent(args, event)).then((result) => new Message(mask(result)));
      byKind.set(kind, message);
    }
    return message;
  }

  return {
    async subscribe(args, { socket, connection, id, mask }) {
      await admitOperation(args);
      // From the opening of the source on nothing may throw that does not give it back.
      const kind = kindOf(args);
      const source = await createSourceEventStream(args);
      if (!(Symbol.asyncIterator in source)) return mask(source);
      const events = source as AsyncGenerator<object>;

      async function pump(): Promise<void> {
        for await (const event of events) {
          const message = await messageOf(event, kind, args, mask);
          if (socket.readyState !== socket.OPEN) return;
          const sent = send(connection, message.frameFor(id));
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
