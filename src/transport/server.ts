import {
  createServer as createHttpServer,
  type IncomingMessage,
  type Server as HttpServer,
  type ServerResponse,
} from 'node:http';
import { Server as NetServer, type AddressInfo, type Socket } from 'node:net';
import type { GraphQLSchema } from 'graphql';
import { AppError } from '../errors.js';
import type { Observer } from '../observation.js';
import type { Services } from '../schema/context.js';
import type { RateLimits } from '../services/rate-limits.js';
import { credentialOf } from './authenticate.js';
import { createCollector } from './collector/collector.js';
import { createDashboard } from './dashboard.js';
import { graphiqlPage } from './graphiql.js';
import { bodyTooLarge, createGraphQL, MOST_BYTES } from './graphql.js';
import { maskError } from './mask-error.js';
import { createOpenStreams } from './open-streams.js';
import { checkOrigin } from './origin.js';
import { answerPost, isPlainPost } from './post-operation.js';
import { requestIdOf } from './request-id.js';
import { admit, tellBudget } from './admission.js';
import { createSenderOf } from './sender.js';
import { cutStuckSockets } from './stuck-sockets.js';
import { createWebSockets } from './websocket.js';

const GRAPHQL = '/graphql';
/** Paths are read as if they were of this server. */
const BASE = 'http://localhost';
/** How long requests under way are waited for when the server closes, all in all. Milliseconds. */
const PATIENCE = 5_000;
/** How long a connection without a request is kept when the server closes: its next request may be on its way. Milliseconds. */
const GOODBYE = 1_000;
/** How long the rest of a refused body is still swallowed. Milliseconds. */
const LINGER = 1_000;

export interface Server {
  /** Resolves with the address it listens on. Rejects where the port is taken. */
  listen(): Promise<{ url: string }>;
  /**
   * Takes no new connection, answers what is under way and what open connections send within a second, each with
   * Connection: close; WebSockets are closed with 1001. `endStreams` is called when everything but streams has been
   * answered: it ends the subscriptions over HTTP.
   */
  close(endStreams: () => Promise<void>): Promise<void>;
}

/** Problems as every path but GraphQL's own tells them: the same shape, so that a client reads one. */
function answerError(
  response: ServerResponse,
  status: number,
  code: string,
  message: string,
  headers: Record<string, string> = {},
): void {
  if (response.headersSent) return;
  response.writeHead(status, { 'Content-Type': 'application/json; charset=utf-8', ...headers });
  response.end(JSON.stringify({ errors: [{ message, extensions: { code } }] }));
}

function answerJson(response: ServerResponse, status: number, body: unknown): void {
  response.writeHead(status, { 'Content-Type': 'application/json; charset=utf-8', 'Cache-Control': 'no-store' });
  response.end(JSON.stringify(body));
}

/** Resolves when it is called back, at once where `begin` says so, and after `milliseconds` in any case. */
async function within(milliseconds: number, begin: (resolve: () => void) => boolean): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  await new Promise<void>((resolve) => {
    timer = setTimeout(resolve, milliseconds);
    if (begin(resolve)) resolve();
  });
  clearTimeout(timer);
}

/** What nearly every request asks for. */
const GRAPHQL_URL = new URL(GRAPHQL, BASE);

const isGraphQL = (pathname: string): boolean => pathname === GRAPHQL || pathname === `${GRAPHQL}/`;

function urlOf(target: string): URL {
  if (!URL.canParse(target, BASE)) throw new AppError('BAD_USER_INPUT', 'The path is not part of any URL.');
  return new URL(target, BASE);
}

