import { randomUUID } from 'node:crypto';
import type { IncomingMessage, Server } from 'node:http';
import { GraphQLError, type ExecutionArgs, type ExecutionResult } from 'graphql';
import { CloseCode, handleProtocols, makeServer, type SubscribePayload } from 'graphql-ws';
import type { Extra } from 'graphql-ws/use/ws';
import { WebSocketServer, type WebSocket } from 'ws';
import type { Caller } from '../domain/access.js';
import type { Sender } from '../domain/sender.js';
import type { Observer } from '../observation.js';
import type { Keys } from '../services/keys.js';
import type { RateLimits } from '../services/rate-limits.js';
import { admit } from './admission.js';
import { credentialInParams } from './authenticate.js';
import { MOST_BYTES, type Door, type GraphQLEngine } from './graphql.js';
import { maskError } from './mask-error.js';
import { checkOrigin } from './origin.js';
import type { OpenStreams } from './open-streams.js';
import { createSharedSubscriptions } from './shared-subscriptions.js';
import type { SenderOf } from './sender.js';
import { SocketPace } from './socket-pace.js';
import { watchPulse } from './socket-pulse.js';

/**
 * How a socket closes that may not be open. graphql-ws clients take 4401 as final; after 4403 they try again, and ask
 * their `connectionParams` anew: one whose token has run out comes back with a fresh one, and nothing else helps so.
 */
const CLOSE = { final: CloseCode.Unauthorized, expired: CloseCode.Forbidden } as const;
/** The protocol's own: no connection_init in time. */
const INIT_TIMEOUT = 5_000;
/** How long operations under way are waited for when the server closes. Milliseconds. */
const PATIENCE = 3_000;
/** How long a client may take to answer that its socket closes. Milliseconds. */
const FAREWELL = 1_000;

/** Whose a socket is, and how to forget it. */
interface Held {
  readonly credential: string | null;
  readonly sender: Sender;
  readonly pace: SocketPace;
  readonly forget: () => void;
  /** Subscriptions that the caller's scopes do not reach, and why, until their end has been told. */
  readonly refused: Map<string, GraphQLError>;
}

export interface WebSockets {
  /** Answers what is under way, then closes every socket with 1001 (going away): clients connect again, elsewhere or later. */
  close(): Promise<void>;
}

