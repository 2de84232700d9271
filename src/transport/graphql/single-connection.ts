import type { IncomingMessage, ServerResponse } from 'node:http';
import {
  getOperationAST,
  OperationTypeNode,
  type ExecutionArgs,
  type ExecutionResult,
  type GraphQLError,
} from 'graphql';
import { AppError } from '../../errors.js';
import type { Observer } from '../../observation.js';
import type { Context } from '../../schema/context.js';
import type { Places } from '../http/places.js';
import { CORS_HEADERS, type Door, type GraphQLEngine } from './graphql.js';
import { mapErrors, maskError, withoutHttp } from './mask-error.js';
import type { OpenStreams } from './open-streams.js';
import { paramsIn } from './post-operation.js';
import { Message, type SharedSubscriptions, type Subscription } from './shared-subscriptions.js';
import { selectionOf } from './subscription-kind.js';
import { createStreamReservations, type Operation, type SingleStream } from './stream-reservations.js';
import type { TextStream } from './text-stream.js';

/** Characters of an operation's id: clients send UUIDs. */
const LONGEST_ID = 128;
/**
 * The most operations of a stream under way, and bytes of their requests: subscriptions that are being opened, queries and
 * mutations, and errors that wait for room. Queries and mutations run one after another, each when the stream has room: so at
 * most two answers wait for a slow reader.
 */
const MOST_UNDER_WAY = 100;
const MOST_BYTES_UNDER_WAY = 1024 * 1024;
/** The points that a reservation costs: as many as a query of one row. It is charged before the stream is reserved. */
const RESERVATION = 1;
const TOKEN_HEADER = 'x-graphql-event-stream-token';

/**
 * Server-sent events in the single connection mode of graphql-sse, for pages with many subscriptions. A browser has six
 * connections to a server over HTTP/1.1; in this mode one stream carries all operations. PUT reserves a stream and answers
 * its token. GET with the token opens the stream. POST with the token and an `operationId` runs an operation, whose messages
 * come over the stream. DELETE ends an operation.
 *
 * graphql-sse's own handler is not used: it never forgets a reservation, its queue for a slow reader has no bound, and it
 * encodes each message once for each subscriber.
 */
export interface SingleConnections {
  /** Whether a request to GraphQL's path belongs to this mode. */
  owns(request: IncomingMessage, url: URL): boolean;
  /** Answers such a request. `text` is the body of a POST. Throws an AppError if the request itself is wrong. */
  answer(request: IncomingMessage, response: ServerResponse, url: URL, door: Door, text: string): Promise<void>;
  /** Ends every stream. */
  close(): void;
}

const tokenOf = ({ headers }: IncomingMessage, { searchParams }: URL): string | null => {
  const given = headers[TOKEN_HEADER];
  return typeof given === 'string' && given !== '' ? given : searchParams.get('token');
};

const isSubscription = ({ document, operationName }: ExecutionArgs): boolean =>
  getOperationAST(document, operationName)?.operation === OperationTypeNode.SUBSCRIPTION;

/** Sends a message. */
function write(texts: TextStream, message: Message, head: string, tail: string): void {
  if (!message.isLarge) {
    texts.write(message.between(head, tail));
    return;
  }
  texts.write(Buffer.from(head));
  texts.writeShared(message.rest);
  texts.write(Buffer.from(tail));
}

const headOf = (id: string): string => `event: next\ndata: {"id":${JSON.stringify(id)},"payload":`;

