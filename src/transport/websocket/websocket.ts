import type { IncomingMessage, Server } from 'node:http';
import { GraphQLError, type ExecutionArgs } from 'graphql';
import { CloseCode, handleProtocols, makeServer } from 'graphql-ws';
import type { Extra } from 'graphql-ws/use/ws';
import { WebSocketServer, type WebSocket } from 'ws';
import { projectNameOf, type Caller } from '../../domain/access.js';
import type { Sender } from '../../domain/sender.js';
import { AppError } from '../../errors.js';
import type { Observer } from '../../observation.js';
import type { Keys } from '../../services/access/keys.js';
import type { RateLimits } from '../../services/access/rate-limits.js';
import { connectionLine } from '../graphql/connection-line.js';
import { admit } from '../http/admission.js';
import { credentialInParams } from '../http/authenticate.js';
import type { GraphQLEngine } from '../graphql/graphql.js';
import { checkJsonSize } from '../http/check-json-size.js';
import { MOST_BYTES } from '../http/receive-body.js';
import { headersOf, maskError, withoutHttp } from '../graphql/mask-error.js';
import { checkOrigin } from '../http/origin.js';
import { answerWithoutUpgrade, asksForWebSocket } from '../http/without-upgrade.js';
import type { OpenStreams } from '../graphql/open-streams.js';
import type { Places } from '../http/places.js';
import type { SharedSubscriptions } from '../graphql/shared-subscriptions.js';
import type { SenderOf } from '../http/sender.js';
import { createPrepare, type Held } from './operations.js';
import { toldErrors } from './refusal.js';
import { closeReason } from './close-reason.js';
import { DEFLATE, inflateWithin, offerToMeet } from './compression.js';
import { ControlRate } from './control-rate.js';
import { beforeFault, bytesBehind, ignoreRest, tidyPieces } from './pieces.js';
import { SocketPace } from './socket-pace.js';
import { watchPulse } from './socket-pulse.js';
import { SocketRights, validityOf } from './socket-rights.js';
import type { Unfinished } from '../http/unfinished.js';
import { ZlibTurns } from '../http/zlib-turns.js';

/**
 * The close codes of a socket whose caller may not use it. graphql-ws clients take 4401 as final. After 4403 they connect again
 * and call `connectionParams` again. So a client whose token has expired comes back with a new one. No other code does that.
 */
const CLOSE = { final: CloseCode.Unauthorized, expired: CloseCode.Forbidden } as const;
/** How long a client may take to send connection_init. After that graphql-ws closes the socket. Milliseconds. */
const INIT_TIMEOUT = 5_000;
/** How long a closing server waits for operations under way. Milliseconds. */
const PATIENCE = 3_000;
/** How long a client may take to answer a close: FAREWELL when the server closes, CLOSE_TIMEOUT otherwise. Milliseconds. */
const FAREWELL = 1_000;
const CLOSE_TIMEOUT = 2_000;
/** The most bytes that a socket may send before connection_ack: connection_init with a credential, and a ping. */
const MOST_BEFORE = 4_096;
const TOO_MUCH_BEFORE = `A client sends at most ${MOST_BEFORE} bytes before connection_ack`;
/**
 * The most bytes that the server reads of a socket after its close frame, and throws away. Then it reads no more: to cut the connection
 * could lose the frame.
 */
const MOST_AFTER = 1024 * 1024;
/** Bytes that the headers of frames add: at most 14 for each frame, 6 for a ping or pong. */
const FRAMES = 64;
const CONTROL_HEADER = 6;
/**
 * The most frames of a message. Some clients make a frame of every 4,096 bytes, or if they compress, of every 240 bytes. More close
 * the socket with 1008. What the frames cost in memory: pieces.ts.
 */
const MOST_FRAMES = 16_384;
const TOO_LARGE = { code: 1009, reason: `A message has at most ${MOST_BYTES} bytes` };
/** Closes for what is beyond a limit, by the code of the error. The ws package would give no reason. */
const FAULTS = new Map([
  ['WS_ERR_TOO_MANY_BUFFERED_PARTS', { code: 1008, reason: `A message has at most ${MOST_FRAMES} frames` }],
  ['WS_ERR_UNSUPPORTED_MESSAGE_LENGTH', TOO_LARGE],
  ['WS_ERR_UNSUPPORTED_DATA_PAYLOAD_LENGTH', TOO_LARGE],
]);
/** Options of the ws package. Its types do not have all of them. */
const LIMITS = { maxPayload: MOST_BYTES, maxFragments: MOST_FRAMES, closeTimeout: CLOSE_TIMEOUT };
/** The most characters of a subscription's id. Clients send UUIDs or numbers. */
const LONGEST_ID = 128;