const isJson = (contentType: string | undefined): boolean =>
  /^application\/(graphql\+)?json\s*(;|$)/i.test(contentType ?? '');

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
  observe: Observer;
  host: string;
  port: number;
  /** Whose X-Forwarded-For counts (see createSenderOf). */
  trustedProxies: readonly string[];
  /** What keeps the server from working just now; empty where nothing does. */
  missing: () => Promise<readonly string[]>;
  /** What /metrics answers, in the text format of Prometheus. */
  expose: () => Promise<{ contentType: string; text: string }>;
  /** How long a client may leave unread what waits for it. Milliseconds. */
  stuckAfter?: number;
  /** How often clients of WebSockets are asked whether they are there. Milliseconds. */
  pingEvery?: number;
  /** How often a stream of events that is silent is sent a comment. Milliseconds. */
  commentEvery?: number;
}): Server {
  const { schema, services, rateLimits, observe, host, port, trustedProxies, missing, expose } = deps;
  const streams = createOpenStreams(
    (listener) => services.keys.onRevoked(listener),
    () => services.clock.now(),
  );
  const senderOf = createSenderOf(trustedProxies);
  const collector = createCollector({ services, senderOf, rateLimits, observe });
  const dashboard = createDashboard();
  const graphql = createGraphQL({ schema, services, streams, observe, commentEvery: deps.commentEvery });
  /** Requests whose answer is one document, and whose client waits for it. */
  let underWay = 0;
  let idle: (() => void) | null = null;
  let draining = false;
  /** Rendered once: the page is large, and asks nothing of any other server. */
  let page: string | null = null;

  function answerGraphiQL(response: ServerResponse): void {
    page ??= graphiqlPage(schema);
    response.writeHead(200, { 'Content-Type': 'text/html; charset=utf-8' });
    response.end(page);
  }

  /** What GraphQL over HTTP would take and a browser may send unasked, or cannot read: refused before anything is read. */
  function checkRequest(request: IncomingMessage, { search, searchParams }: URL): void {
    for (const name of search === '' ? [] : ['variables', 'extensions']) {
      if (!isJsonObject(searchParams.get(name) || '{}'))
        throw new AppError('BAD_USER_INPUT', `${name} is a JSON object.`, { field: name });
    }
    if (request.method === 'POST' && !isJson(request.headers['content-type'])) {
      throw new AppError('UNSUPPORTED_MEDIA_TYPE', 'Send the operation as application/json.');
    }
    if (Number(request.headers['content-length'] ?? 0) > MOST_BYTES) throw bodyTooLarge();
  }

  async function answerGraphQL(
    request: IncomingMessage,
    response: ServerResponse,
    url: URL,
    id: string,
  ): Promise<void> {
    if (request.method === 'GET' && request.headers.accept?.includes('text/html')) {
      answerGraphiQL(response);
      return;
    }
    // A preflight carries no credential, and learns nothing.
    if (request.method === 'OPTIONS') {
      await graphql.http(request, response, {
        caller: { kind: 'operator' },
        sender: senderOf(request),
        requestId: id,
        charge: async () => {},
      });
      return;
    }
    checkRequest(request, url);
    const sender = senderOf(request);
    const tell = tellBudget(response);
    const caller = await admit(rateLimits, sender, () => services.keys.authenticate(credentialOf(request, url)), tell);
    checkOrigin(caller, request);
    const charge = async (points: number): Promise<void> => tell(await rateLimits.chargeKey(caller, points));
    const door = { caller, sender, requestId: id, charge };
    await (isPlainPost(request)
      ? answerPost(graphql, request, response, door, observe)
      : graphql.http(request, response, door));
  }

  async function answerMetrics(request: IncomingMessage, response: ServerResponse, url: URL): Promise<void> {
    const read = () => services.keys.authenticate(credentialOf(request, url));
    const caller = await admit(rateLimits, senderOf(request), read, () => {});
    if (caller.kind !== 'operator') throw new AppError('FORBIDDEN', 'The metrics need the operator key.');
    const { contentType, text } = await expose();
    response.writeHead(200, { 'Content-Type': contentType, 'Cache-Control': 'no-store' });
    response.end(text);
  }

  async function answer(request: IncomingMessage, response: ServerResponse, id: string): Promise<void> {
    // Before anything makes a URL of it: clients that concatenate begin the path with two slashes.
    if (collector.owns((request.url ?? '/').split('?')[0]!)) {
      await collector.answer(request, response, id);
      return;
    }
    const target = (request.url ?? '/').replace(/^\/{2,}/, '/');
    const url = target === GRAPHQL ? GRAPHQL_URL : urlOf(target);
    const graphqlAsked = isGraphQL(url.pathname);
    // A proxy may send the whole URL; further on, all that counts is what lies here.
    request.url = (graphqlAsked ? GRAPHQL : url.pathname) + url.search;
    if (graphqlAsked) {
      await answerGraphQL(request, response, url, id);
      return;
    }
    if (url.pathname === '/health/live') {
      answerJson(response, 200, { status: 'live' });
      return;
    }
    if (url.pathname === '/health/ready') {
      const lacking = draining ? ['shutting down'] : await missing();
      answerJson(
        response,
        lacking.length > 0 ? 503 : 200,
        lacking.length > 0 ? { status: 'not ready', missing: lacking } : { status: 'ready' },
      );
      return;
    }
    if (url.pathname === '/metrics') {
      await answerMetrics(request, response, url);
      return;
    }
    if (dashboard.answer(request, response, url.pathname)) return;
    throw new AppError('NOT_FOUND', `There is nothing at ${url.pathname}. GraphQL is at ${GRAPHQL}.`);
  }

  function onRequest(request: IncomingMessage, response: ServerResponse): void {
    const id = requestIdOf(request);
    const start = performance.now();
    const { socket } = request;
    const isStream = request.headers.accept?.includes('text/event-stream') ?? false;
    response.setHeader('X-Request-Id', id);
    // A body of unknown length may be refused half-way, and its rest must not be taken for the next request.
    if (draining || request.headers['transfer-encoding']) response.setHeader('Connection', 'close');
    if (!isStream) underWay += 1;
    response.on('finish', () => {
      if (request.complete) return;
      // Answered before the body was read: the client may finish sending, so that it reads why, but not for long.
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
      const { retryAfter } = masked.extensions as { retryAfter?: number };
      const headers = {
        'Access-Control-Allow-Origin': '*',
        ...(status === 401 ? { 'WWW-Authenticate': 'Bearer' } : {}),
        ...(retryAfter ? { 'Retry-After': String(retryAfter) } : {}),
        // What is left of the body is not read.
        ...(request.complete ? {} : { Connection: 'close' }),
      };
      answerError(response, status, String(masked.extensions['code']), masked.message, headers);
    });
  }

  const http: HttpServer = createHttpServer(
    { requestTimeout: 60_000, headersTimeout: 20_000, keepAliveTimeout: 65_000, maxHeaderSize: 16_384 },
    onRequest,
  );
  const stuckSockets = cutStuckSockets(http, deps.stuckAfter);
  /** Connections that speak HTTP, those without a request among them. */
  const connections = new Set<Socket>();
  let lastGone: (() => void) | null = null;
  function leave(socket: Socket): void {
    connections.delete(socket);
    if (connections.size === 0) lastGone?.();
  }
  http.on('connection', (socket: Socket) => {
    connections.add(socket);
    socket.once('close', () => leave(socket));
  });
  http.on('upgrade', (_request, socket) => leave(socket as Socket));

  const webSockets = createWebSockets({
    http,
    owns: (target) => isGraphQL(target.split('?')[0]!),
    graphql,
    keys: services.keys,
    senderOf,
    rateLimits,
    streams,
    observe,
    pingEvery: deps.pingEvery,
  });

  return {
    listen: () =>
      new Promise((resolve, reject) => {
        http.once('error', reject);
        http.listen(port, host, () => {
          http.off('error', reject);
          http.on('error', (error) => observe({ kind: 'task.failed', task: 'http', error }));
          const { port: real } = http.address() as AddressInfo;
          resolve({ url: `http://${host.includes(':') ? `[${host}]` : host}:${real}` });
        });
      }),
    async close(endStreams) {
      draining = true;
      // Whoever has connected by now is taken a turn later.
      await new Promise((resolve) => setImmediate(resolve));
      // HTTP's own close would cut connections on which a request may be on its way.
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
      await goodbyes;
      await answered();
      // Streams that have ended are written out by now; whoever does not read is cut off.
      setTimeout(() => http.closeAllConnections(), 500).unref();
      // Also ends the watch over slow requests, which the server's close has passed over.
      http.close();
      await closed;
      stuckSockets.close();
      streams.close();
      await graphql.http.dispose();
    },
  };
}
