import {
  createServer as createHttpServer,
  type IncomingMessage,
  type Server as HttpServer,
  type ServerResponse,
} from 'node:http';
import type { AddressInfo } from 'node:net';
import { renderGraphiQL } from '@graphql-yoga/render-graphiql';
import type { GraphQLSchema } from 'graphql';
import { AppError } from '../errors.js';
import type { Observer } from '../observation.js';
import type { Services } from '../schema/context.js';
import { credentialOf } from './authenticate.js';
import { createCollector } from './collector/collector.js';
import { createGraphQL, MOST_BYTES } from './graphql.js';
import { maskError } from './mask-error.js';
import { createOpenStreams } from './open-streams.js';
import { checkOrigin } from './origin.js';
import { answerPost, isPlainPost } from './post-operation.js';
import { requestIdOf } from './request-id.js';
import { createSenderOf } from './sender.js';
import { cutStuckSockets } from './stuck-sockets.js';
import { createWebSockets } from './websocket.js';

const GRAPHQL = '/graphql';
/** Paths are read as if they were of this server. */
const BASE = 'http://localhost';
/** How long requests under way are waited for when the server closes. Milliseconds. */
const PATIENCE = 5_000;
/** How long the rest of a refused body is still swallowed. Milliseconds. */
const LINGER = 1_000;

export interface Server {
  /** Resolves with the address it listens on. Rejects where the port is taken. */
  listen(): Promise<{ url: string }>;
  /**
   * Takes nothing new and answers what is under way; WebSockets are closed with 1001. `endStreams` is called
   * when everything but streams has been answered: it ends the subscriptions over HTTP.
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
  observe: Observer;
  host: string;
  port: number;
  /** Whose X-Forwarded-For counts (see createSenderOf). */
  trustedProxies: readonly string[];
  /** What keeps the server from working just now; empty where nothing does. */
  missing: () => Promise<readonly string[]>;
  /** How long a client may leave unread what waits for it. Milliseconds. */
  stuckAfter?: number;
}): Server {
  const { schema, services, observe, host, port, trustedProxies, missing, stuckAfter } = deps;
  const streams = createOpenStreams(
    (listener) => services.keys.onRevoked(listener),
    () => services.clock.now(),
  );
  const senderOf = createSenderOf(trustedProxies);
  const collector = createCollector({ services, senderOf, observe });
  const graphql = createGraphQL({ schema, services, streams, observe });
  /** Requests whose answer is one document, and whose client waits for it. */
  let underWay = 0;
  let idle: (() => void) | null = null;
  let draining = false;
  /** Rendered once: the page is large, and asks nothing of any other server. */
  let page: string | null = null;

  function answerGraphiQL(response: ServerResponse): void {
    page ??= renderGraphiQL({
      title: 'Footsteps',
      subscriptionsProtocol: 'WS',
      headers: JSON.stringify({ Authorization: 'Bearer YOUR_KEY' }, null, 2),
      defaultQuery: '# Put a key into the headers below, then run this.\n{\n  project {\n    name\n  }\n}\n',
    });
    response.writeHead(200, { 'Content-Type': 'text/html; charset=utf-8' });
    response.end(page);
  }

  /** What GraphQL over HTTP would take and a browser may send unasked, or cannot read: refused before anything is read. */
  function checkRequest(request: IncomingMessage, { searchParams }: URL): void {
    for (const name of ['variables', 'extensions']) {
      if (!isJsonObject(searchParams.get(name) || '{}'))
        throw new AppError('BAD_USER_INPUT', `${name} is a JSON object.`, { field: name });
    }
    if (request.method === 'POST' && !isJson(request.headers['content-type'])) {
      throw new AppError('UNSUPPORTED_MEDIA_TYPE', 'Send the operation as application/json.');
    }
    if (Number(request.headers['content-length'] ?? 0) > MOST_BYTES) {
      throw new AppError(
        'PAYLOAD_TOO_LARGE',
        `The body is larger than ${MOST_BYTES} bytes; send the events in several requests.`,
      );
    }
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
      await graphql(request, response, { caller: { kind: 'operator' }, sender: senderOf(request), requestId: id });
      return;
    }
    checkRequest(request, url);
    const caller = await services.keys.authenticate(credentialOf(request, url));
    checkOrigin(caller, request);
    const door = { caller, sender: senderOf(request), requestId: id };
    await (isPlainPost(request) ? answerPost(graphql, request, response, door) : graphql(request, response, door));
  }

  async function answer(request: IncomingMessage, response: ServerResponse, id: string): Promise<void> {
    // Before anything makes a URL of it: clients that concatenate begin the path with two slashes.
    if (collector.owns((request.url ?? '/').split('?')[0]!)) {
      await collector.answer(request, response, id);
      return;
    }
    const target = (request.url ?? '/').replace(/^\/{2,}/, '/');
    if (!URL.canParse(target, BASE)) throw new AppError('BAD_USER_INPUT', 'The path is not part of any URL.');
    const url = new URL(target, BASE);
    // A proxy may send the whole URL; further on, all that counts is what lies here.
    request.url = url.pathname + url.search;
    if (url.pathname === GRAPHQL) {
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
  const stuckSockets = cutStuckSockets(http, stuckAfter);
  const webSockets = createWebSockets({
    http,
    path: GRAPHQL,
    graphql,
    keys: services.keys,
    senderOf,
    streams,
    observe,
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
      const closed = new Promise<void>((resolve) => http.close(() => resolve()));
      http.closeIdleConnections();
      const timer = setTimeout(() => idle?.(), PATIENCE);
      if (underWay > 0) {
        await new Promise<void>((resolve) => {
          idle = resolve;
        });
      }
      clearTimeout(timer);
      await webSockets.close();
      await endStreams();
      // Streams that have ended are written out by now; whoever does not read is cut off.
      setTimeout(() => http.closeAllConnections(), 500).unref();
      http.closeIdleConnections();
      await closed;
      stuckSockets.close();
      streams.close();
      await graphql.dispose();
    },
  };
}