const PING = JSON.stringify({ type: 'ping' });

/** Whether the server has ended the connection, or has begun to close it. */
const isEnding = (socket: WebSocket, { socket: connection }: IncomingMessage): boolean =>
  connection.destroyed || socket.readyState !== socket.OPEN;

export interface WebSockets {
  /** Answers the operations under way, then closes every socket with 1001 (going away). Clients then connect again. */
  close(): Promise<void>;
}

/**
 * Serves WebSockets (graphql-transport-ws) on an HTTP server, at the targets for which `owns` is true. connection_init
 * authenticates.
 */
export function createWebSockets(deps: {
  http: Server;
  owns: (target: string) => boolean;
  graphql: GraphQLEngine;
  shared: SharedSubscriptions;
  keys: Keys;
  senderOf: SenderOf;
  rateLimits: RateLimits;
  places: Places;
  unfinished: Unfinished;
  streams: OpenStreams;
  now: () => Date;
  observe: Observer;
  /** The time between two pings of a client. Milliseconds. */
  pingEvery?: number | undefined;
}): WebSockets {
  const {
    http,
    owns,
    graphql,
    shared,
    keys,
    senderOf,
    rateLimits,
    places,
    unfinished,
    streams,
    now,
    observe,
    pingEvery,
  } = deps;
  const sockets = new WebSocketServer({
    noServer: true,
    ...LIMITS,
    perMessageDeflate: DEFLATE,
    handleProtocols: (protocols) => handleProtocols(protocols),
    verifyClient: ({ req }, letIn) => {
      takePlace(req).then(
        () => letIn(true),
        (error: unknown) => {
          const masked = maskError(error, 'websocket', observe);
          letIn(false, error instanceof AppError ? error.status : 500, masked.message, headersOf(masked));
        },
      );
    },
  });
  sockets.shouldHandle = ({ url }) => owns(url ?? '/');

  /** Charges the address for the request, and takes a place of the address until the connection closes. */
  async function takePlace(request: IncomingMessage): Promise<void> {
    const { socket } = request;
    const { ipAddress } = senderOf(request);
    await rateLimits.chargeAddress(ipAddress, 1);
    if (!socket.destroyed) socket.once('close', places.ofAddress(ipAddress));
  }

  http.on('upgrade', (request, socket, head) => {
    if (!asksForWebSocket(request)) {
      answerWithoutUpgrade(http, request, socket, head);
      return;
    }
    const { headers } = request;
    headers['sec-websocket-extensions'] = offerToMeet(headers['sec-websocket-extensions']);
    sockets.handleUpgrade(request, socket, head, (opened) => sockets.emit('connection', opened, request));
  });
  const held = new WeakMap<WebSocket, Held>();
  const inflating = new ZlibTurns();
  /** The queries and mutations under way. Subscriptions are not here, because they have no end to wait for. */
  const underWay = new Set<Promise<unknown>>();

  async function authenticate(credential: string | null, request: IncomingMessage): Promise<Caller> {
    const caller = await keys.authenticate(credential);
    checkOrigin(caller, request);
    return caller;
  }

  /**
   * Closes the socket if the error says that the caller may not use it. Returns whether. After another error the socket stays
   * open.
   */
  function turnAway(socket: WebSocket, { extensions, message }: GraphQLError): boolean {
    const { code, reason } = extensions;
    if (code !== 'UNAUTHENTICATED' && code !== 'FORBIDDEN') return false;
    socket.close(reason === 'EXPIRED' ? CLOSE.expired : CLOSE.final, closeReason(message));
    return true;
  }

  /**
   * Authenticates and charges a credential that is to replace the credential of a socket. Throws the error if it is refused.
   */
  async function authenticateAnew(credential: string, sender: Sender, opening: IncomingMessage): Promise<Caller> {
    await rateLimits.chargeAddress(sender.ipAddress, 1);
    const caller = await admit(
      rateLimits,
      sender,
      null,
      () => authenticate(credential, opening),
      () => {},
    );
    await rateLimits.chargeKey(caller, 1);
    return caller;
  }

  /** Takes a new credential from a ping. Returns the payload of the pong: until when the credential is valid, or the error. */
  async function renew({ rights }: Held, credential: string): Promise<object> {
    try {
      return validityOf(await rights.renew(credential), now());
    } catch (error) {
      const { message, extensions } = withoutHttp(maskError(error, 'websocket', observe));
      return { error: { message, extensions } };
    }
  }

  const prepare = createPrepare({ graphql, shared, rateLimits, authenticate, turnAway, observe });

  /** The bytes of the message that graphql-ws is handling now. Several messages can come in one turn of the event loop. */
  let arriving = 0;

  /** Whether graphql-ws has called a function of ours for the message that it is handling now. It calls none for `complete`. */
  let isTold = false;

  const controls = new WeakMap<WebSocket, ControlRate>();

  /** Ends the socket if the message that has arrived, which costs nothing, is too large, or one too many. */
  function checkControl({ socket, request }: Extra, take: (control: ControlRate) => boolean): void {
    if (arriving > MOST_BEFORE)
      socket.close(CloseCode.BadRequest, `A ping, pong or complete has at most ${MOST_BEFORE} bytes`);
    else if (!take(controls.get(socket)!)) request.socket.destroy();
  }

  /** graphql-ws calls this while it handles the message; it calls the onPing of a socket later. */
  function onControl({ extra }: { readonly extra: Extra }): void {
    isTold = true;
    checkControl(extra, (control) => control.take());
  }

  const protocol = makeServer<Record<string, unknown>, Extra>({
    connectionInitWaitTimeout: INIT_TIMEOUT,
    async onConnect({ connectionParams, extra }) {
      const { socket } = extra;
      isTold = true;
      try {
        const credential = credentialInParams(connectionParams);
        const sender = senderOf(extra.request);
        // The request that opened the socket was charged to its address already.
        const caller = await admit(
          rateLimits,
          sender,
          null,
          () => authenticate(credential, extra.request),
          () => {},
        );
        const rights = new SocketRights(
          {
            authenticate: (renewed) => authenticateAnew(renewed, sender, extra.request),
            takePlace: (holder) => places.ofKey(holder),
            endWith: (holder) =>
              streams.open(holder, (why) =>
                why === 'revoked'
                  ? socket.close(CLOSE.final, 'The key was revoked')
                  : socket.close(CLOSE.expired, 'The token has expired'),
              ),
            turnAway: (why) => socket.close(CLOSE.expired, why),
          },
          credential,
          caller,
        );
        const ends = new Set<() => void>();
        const forget = (): void => {
          rights.release();
          for (const end of ends) end();
        };
        const pace = new SocketPace(socket, extra.request.socket);
        const open = places.ofConnection();
        const line = connectionLine(extra.request.socket);
        held.set(socket, { rights, sender, pace, line, open, ends, forget, refused: new Map() });
        // If the socket has closed meanwhile, no close event will free its places.
        if (socket.readyState === socket.CLOSED) forget();
        return validityOf(caller, now());
      } catch (error) {
        if (!turnAway(socket, maskError(error, 'websocket', observe))) socket.close(1013, 'Try again later');
        // False: graphql-ws ignores further messages of the socket.
        return false;
      }
    },
    onComplete(context, id) {
      const { socket } = context.extra;
      const { refused } = held.get(socket)!;
      const why = refused.get(id);
      if (!why) return;
      refused.delete(id);
      // The client first has to get the end of this subscription. If the socket has other subscriptions, it stays open for
      // them.
      setImmediate(() => {
        if (Object.keys(context.subscriptions).every((other) => other === id)) turnAway(socket, why);
      });
    },
    onError: (_context, _id, _payload, errors) => [...toldErrors(errors)],
    onClose: ({ extra }) => held.get(extra.socket)?.forget(),
    onPing: onControl,
    onPong: onControl,
    onSubscribe({ extra }, id, params) {
      const { socket } = extra;
      isTold = true;
      controls.get(socket)!.allowEnd();
      if (id.length > LONGEST_ID) {
        const message = `The id of a subscription has at most ${LONGEST_ID} characters`;
        socket.close(CloseCode.BadRequest, message);
        return [new GraphQLError(message)];
      }
      // graphql-ws calls this function while it handles the message, so `arriving` is the size of this message.
      const bytes = arriving;
      const own = held.get(socket)!;
      return own.pace.during(prepare(own, extra, id, params, bytes), bytes);
    },
    execute(args) {
      const answer = (args.rootValue as { execute: (args: ExecutionArgs) => Promise<never> }).execute(args);
      underWay.add(answer);
      return answer.finally(() => underWay.delete(answer)) as never;
    },
    subscribe: (args) => (args.rootValue as { subscribe: (args: ExecutionArgs) => never }).subscribe(args),
  });

  sockets.on('connection', (socket, request) => {
    const { socket: connection } = request;
    const part = unfinished.begin(() => socket.terminate());
    /** Ends the connection after the close frame that was written. Ignores what the client still sends. */
    const leave = (): void => {
      ignoreRest(socket);
      part.done();
      let after = 0;
      connection.removeAllListeners('data').on('data', (chunk: Buffer) => {
        after += chunk.length;
        if (after > MOST_AFTER) connection.pause();
      });
      connection.resume();
      connection.end();
    };
    beforeFault(socket, (error) => {
      const fault = FAULTS.get(error ?? '');
      if (fault) socket.close(fault.code, fault.reason);
    });
    // Before it tells a frame that it does not take, the ws package has written a close with the code.
    socket.on('error', leave);
    // Some clients fail if another message comes before connection_ack.
    const sayPing = (): void => void (held.has(socket) && socket.send(PING));
    const pulse = watchPulse(socket, connection, sayPing, pingEvery);
    inflateWithin(socket, {
      turns: inflating,
      project: () => (held.has(socket) ? projectNameOf(held.get(socket)!.rights.caller) : ''),
      most: () => (held.has(socket) ? MOST_BYTES : MOST_BEFORE),
      ready(run) {
        const own = held.get(socket);
        if (own) own.pace.whenReading(run);
        else run();
      },
    });
    let before = 0;
    // This listener must run before the listener of ws, which takes whole messages out of the bytes that have come.
    connection.prependListener('data', (chunk: Buffer) => {
      const own = held.get(socket);
      // Answers to pings wait in the socket too, so each chunk checks the limits.
      own?.pace.look();
      if (!own) before += chunk.length;
      if (own || before <= MOST_BEFORE + FRAMES) part.add(chunk.length);
      else {
        socket.close(CloseCode.BadRequest, TOO_MUCH_BEFORE);
        leave();
      }
    });
    // This one runs after it.
    connection.on('data', () => tidyPieces(socket));
    const onControlFrame = (data: Buffer): void => {
      tidyPieces(socket);
      part.take(CONTROL_HEADER + data.length);
    };
    socket.on('ping', onControlFrame).on('pong', onControlFrame);
    controls.set(socket, new ControlRate());
    const say = (text: string): Promise<void> =>
      new Promise((resolve) => {
        // If the socket fails meanwhile, its close event follows.
        if (socket.readyState === socket.OPEN) socket.send(text, () => resolve());
        else resolve();
      });
    const closed = protocol.opened(
      {
        protocol: socket.protocol,
        send: say,
        async onPing(payload) {
          if (isEnding(socket, request)) return;
          const own = held.get(socket);
          const credential = credentialInParams(payload);
          const answer =
            own && credential !== null ? await own.pace.during(renew(own, credential), credential.length) : payload;
          await say(JSON.stringify({ type: 'pong', ...(answer && { payload: answer }) }));
        },
        close: (code, reason = '') => socket.close(code, closeReason(reason)),
        onMessage: (take) =>
          socket.on('message', (data: Buffer) => {
            tidyPieces(socket);
            part.done();
            const behind = bytesBehind(socket);
            if (behind > 0) part.add(behind);
            // The client may have sent more before it noticed.
            if (isEnding(socket, request)) return;
            arriving = data.length;
            const text = data.toString();
            try {
              checkJsonSize(text);
            } catch (error) {
              socket.close(CloseCode.BadRequest, closeReason((error as Error).message));
              return;
            }
            isTold = false;
            const taken = take(text);
            if (!isTold) checkControl({ socket, request }, (control) => control.takeEnd());
            taken.catch((error: unknown) => {
              // The client sent a message that only servers send. That is no fault of the server, so it is not reported.
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
      part.done();
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
      // The answers reach their sockets one turn of the event loop after the promises above.
      await new Promise((resolve) => setImmediate(resolve));
      for (const socket of sockets.clients) socket.close(1001, 'Going away');
      // The server ends the sockets of clients that do not answer the close in time.
      const timer = setTimeout(() => {
        for (const socket of sockets.clients) socket.terminate();
      }, FAREWELL);
      await new Promise<void>((resolve) => sockets.close(() => resolve()));
      clearTimeout(timer);
    },
  };
}