export function createSingleConnections(deps: {
  graphql: GraphQLEngine;
  shared: SharedSubscriptions;
  streams: OpenStreams;
  places: Places;
  observe: Observer;
  commentEvery?: number | undefined;
  reservedFor?: number | undefined;
}): SingleConnections {
  const { graphql, shared, streams, observe } = deps;
  const reservations = createStreamReservations(deps);

  /** Opens a subscription whose messages go to the stream. Throws if a limit refuses it. */
  async function subscribe(
    stream: SingleStream,
    texts: TextStream,
    id: string,
    args: ExecutionArgs,
    bytes: number,
    isOn: () => boolean,
    mask: (result: ExecutionResult) => ExecutionResult,
  ): Promise<Subscription | ExecutionResult> {
    const { caller } = args.contextValue as Context;
    const leave = stream.places.ofSubscription(caller, {
      bytes,
      document: args.document,
      selection: selectionOf(args),
    });
    // If the key is revoked or the token expires, the stream ends. The client then connects and subscribes again with another
    // one.
    const forget = streams.open(caller, () => stream.end());
    const over = (): void => {
      leave();
      forget();
    };
    const head = headOf(id);
    const send = (message: Message) => write(texts, message, head, '\n\n');
    const { inflates } = texts;
    try {
      const answer = await shared.subscribe(args, { line: stream.line!, isOpen: isOn, inflates, send, mask });
      if ('next' in answer) void answer.next().then(over, over);
      else over();
      return answer;
    } catch (error) {
      over();
      throw error;
    }
  }

  /** Executes a query or mutation when its turn comes. Throws if a limit of the operation refuses it. */
  async function execute(
    { turn, line }: SingleStream,
    args: ExecutionArgs,
    isOn: () => boolean,
  ): Promise<ExecutionResult> {
    await turn;
    return line!.during(async () => {
      // The client has ended the operation, or the stream has closed.
      if (!isOn()) return {};
      return mapErrors(await graphql.execute(args), withoutHttp);
    });
  }

  /**
   * Counts an operation of `bytes` bytes as under way until its work has ended. Throws OVERLOADED if there are too many: the
   * request itself is then refused, because the stream may have no room even for the error.
   */
  async function during({ underWay }: SingleStream, bytes: number, work: () => Promise<void>): Promise<void> {
    if (underWay.count >= MOST_UNDER_WAY || (underWay.count > 0 && underWay.bytes + bytes > MOST_BYTES_UNDER_WAY)) {
      throw new AppError(
        'OVERLOADED',
        'The stream has too many operations under way. Send the next one when one of them is answered.',
        { retryAfter: 1 },
      );
    }
    underWay.count += 1;
    underWay.bytes += bytes;
    try {
      await work();
    } finally {
      underWay.count -= 1;
      underWay.bytes -= bytes;
    }
  }

  /** Runs an operation. Resolves when the subscription is open, or the query or mutation answered. */
  async function begin(stream: SingleStream, door: Door, text: string): Promise<void> {
    const params = paramsIn(text);
    if (!params) throw new AppError('BAD_USER_INPUT', 'The body must be an operation as JSON: {"query": …}.');
    const { operationId: id } = (params.extensions ?? {}) as { operationId?: unknown };
    if (typeof id !== 'string' || id === '' || id.length > LONGEST_ID) {
      const message = `extensions.operationId must be a text of 1 to ${LONGEST_ID} characters: it names the operation.`;
      throw new AppError('BAD_USER_INPUT', message, { field: 'extensions.operationId' });
    }
    const { texts, operations } = stream;
    if (!texts) throw new AppError('CONFLICT', 'The stream is not open yet. Open it with GET first.');
    if (operations.has(id))
      throw new AppError('CONFLICT', 'The stream already has an operation with this operationId. Use another one.');
    const operation: Operation = { subscription: null };
    const isOn = (): boolean => operations.get(id) === operation;
    const mask = (result: ExecutionResult): ExecutionResult =>
      mapErrors(result, (error) => withoutHttp(maskError(error, door.requestId, observe)));

    function complete(result: ExecutionResult): void {
      if (!isOn()) return;
      operations.delete(id as string);
      const end = `\n\nevent: complete\ndata: {"id":${JSON.stringify(id)}}\n\n`;
      write(texts!, new Message(result), headOf(id as string), end);
    }

    async function run(): Promise<Subscription | ExecutionResult> {
      try {
        const { errors, args } = graphql.open(door, params!);
        if (errors) return { errors: errors.map(withoutHttp) };
        if (isSubscription(args)) return await subscribe(stream, texts!, id as string, args, text.length, isOn, mask);
        const answering = execute(stream, args, isOn);
        stream.turn = Promise.allSettled([answering]);
        return await answering;
      } catch (error) {
        return mask({ errors: [error as GraphQLError] });
      }
    }

    async function follow(subscription: Subscription): Promise<void> {
      operation.subscription = subscription;
      try {
        await subscription.next();
        // The server has ended it (see event-stream.ts): it ends the stream too, so that the client connects again.
        if (isOn()) stream.end();
      } catch (error) {
        complete({ errors: [error as GraphQLError] });
      }
    }

    await during(stream, text.length, async () => {
      operations.set(id, operation);
      const answer = await run();
      if ('next' in answer) {
        if (isOn()) void follow(answer);
        else void answer.return();
        return;
      }
      // An answer with data had to wait for room before it was made.
      if (!answer.data && isOn()) await stream.line!.during(async () => {});
      complete(answer);
    });
  }

  function giveUp({ operations }: SingleStream, id: string | null): void {
    if (!id)
      throw new AppError('BAD_USER_INPUT', 'The address must name the operation: ?operationId=.', {
        field: 'operationId',
      });
    const operation = operations.get(id);
    operations.delete(id);
    void operation?.subscription?.return();
  }

  return {
    owns: (request, url) => request.method === 'PUT' || request.method === 'DELETE' || tokenOf(request, url) !== null,
    async answer(request, response, url, door, text) {
      if (request.headers.origin !== undefined)
        for (const [name, value] of Object.entries(CORS_HEADERS)) response.setHeader(name, value);
      if (request.method === 'PUT') {
        if (url.searchParams.has('query'))
          throw new AppError('BAD_USER_INPUT', 'PUT only reserves a stream. Send the operation with POST.');
        await door.charge(RESERVATION);
        const token = reservations.reserve(door.caller);
        response.writeHead(201, { 'Content-Type': 'text/plain; charset=utf-8', 'Cache-Control': 'no-store' });
        response.end(token);
        return;
      }
      const token = tokenOf(request, url);
      const stream = reservations.find(token, door.caller);
      if (request.method === 'GET') reservations.open(token!, stream, response, door);
      else if (request.method === 'POST') {
        await begin(stream, door, text);
        response.writeHead(202).end();
      } else {
        giveUp(stream, url.searchParams.get('operationId'));
        response.writeHead(200).end();
      }
    },
    close: () => reservations.close(),
  };
}