/** The WebSocket door of an HTTP server, at the targets that are its own: graphql-transport-ws, authenticated before the first operation. */
export function createWebSockets(deps: {
  http: Server;
  owns: (target: string) => boolean;
  graphql: GraphQLEngine;
  keys: Keys;
  senderOf: SenderOf;
  rateLimits: RateLimits;
  streams: OpenStreams;
  observe: Observer;
  /** How often a client is asked whether it is there. Milliseconds. */
  pingEvery?: number | undefined;
}): WebSockets {
  const { http, owns, graphql, keys, senderOf, rateLimits, streams, observe, pingEvery } = deps;
  const sockets = new WebSocketServer({
    server: http,
    maxPayload: MOST_BYTES,
    handleProtocols: (protocols) => handleProtocols(protocols),
  });
  sockets.shouldHandle = ({ url }) => owns(url ?? '/');
  // The HTTP server's own errors are its own affair; a socket's end the socket.
  sockets.on('error', (error) => observe({ kind: 'task.failed', task: 'websocket', error }));
  const held = new WeakMap<WebSocket, Held>();
  const shared = createSharedSubscriptions(observe);
  /** Queries and mutations being answered; subscriptions have no end to wait for. */
  const underWay = new Set<Promise<unknown>>();

  async function authenticate(credential: string | null, request: IncomingMessage): Promise<Caller> {
    const caller = await keys.authenticate(credential);
    checkOrigin(caller, request);
    return caller;
  }

  /** Where a caller may not come in, or not any more; another fault leaves the socket open. */
  function turnAway(socket: WebSocket, { extensions, message }: GraphQLError): boolean {
    const { code, reason } = extensions;
    if (code !== 'UNAUTHENTICATED' && code !== 'FORBIDDEN') return false;
    socket.close(reason === 'EXPIRED' ? CLOSE.expired : CLOSE.final, message.slice(0, 120));
    return true;
  }

  /** What an operation runs with, or why it cannot. */
  async function prepare({ socket, request: opening }: Extra, id: string, params: SubscribePayload) {
    const request = randomUUID();
    const { credential, sender, pace, refused } = held.get(socket)!;
    let caller: Caller;
    try {
      // For each operation anew, as over HTTP: a revocation holds though the client does not hear that its
      // socket closes, and so do the settings that are read with the key.
      caller = await authenticate(credential, opening);
    } catch (error) {
      const masked = maskError(error, request, observe);
      turnAway(socket, masked);
      return [masked];
    }
    const charge = async (points: number): Promise<void> => void (await rateLimits.chargeKey(caller, points));
    const door: Door = { caller, sender, requestId: request, charge };
    try {
      const opened = graphql.open(door, params);
      if (opened.errors) return opened.errors;
      const { args } = opened;
      const mask = (result: ExecutionResult): ExecutionResult =>
        result.errors
          ? { ...result, errors: result.errors.map((error) => maskError(error, request, observe)) }
          : result;
      const subscribe = async () => {
        const result = await shared.subscribe(args, { socket, connection: opening.socket, id, mask });
        const error = 'errors' in result ? result.errors?.[0] : undefined;
        if (error?.extensions['code'] === 'FORBIDDEN') refused.set(id, error);
        return result;
      };
      const run = (how: (args: ExecutionArgs) => unknown) => async (given: ExecutionArgs) => {
        try {
          return await how(given);
        } catch (error) {
          return { errors: [maskError(error, request, observe)] };
        }
      };
      return {
        ...args,
        rootValue: {
          execute: run((given) => pace.during(graphql.execute(given))),
          subscribe: run(subscribe),
        },
      };
    } catch (error) {
      return [maskError(error, request, observe)];
    }
  }

  const protocol = makeServer<Record<string, unknown>, Extra>({
    connectionInitWaitTimeout: INIT_TIMEOUT,
    async onConnect({ connectionParams, extra }) {
      const { socket } = extra;
      try {
        const credential = credentialInParams(connectionParams);
        const sender = senderOf(extra.request);
        const caller = await admit(
          rateLimits,
          sender,
          () => authenticate(credential, extra.request),
          () => {},
        );
        const forget = streams.open(caller, (why) =>
          why === 'revoked'
            ? socket.close(CLOSE.final, 'The key was revoked')
            : socket.close(CLOSE.expired, 'The token has expired'),
        );
        const pace = new SocketPace(socket, extra.request.socket);
        held.set(socket, { credential, sender, pace, forget, refused: new Map() });
        // One that has gone meanwhile is forgotten by nobody else.
        if (socket.readyState === socket.CLOSED) forget();
        return true;
      } catch (error) {
        if (!turnAway(socket, maskError(error, 'websocket', observe))) socket.close(1013, 'Try again later');
        // Whatever still comes is not heard.
        return false;
      }
    },
    onComplete(context, id) {
      const { socket } = context.extra;
      const { refused } = held.get(socket)!;
      const why = refused.get(id);
      if (!why) return;
      refused.delete(id);
      // When its end has been said. What else the socket carries is in order, and goes on.
      setImmediate(() => {
        if (Object.keys(context.subscriptions).every((other) => other === id)) turnAway(socket, why);
      });
    },
    onClose: ({ extra }) => held.get(extra.socket)?.forget(),
    onSubscribe: ({ extra }, id, params) => held.get(extra.socket)!.pace.during(prepare(extra, id, params)),
    execute(args) {
      const answer = (args.rootValue as { execute: (args: ExecutionArgs) => Promise<never> }).execute(args);
      underWay.add(answer);
      return answer.finally(() => underWay.delete(answer)) as never;
    },
    subscribe: (args) => (args.rootValue as { subscribe: (args: ExecutionArgs) => never }).subscribe(args),
  });

  sockets.on('connection', (socket, request) => {
    socket.on('error', () => socket.terminate());
    const pulse = watchPulse(socket, request.socket, pingEvery);
    const closed = protocol.opened(
      {
        protocol: socket.protocol,
        send: (text) =>
          new Promise((resolve) => {
            // A socket that fails meanwhile is closed by itself.
            if (socket.readyState === socket.OPEN) socket.send(text, () => resolve());
            else resolve();
          }),
        close: (code, reason) => socket.close(code, reason),
        onMessage: (take) =>
          socket.on('message', (data: Buffer) => {
            take(data.toString()).catch((error: unknown) => {
              // What only servers say: the client is wrong, and nobody needs to know.
              if ((error as Error).message.startsWith('Unexpected message')) {
                socket.close(CloseCode.BadRequest, 'Invalid message received');
                return;
              }
              observe({ kind: 'task.failed', task: 'websocket', error });
              socket.close(CloseCode.InternalServerError, 'Something went wrong on our side');
            });
          }),
      },
      { socket, request },
    );
    socket.once('close', (code, reason) => {
      pulse.stop();
      closed(code, reason.toString()).catch((error: unknown) =>
        observe({ kind: 'task.failed', task: 'websocket', error }),
      );
    });
  });

  return {
    async close() {
      await Promise.race([
        Promise.allSettled(underWay),
        new Promise((resolve) => setTimeout(resolve, PATIENCE).unref()),
      ]);
      // The answers are handed to their sockets a turn after the promises above.
      await new Promise((resolve) => setImmediate(resolve));
      for (const socket of sockets.clients) socket.close(1001, 'Going away');
      // Who does not answer that is not waited for.
      const timer = setTimeout(() => {
        for (const socket of sockets.clients) socket.terminate();
      }, FAREWELL);
      await new Promise<void>((resolve) => sockets.close(() => resolve()));
      clearTimeout(timer);
    },
  };
}
