import { randomUUID } from 'node:crypto';
import type { IncomingMessage } from 'node:http';
import type { Socket } from 'node:net';
import type { ExecutionArgs, ExecutionResult, GraphQLError } from 'graphql';
import type { SubscribePayload } from 'graphql-ws';
import type { Extra } from 'graphql-ws/use/ws';
import type { WebSocket } from 'ws';
import type { Caller } from '../../domain/access.js';
import type { Sender } from '../../domain/sender.js';
import type { Observer } from '../../observation.js';
import type { RateLimits } from '../../services/access/rate-limits.js';
import type { Door, GraphQLEngine } from '../graphql/graphql.js';
import { mapErrors, maskError, withoutHttp } from '../graphql/mask-error.js';
import type { Line } from '../graphql/line.js';
import type { Message, SharedSubscriptions } from '../graphql/shared-subscriptions.js';
import { selectionOf } from '../graphql/subscription-kind.js';
import type { Places } from '../http/places.js';
import { deflatedFrame, inflates } from './compression.js';
import { createJoinedWrites } from './joined-writes.js';
import { refusalOf } from './refusal.js';
import type { SocketPace } from './socket-pace.js';
import type { SocketRights } from './socket-rights.js';

/** Sends a message of a subscription to a socket. `head`: what stands before its result. */
function send(
  { socket, request: { socket: connection } }: Extra,
  message: Message,
  head: string,
  join: (connection: Socket) => void,
): void {
  if (!message.isLarge) {
    join(connection);
    socket.send(message.between(head, ''), { binary: false });
    return;
  }
  // A large one is written at once: its turn is timed (large-sends.ts).
  const { text, compressed } = message.rest;
  if (!compressed || !inflates(socket)) {
    socket.send(head, { fin: false });
    socket.send(text, { binary: false });
    return;
  }
  // This goes past the ws package, which has no way to send what is compressed already. It writes each of its own frames whole and
  // at once, because it compresses nothing itself: so this frame comes between two of them.
  connection.cork();
  for (const part of deflatedFrame(head, compressed)) connection.write(part);
  connection.uncork();
}

/** The state of a socket after connection_ack. */
export interface Held {
  readonly rights: SocketRights;
  readonly sender: Sender;
  readonly pace: SocketPace;
  /** The line of the messages of its subscriptions. */
  readonly line: Line;
  /** Places for its open subscriptions. */
  readonly open: Pick<Places, 'ofSubscription'>;
  /**
   * Functions that end its open subscriptions. graphql-ws has its own list, by id. But if a client ends a subscription and
   * asks for it again under the same id before it is open, that list loses the first one.
   */
  readonly ends: Set<() => void>;
  readonly forget: () => void;
  /** Subscriptions that were refused with FORBIDDEN, by id, until the client has got their end. */
  readonly refused: Map<string, GraphQLError>;
}

/**
 * Prepares an operation that came in a message of `bytes` bytes. Returns the arguments for its execution, or the errors that
 * refuse it.
 */
type Prepare = (
  own: Held,
  extra: Extra,
  id: string,
  params: SubscribePayload,
  bytes: number,
) => Promise<ExecutionArgs | GraphQLError[]>;

/** Prepares operations of WebSockets. Each one is authenticated, charged and executed like an HTTP request. */
export function createPrepare(deps: {
  graphql: GraphQLEngine;
  shared: SharedSubscriptions;
  rateLimits: RateLimits;
  authenticate: (credential: string | null, opening: IncomingMessage) => Promise<Caller>;
  /** Closes the socket if the error says that the caller may not use it any more. */
  turnAway: (socket: WebSocket, error: GraphQLError) => void;
  observe: Observer;
}): Prepare {
  const { graphql, shared, rateLimits, authenticate, turnAway, observe } = deps;
  const join = createJoinedWrites();

  return async function prepare(own, extra, id, params, bytes) {
    const { socket, request: opening } = extra;
    const request = randomUUID();
    const tell = (error: unknown): GraphQLError => withoutHttp(maskError(error, request, observe));
    const { rights, sender, pace, line, open, ends, refused } = own;
    const { credential } = rights;
    let caller: Caller;
    try {
      await rateLimits.chargeAddress(sender.ipAddress, 1);
      // Each operation is authenticated, as over HTTP. So a revocation holds even if the client ignores that its socket
      // closes, and changed settings of the key hold at once.
      caller = await authenticate(credential, opening);
    } catch (error) {
      const told = tell(error);
      turnAway(socket, told);
      return [told];
    }
    let payer = caller;
    const charge = async (points: number): Promise<void> => void (await rateLimits.chargeKey(payer, points));
    const door: Door = { caller, sender, requestId: request, charge };
    try {
      const opened = graphql.open(door, params);
      if (opened.errors) return opened.errors.map(withoutHttp);
      const { args } = opened;
      const mask = (result: ExecutionResult): ExecutionResult => mapErrors(result, tell);
      const head = `{"id":${JSON.stringify(id)},"type":"next","payload":`;
      const subscriber = {
        line,
        isOpen: () => socket.readyState === socket.OPEN,
        inflates: inflates(socket),
        send: (message: Message) => send(extra, message, head, join),
        mask,
      };
      const subscribe = async () => {
        const asked = { bytes, document: args.document, selection: selectionOf(args) };
        let leave = open.ofSubscription(caller, asked);
        const subscribing = shared.subscribe(args, subscriber);
        const result = await subscribing.catch((error: unknown) => {
          leave();
          throw error;
        });
        if (!('next' in result)) {
          leave();
          const error = result.errors?.[0];
          if (error?.extensions['code'] === 'FORBIDDEN') refused.set(id, error);
          return result;
        }
        const end = (): void => void result.return();
        const follow = (renewed: Caller): void => {
          payer = renewed;
          result.renew(renewed);
          // The new token may be of another key: from now on, that one holds the memory.
          leave();
          try {
            leave = open.ofSubscription(renewed, asked);
          } catch (error) {
            result.refuse(error as Error);
          }
        };
        ends.add(end);
        rights.followers.add(follow);
        const over = (): void => {
          ends.delete(end);
          rights.followers.delete(follow);
          leave();
        };
        void result.next().then(over, over);
        // The socket has got another credential while the subscription was being opened.
        if (rights.credential !== credential) follow(rights.caller);
        return result;
      };
      const run =
        (how: (args: ExecutionArgs) => Promise<ExecutionResult | AsyncIterableIterator<never>>) =>
        async (given: ExecutionArgs) => {
          try {
            const answer = await how(given);
            return 'next' in answer ? answer : refusalOf(answer);
          } catch (error) {
            return refusalOf({ errors: [tell(error)] });
          }
        };
      const execute = async (given: ExecutionArgs): Promise<ExecutionResult> =>
        mapErrors(await graphql.execute(given), withoutHttp);
      return {
        ...args,
        rootValue: {
          execute: run((given) => pace.during(execute(given), bytes)),
          subscribe: run(subscribe),
        },
      };
    } catch (error) {
      return [tell(error)];
    }
  };
}
