import {
  createServer as createHttpServer,
  type IncomingMessage,
  type Server as HttpServer,
  type ServerResponse,
} from 'node:http';
import { Server as NetServer, type AddressInfo, type Socket } from 'node:net';
import { isUtf8 } from 'node:buffer';
import { Readable } from 'node:stream';
import { setImmediate as nextTurn } from 'node:timers/promises';
import type { GraphQLError, GraphQLSchema } from 'graphql';
import { AppError } from '../errors.js';
import type { Observer } from '../observation.js';
import type { Services } from '../schema/context.js';
import type { Budget, RateLimits } from '../services/access/rate-limits.js';
import { createReaders, type Readers } from '../services/access/reading-turns.js';
import { credentialOf } from './http/authenticate.js';
import { createCollector } from './collector/collector.js';
import { createDashboard } from './http/dashboard.js';
import { createDownloads } from './http/downloads.js';
import { createGraphiQL } from './http/graphiql.js';
import { CORS, CORS_HEADERS, createGraphQL } from './graphql/graphql.js';
import { checkJsonSize } from './http/check-json-size.js';
import { headersOf, maskError, withoutHttp } from './graphql/mask-error.js';
import { Deflater } from './graphql/deflate.js';
import { LargeSends } from './graphql/large-sends.js';
import { createOpenStreams } from './graphql/open-streams.js';
import { createSharedSubscriptions } from './graphql/shared-subscriptions.js';
import { createSingleConnections } from './graphql/single-connection.js';
import { checkMethod, READING } from './http/methods.js';
import { MoreDoors } from './http/more-doors.js';
import { checkOrigin } from './http/origin.js';
import type { Places } from './http/places.js';
import { answerPost, isPlainPost } from './graphql/post-operation.js';
import { bodyTooLarge, MOST_BYTES, receiveBody } from './http/receive-body.js';
import { requestIdOf } from './http/request-id.js';
import { admit, tellBudget } from './http/admission.js';
import { createSenderOf } from './http/sender.js';
import { answerFile } from './http/static-file.js';
import { cutStuckSockets } from './http/stuck-sockets.js';
import { createRushedSockets } from './http/rushed-sockets.js';
import { createUnfinished } from './http/unfinished.js';
import { asksForWebSocket } from './http/without-upgrade.js';
import { createWebSockets } from './websocket/websocket.js';

const GRAPHQL = '/graphql';
/** The base for parsing relative request targets as URLs. */
const BASE = 'http://localhost';
/** How long, in milliseconds, a closing server waits in all for requests under way. */
const PATIENCE = 5_000;
/**
 * How long, in milliseconds, a closing server keeps a connection without a request, because its next request may be on its
 * way.
 */
const GOODBYE = 1_000;
/** How long, in milliseconds, the server still receives and ignores the rest of a refused body. */
const LINGER = 1_000;
/**
 * How many connections may wait for the server to accept them. The kernel takes at most net.core.somaxconn (4,096 on Linux).
 * Node's default is 511: when thousands of pages come back at once, the kernel drops what is above that, and a client tries
 * again only after 1, 3 or 7 seconds. With more doors (MoreDoors) they are accepted soon.
 */
const BACKLOG = 4_096;

export interface Server {
  /** Resolves with the URL at which the server listens. Rejects if the port is taken. */
  listen(): Promise<{ url: string }>;
  /**
   * Accepts no new connection. Answers the requests under way, and those that open connections send within a second, with
   * Connection: close. Closes WebSockets with 1001. Calls `endStreams`, which ends the subscriptions over HTTP, after all
   * requests except streams have been answered.
   */
  close(endStreams: () => Promise<void>): Promise<void>;
}

/**
 * Answers an error in the shape of a GraphQL error, on every path except the collector's, so that clients need to read only
 * one shape.
 */
function answerError(
  response: ServerResponse,
  status: number,
  error: GraphQLError,
  headers: Record<string, string>,
): void {
  if (response.headersSent) return;
  const { message, extensions } = withoutHttp(error);
  response.writeHead(status, { 'Content-Type': 'application/json; charset=utf-8', ...headers });
  response.end(JSON.stringify({ errors: [{ message, extensions }] }));
}

function answerJson(response: ServerResponse, status: number, body: unknown): void {
  response.writeHead(status, { 'Content-Type': 'application/json; charset=utf-8', 'Cache-Control': 'no-store' });
  response.end(JSON.stringify(body));
}

/**
 * `begin` gets a callback. The promise resolves at the call of the callback, at once if `begin` returns true, and after
 * `milliseconds` at the latest.
 */
async function within(milliseconds: number, begin: (resolve: () => void) => boolean): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  await new Promise<void>((resolve) => {
    timer = setTimeout(resolve, milliseconds);
    if (begin(resolve)) resolve();
  });
  clearTimeout(timer);
}

