import { randomUUID } from 'node:crypto';
import type { Server } from 'node:http';
import { GraphQLError, type ExecutionArgs, type ExecutionResult } from 'graphql';
import { useServer } from 'graphql-ws/use/ws';
import { WebSocketServer, type WebSocket } from 'ws';
import type { Caller } from '../domain/access.js';
import type { Sender } from '../domain/sender.js';
import type { Observer } from '../observation.js';
import type { Keys } from '../services/keys.js';
import type { RateLimits } from '../services/rate-limits.js';
import { admit } from './admission.js';
import { credentialIn } from './authenticate.js';
import { MOST_BYTES, type Door, type GraphQLServer } from './graphql.js';
import { maskError } from './mask-error.js';
import { checkOrigin } from './origin.js';
import type { OpenStreams } from './open-streams.js';
import { createSharedSubscriptions } from './shared-subscriptions.js';
import type { SenderOf } from './sender.js';

/**
 * graphql-ws clients take 4403 as "try again", and ask for their connection parameters anew: one whose token
 * has run out comes back with a fresh one.
 */
const FORBIDDEN = 4403;
/** The protocol's own: no connection_init in time. */
const INIT_TIMEOUT = 5_000;
const KEEP_ALIVE = 12_000;
/** How long operations under way are waited for when the server closes. Milliseconds. */
const PATIENCE = 3_000;

/** What a socket's caller may do, and how to forget it. */
interface Held {
  readonly caller: Caller;
  readonly sender: Sender;
  readonly forget: () => void;
}

export interface WebSockets {
  /** Answers what is under way, then closes every socket with 1001 (going away): clients connect again, elsewhere or later. */
  close(): Promise<void>;
}

/** The WebSocket door at `path` of an HTTP server: graphql-transport-ws, authenticated before the first operation. */
export function createWebSockets(deps: {
  http: Server;
  path: string;
  graphql: GraphQLServer;
  keys: Keys;
  senderOf: SenderOf;
  rateLimits: RateLimits;
  streams: OpenStreams;
  observe: Observer;
}): WebSockets {
  const { http, path, graphql, keys, senderOf, rateLimits, streams, observe } = deps;
  const sockets = new WebSocketServer({ server: http, path, maxPayload: MOST_BYTES });
  // The HTTP server's own errors are its own affair; a socket's end the socket.
  sockets.on('error', (error) => observe({ kind: 'task.failed', task: 'websocket', error }));
  sockets.on('connection', (socket) => socket.on('error', () => socket.terminate()));
  const held = new WeakMap<WebSocket, Held>();
  const shared = createSharedSubscriptions(observe);
  /** Queries and mutations being answered; subscriptions have no end to wait for. */
  const underWay = new Set<Promise<unknown>>();

  const server = useServer(
    {
      connectionInitWaitTimeout: INIT_TIMEOUT,
      async onConnect({ connectionParams, extra }) {
        const { socket } = extra;
        const closeWith = (reason: string): void => socket.close(FORBIDDEN, reason);
        try {
          const sender = senderOf(extra.request);
          const read = () => keys.authenticate(credentialIn(connectionParams?.['authorization']));
          const caller = await admit(rateLimits, sender, read, () => {});
          checkOrigin(caller, extra.request);
          const forget = streams.open(caller, (why) =>
            closeWith(why === 'revoked' ? 'The key was revoked' : 'The token has expired'),
          );
          held.set(socket, { caller, sender, forget });
          return true;
        } catch (error) {
          const masked = maskError(error, 'websocket', observe);
          const { code } = masked.extensions;
          if (code === 'UNAUTHENTICATED' || code === 'FORBIDDEN') closeWith(masked.message.slice(0, 120));
          else socket.close(1013, 'Try again later');
          return undefined;
        }
      },
      onClose: ({ extra }) => held.get(extra.socket)?.forget(),
      async onSubscribe({ extra }, id, params) {
        const { query, operationName, variables } = params;
        const request = randomUUID();
        const { caller, sender } = held.get(extra.socket)!;
        const door: Door = {
          caller,
          sender,
          requestId: request,
          charge: async (points) => void (await rateLimits.chargeKey(caller, points)),
        };
        // The engine keeps its notes on an operation by `params`.
        const enveloped = graphql.getEnveloped({ ...door, params } as Door);
        try {
          const document = enveloped.parse(query) as ExecutionArgs['document'];
          const errors = enveloped.validate(enveloped.schema, document) as readonly GraphQLError[];
          if (errors.length > 0) return errors;
          const args = {
            schema: enveloped.schema,
            document,
            operationName,
            variableValues: variables,
            contextValue: await enveloped.contextFactory(),
          };
          const mask = (result: ExecutionResult): ExecutionResult =>
            result.errors
              ? { ...result, errors: result.errors.map((error) => maskError(error, request, observe)) }
              : result;
          const subscribe = () => shared.subscribe(args, { socket: extra.socket, id, mask });
          const run = (how: (args: ExecutionArgs) => unknown) => async (given: ExecutionArgs) => {
            try {
              return await how(given);
            } catch (error) {
              return { errors: [maskError(error, request, observe)] };
            }
          };
          return { ...args, rootValue: { execute: run(enveloped.execute), subscribe: run(subscribe) } };
        } catch (error) {
          return [maskError(error, request, observe)];
        }
      },
      execute(args) {
        const answer = (args.rootValue as { execute: (args: ExecutionArgs) => Promise<never> }).execute(args);
        underWay.add(answer);
        return answer.finally(() => underWay.delete(answer)) as never;
      },
      subscribe: (args) => (args.rootValue as { subscribe: (args: ExecutionArgs) => never }).subscribe(args),
    },
    sockets,
    KEEP_ALIVE,
  );

  return {
    async close() {
      await Promise.race([
        Promise.allSettled(underWay),
        new Promise((resolve) => setTimeout(resolve, PATIENCE).unref()),
      ]);
      // The answers are handed to their sockets a turn after the promises above.
      await new Promise((resolve) => setImmediate(resolve));
      await server.dispose();
    },
  };
}