/** The URL of nearly every request, parsed once. */
const GRAPHQL_URL = new URL(GRAPHQL, BASE);

const HEALTH: ReadonlySet<string> = new Set(['/health/live', '/health/ready']);

const isGraphQL = (pathname: string): boolean => pathname === GRAPHQL || pathname === `${GRAPHQL}/`;

function urlOf(target: string): URL {
  if (!URL.canParse(target, BASE))
    throw new AppError('BAD_USER_INPUT', 'The path of the request is not a valid URL path.');
  return new URL(target, BASE);
}

/** JSON is UTF-8 (RFC 8259). */
const isJson = (contentType: string | undefined): boolean =>
  /^application\/(graphql\+)?json\s*(;|$)/i.test(contentType ?? '') &&
  !/;\s*charset\s*=\s*(?!"?utf-?8"?\s*(;|$))/i.test(contentType ?? '');

function isJsonObject(text: string): boolean {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === 'object' && !Array.isArray(value);
  } catch {
    return false;
  }
}

export function createServer(deps: {
  schema: GraphQLSchema;
  services: Services;
  rateLimits: RateLimits;
  /** Limits the sockets, streams and subscriptions that are open at a time. */
  places: Places;
  /** The turns of reading statements. Left out: of this server's callers alone. */
  readers?: Readers;
  observe: Observer;
  host: string;
  port: number;
  /** The proxies whose X-Forwarded-For counts (see createSenderOf). */
  trustedProxies: readonly string[];
  /** Whether a browser that opens /graphql gets GraphiQL. */
  graphiql: boolean;
  /** Names what the server lacks to work at this moment. Empty: the server is ready. */
  missing: () => Promise<readonly string[]>;
  /** The answer of /metrics, in the text format of Prometheus. */
  expose: () => Promise<{ contentType: string; text: string }>;
  /** How long, in milliseconds, a client may read none of the data that waits for it. */
  stuckAfter?: number;
  /** The interval of WebSocket pings, in milliseconds. */
  pingEvery?: number;
  /** The interval, in milliseconds, at which a silent event stream gets a comment. */
  commentEvery?: number;
  /** How long an event stream stays reserved until it is opened. Milliseconds. */
  reservedFor?: number;
}): Server {
  const { schema, services, rateLimits, places, observe, host, port, trustedProxies, missing, expose } = deps;
  const streams = createOpenStreams(
    (listener) => services.keys.onRevoked(listener),
    () => services.clock.now(),
  );
  const senderOf = createSenderOf(trustedProxies);
  const unfinished = createUnfinished();
  const collector = createCollector({ services, senderOf, rateLimits, unfinished, observe });
  const dashboard = createDashboard();
  const downloads = createDownloads(schema);
  const graphiql = deps.graphiql ? createGraphiQL(schema) : null;
  const largeSends = new LargeSends();
  const deflater = new Deflater(observe);
  const graphql = createGraphQL({
    schema,
    services,
    streams,
    places,
    largeSends,
    deflater,
    readers: deps.readers ?? createReaders(services.database),
    observe,
    commentEvery: deps.commentEvery,
  });
  const shared = createSharedSubscriptions({ share: graphql.share, largeSends, deflater, observe });
  const singleConnections = createSingleConnections({
    graphql,
    shared,
    streams,
    places,
    observe,
    commentEvery: deps.commentEvery,
    reservedFor: deps.reservedFor,
  });
  /** The number of requests under way whose answer is one document, and not a stream. */
  let underWay = 0;
  let idle: (() => void) | null = null;
  let draining = false;

  /**
   * Refuses requests that GraphQL over HTTP would accept: invalid JSON in the query, a POST that is not JSON (a browser may
   * send it without a preflight) and a body that is too large. Runs before the body is read.
   */
  function checkRequest(request: IncomingMessage, { search, searchParams }: URL): void {
    for (const name of search === '' ? [] : ['variables', 'extensions']) {
      if (!isJsonObject(searchParams.get(name) || '{}'))
        throw new AppError('BAD_USER_INPUT', `${name} must be a JSON object.`, { field: name });
    }
    if (request.method === 'POST' && !isJson(request.headers['content-type'])) {
      throw new AppError('UNSUPPORTED_MEDIA_TYPE', 'Content-Type must be application/json, in UTF-8.');
    }
    if ((request.headers['content-encoding'] ?? 'identity') !== 'identity') {
      throw new AppError('UNSUPPORTED_MEDIA_TYPE', 'The body must come as it is: without Content-Encoding.');
    }
    if (Number(request.headers['content-length'] ?? 0) > MOST_BYTES) throw bodyTooLarge();
  }

  async function answerGraphQL(
    request: IncomingMessage,
    response: ServerResponse,
    url: URL,
    id: string,
    budget: Budget | null,
  ): Promise<void> {
    if (graphiql && request.method === 'GET' && request.headers.accept?.includes('text/html')) {
      answerFile(request, response, await graphiql());
      return;
    }
    // A preflight carries no credential, and its answer contains no data.
    if (request.method === 'OPTIONS') {
      await graphql.http(request, response, {
        caller: { kind: 'operator' },
        sender: senderOf(request),
        requestId: id,
        charge: async () => {},
      });
      return;
    }
    checkMethod(request, CORS.methods);
    checkRequest(request, url);
    const sender = senderOf(request);
    const tell = tellBudget(response);
    const authenticate = () => services.keys.authenticate(credentialOf(request, url));
    const caller = await admit(rateLimits, sender, budget, authenticate, tell);
    checkOrigin(caller, request);
    const charge = async (points: number): Promise<void> => tell(await rateLimits.chargeKey(caller, points));
    const door = { caller, sender, requestId: id, charge };
    const isSingle = singleConnections.owns(request, url);
    if (request.method === 'POST') {
      const body = await receiveBody(request, unfinished, bodyTooLarge);
      if (!isUtf8(body)) throw new AppError('BAD_USER_INPUT', 'The body is not UTF-8.');
      const text = body.toString('utf8');
      checkJsonSize(text);
      if (isSingle) {
        await singleConnections.answer(request, response, url, door, text);
        return;
      }
      if (isPlainPost(request) && (await answerPost(graphql, request, response, text, door, observe))) return;
      // Yoga gets the received body as a stream, because it would count the characters of a text instead of its bytes.
      Object.assign(request, { body: Readable.from([body]) });
    }
    if (isSingle) {
      await singleConnections.answer(request, response, url, door, '');
      return;
    }
    await graphql.http(request, response, door);
  }

  async function answerMetrics(
    request: IncomingMessage,
    response: ServerResponse,
    url: URL,
    budget: Budget | null,
  ): Promise<void> {
    checkMethod(request, READING);
    const read = () => services.keys.authenticate(credentialOf(request, url));
    const caller = await admit(rateLimits, senderOf(request), budget, read, () => {});
    if (caller.kind !== 'operator') throw new AppError('FORBIDDEN', '/metrics needs the operator key.');
    const { contentType, text } = await expose();
    response.writeHead(200, { 'Content-Type': contentType, 'Cache-Control': 'no-store' });
    response.end(text);
  }

  async function answerHealth(response: ServerResponse, pathname: string): Promise<void> {
    if (pathname === '/health/live') {
      answerJson(response, 200, { status: 'live' });
      return;
    }
    const lacking = draining ? ['shutting down'] : await missing();
    answerJson(
      response,
      lacking.length > 0 ? 503 : 200,
      lacking.length > 0 ? { status: 'not ready', missing: lacking } : { status: 'ready' },
    );
  }

  async function answer(request: IncomingMessage, response: ServerResponse, id: string): Promise<void> {
    // This comes before the path is parsed as a URL: the paths of some clients begin with two slashes.
    if (collector.owns((request.url ?? '/').split('?')[0]!)) {
      await collector.answer(request, response, id);
      return;
    }
    const target = (request.url ?? '/').replace(/^\/{2,}/, '/');
    const url = target === GRAPHQL ? GRAPHQL_URL : urlOf(target);
    const graphqlAsked = isGraphQL(url.pathname);
    // A proxy may send a whole URL. The code below needs only the path and the query.
    request.url = (graphqlAsked ? GRAPHQL : url.pathname) + url.search;
    const charged = rateLimits.chargeAddress(senderOf(request).ipAddress, 1);
    if (HEALTH.has(url.pathname)) {
      // Health is never refused: the client may share the address of a load balancer with clients that have used up its limit.
      charged.catch(() => {});
      await answerHealth(response, url.pathname);
      return;
    }
    const budget = await charged;
    if (graphqlAsked) {
      await answerGraphQL(request, response, url, id, budget);
      return;
    }
    if (url.pathname === '/metrics') {
      await answerMetrics(request, response, url, budget);
      return;
    }
    if (downloads.answer(request, response, url.pathname)) return;
    if (dashboard.answer(request, response, url.pathname)) return;
    throw new AppError('NOT_FOUND', `There is no page or endpoint at ${url.pathname}. GraphQL is at ${GRAPHQL}.`);
  }

  const isRushed = createRushedSockets();

  function onRequest(request: IncomingMessage, response: ServerResponse): void {
    // Node passes on the requests that arrived together with the one that destroyed the socket.
    if (request.socket.destroyed) return;
    if (isRushed(request.socket)) {
      request.socket.destroy();
      return;
    }
    const id = requestIdOf(request);
    const start = performance.now();
    const { socket } = request;
    const isStream = request.headers.accept?.includes('text/event-stream') ?? false;
    response.setHeader('X-Request-Id', id);
    // The server may refuse a body of unknown length half-way, and must not read its rest as the next request.
    if (draining || request.headers['transfer-encoding']) response.setHeader('Connection', 'close');
    if (!isStream) underWay += 1;
    response.on('finish', () => {
      if (request.complete) return;
      // The server answered before it read the body. The client gets a short time to finish sending, so that it reads the answer.
      request.resume();
      setTimeout(() => socket.destroy(), LINGER).unref();
    });
    response.on('close', () => {
      if (!isStream) underWay -= 1;
      if (underWay === 0) idle?.();
      observe({
        kind: 'request.finished',
        request: id,
        door: 'http',
        outcome: String(response.statusCode),
        milliseconds: performance.now() - start,
      });
    });
    answer(request, response, id).catch((error: unknown) => {
      const masked = maskError(error, id, observe);
      const status = error instanceof AppError ? error.status : 500;
      const headers = {
        ...CORS_HEADERS,
        ...(status === 401 ? { 'WWW-Authenticate': 'Bearer' } : {}),
        ...headersOf(masked),
        // The server does not read the rest of the body.
        ...(request.complete ? {} : { Connection: 'close' }),
      };
      answerError(response, status, masked, headers);
    });
  }

  const http: HttpServer = createHttpServer(
    { requestTimeout: 60_000, headersTimeout: 20_000, keepAliveTimeout: 65_000, maxHeaderSize: 16_384 },
    onRequest,
  );
  const stuckSockets = cutStuckSockets(http, deps.stuckAfter);
  /** The open HTTP connections, with or without a request. WebSockets are not among them. */
  const connections = new Set<Socket>();
  let lastGone: (() => void) | null = null;
  function leave(socket: Socket): void {
    connections.delete(socket);
    if (connections.size === 0) lastGone?.();
  }
  let accepted = 0;
  const doors = new MoreDoors(http, BACKLOG, (socket) => http.emit('connection', socket));
  http.on('connection', (socket: Socket) => {
    if (connections.has(socket)) return;
    accepted += 1;
    shared.connectionCame();
    doors.connectionCame(performance.now());
    connections.add(socket);
    socket.once('close', () => leave(socket));
  });
  http.on('upgrade', (request, socket) => {
    if (asksForWebSocket(request)) leave(socket as Socket);
  });

  const webSockets = createWebSockets({
    http,
    owns: (target) => isGraphQL(target.split('?')[0]!),
    graphql,
    shared,
    keys: services.keys,
    senderOf,
    rateLimits,
    places,
    unfinished,
    streams,
    now: () => services.clock.now(),
    observe,
    pingEvery: deps.pingEvery,
  });

  return {
    listen: () =>
      new Promise((resolve, reject) => {
        http.once('error', reject);
        http.listen(port, host, BACKLOG, () => {
          http.off('error', reject);
          http.on('error', (error) => observe({ kind: 'task.failed', task: 'http', error }));
          const { port: real } = http.address() as AddressInfo;
          resolve({ url: `http://${host.includes(':') ? `[${host}]` : host}:${real}` });
        });
      }),
    async close(endStreams) {
      draining = true;
      // Connections that are already made wait to be accepted, a few in each turn. A close would reset them.
      const acceptUntil = performance.now() + GOODBYE;
      for (let before = -1; before !== accepted && performance.now() < acceptUntil;) {
        before = accepted;
        // Between two of these calls, the event loop looks for connections.
        await nextTurn();
        await nextTurn();
      }
      const doorsClosed = doors.close();
      // The close of the HTTP server would cut connections on which a request may be on its way.
      const closed = new Promise<void>((resolve) => NetServer.prototype.close.call(http, () => resolve()));
      const goodbyes = within(GOODBYE, (resolve) => {
        lastGone = resolve;
        return connections.size === 0;
      });
      const end = performance.now() + PATIENCE;
      const answered = (): Promise<void> =>
        within(Math.max(end - performance.now(), 0), (resolve) => {
          idle = resolve;
          return underWay === 0;
        });
      await answered();
      await webSockets.close();
      await endStreams();
      singleConnections.close();
      await goodbyes;
      await answered();
      // The ends of streams have been written by now. After 500 ms the server cuts connections whose clients do not read.
      setTimeout(() => http.closeAllConnections(), 500).unref();
      // This also stops the timer for slow requests, which the close of the net server does not do.
      http.close();
      await Promise.all([closed, doorsClosed]);
      stuckSockets.close();
      streams.close();
      await graphql.http.dispose();
    },
  };
}
