import { errorOf, FootstepsError, isPassing } from './errors.js';
import { headersOf, type Door } from './post.js';

/** What a subscription has said: data, or errors. */
export interface Payload {
  readonly data?: any;
  readonly errors?: readonly any[];
}

/** What a wire tells of itself. */
export interface WireEvents {
  /** Operations may be sent. `expiresIn`: seconds until the credential runs out; undefined: unknown, or never. */
  ready(expiresIn?: number): void;
  /** The credential has been renewed. */
  renewed(expiresIn?: number): void;
  /** An operation has said something. */
  next(id: string, payload: Payload): void;
  /** An operation is over; with the errors because of which, if any. */
  over(id: string, errors?: readonly any[]): void;
  /** Called once: the wire is gone. `error`: why, if it is not just the network. */
  closed(error?: FootstepsError): void;
}

/** A connection that carries any number of operations. */
export interface Wire {
  subscribe(id: string, query: string, variables: object): void;
  unsubscribe(id: string): void;
  /** Goes on with another credential. */
  renew(credential: string): void;
  /** Closes it. */
  close(): void;
}

/** An open or opening WebSocket. */
interface Socket {
  addEventListener(type: 'open' | 'message' | 'error' | 'close', listener: (event: any) => void): void;
  readonly readyState: number;
  send(text: string): void;
  close(): void;
}
/** A class of WebSockets: the browser's own, or that of `ws` in Node. */
export type SocketClass = new (url: string, protocol: string) => Socket;

const OPEN = 1;
/** How long a connection may take to be accepted. Some proxies take WebSockets and never answer. Milliseconds. */
const OPENING = 6_000;
/** How long a WebSocket may be silent: the server sends a ping every 12 s. Milliseconds. */
const SILENCE = 18_000;
/** The same of an event stream: the server sends a comment every 15 s. */
const STREAM_SILENCE = 40_000;

/** The end of a connection that has been silent for too long: the network is dead, although nothing was closed. */
function watchSilence(milliseconds: number, end: () => void): { heard: () => void; stop: () => void } {
  let timer: ReturnType<typeof setTimeout> | undefined;
  const stop = (): void => clearTimeout(timer);
  const heard = (limit = milliseconds): void => {
    stop();
    timer = setTimeout(end, limit);
  };
  heard(OPENING);
  return { heard, stop };
}

/** Runs `end` at its first call only. */
function once(end: (error?: FootstepsError) => void): (error?: FootstepsError) => void {
  let isOver = false;
  return (error) => {
    if (isOver) return;
    isOver = true;
    end(error);
  };
}

/** Opens a WebSocket that speaks graphql-transport-ws. */
export function openSocket(
  { url }: Door,
  Class: SocketClass,
  credential: string | undefined,
  events: WireEvents,
): Wire {
  const closed = once((error) => {
    silence.stop();
    events.closed(error);
  });
  const silence = watchSilence(SILENCE, () => {
    closed();
    socket.close();
  });
  const socket = new Class(url.replace(/^http/, 'ws'), 'graphql-transport-ws');
  const send = (message: object): void => {
    if (socket.readyState === OPEN) socket.send(JSON.stringify(message));
  };
  const authorization = `Bearer ${credential}`;

  socket.addEventListener('open', () => send({ type: 'connection_init', payload: { authorization } }));
  socket.addEventListener('message', ({ data }) => {
    silence.heard();
    const { type, id, payload } = JSON.parse(data as string) as { type: string; id: string; payload?: any };
    if (type === 'connection_ack') events.ready(payload?.expiresIn ?? undefined);
    else if (type === 'ping') send({ type: 'pong' });
    else if (type === 'pong' && payload && !payload.error) events.renewed(payload.expiresIn ?? undefined);
    else if (type === 'next') events.next(id, payload as Payload);
    else if (type === 'error') events.over(id, payload as any[]);
    else if (type === 'complete') events.over(id);
  });
  // No close follows where a policy of the page forbids the socket.
  socket.addEventListener('error', () => closed());
  socket.addEventListener('close', ({ code, reason }) => {
    const isRefused = code === 4401 || code === 4403;
    closed(isRefused ? new FootstepsError('UNAUTHENTICATED', reason || 'The credential was refused.', 401) : undefined);
  });
  return {
    subscribe: (id, query, variables) => send({ type: 'subscribe', id, payload: { query, variables } }),
    unsubscribe: (id) => send({ type: 'complete', id }),
    renew: (renewed) => send({ type: 'ping', payload: { authorization: `Bearer ${renewed}` } }),
    close() {
      closed();
      socket.close();
    },
  };
}

/** Opens an event stream in the single connection mode of graphql-sse, for networks that let no WebSocket through. */
export function openStream({ url }: Door, credential: string | undefined, events: WireEvents): Wire {
  const control = new AbortController();
  const { signal } = control;
  const closed = once((error) => {
    silence.stop();
    control.abort();
    events.closed(error);
  });
  const silence = watchSilence(STREAM_SILENCE, closed);
  const headers = headersOf(credential);
  const failed = new Map<string, readonly any[]>();

  async function request(init: RequestInit, search = ''): Promise<Response> {
    const response = await fetch(url + search, { headers, signal, ...init });
    if (response.ok) return response;
    const { errors } = (await response.json()) as { errors: any[] };
    throw errorOf(errors, response.status);
  }

  function hear(block: string): void {
    const type = /^event: ?(.*)$/m.exec(block)?.[1];
    const data = /^data: ?(.*)$/m.exec(block)?.[1];
    if (!data) return;
    const { id, payload } = JSON.parse(data) as { id: string; payload?: Payload };
    if (type === 'complete') events.over(id, failed.get(id));
    // An operation that fails says why, and then that it is over.
    else if (payload?.errors && !payload.data) failed.set(id, payload.errors);
    else events.next(id, payload!);
  }

  async function run(): Promise<void> {
    const token = await (await request({ method: 'PUT' })).text();
    headers['X-GraphQL-Event-Stream-Token'] = token;
    const { body } = await request({ method: 'GET', headers: { ...headers, Accept: 'text/event-stream' } });
    silence.heard();
    events.ready();
    const reader = body!.getReader();
    const decoder = new TextDecoder();
    let text = '';
    for (let part = await reader.read(); !part.done; part = await reader.read()) {
      silence.heard();
      const blocks = (text + decoder.decode(part.value, { stream: true })).split('\n\n');
      text = blocks.pop()!;
      blocks.forEach(hear);
    }
  }
  run().then(
    () => closed(),
    (error) => closed(error instanceof FootstepsError && !isPassing(error) ? error : undefined),
  );

  return {
    subscribe(id, query, variables) {
      failed.delete(id);
      const body = JSON.stringify({ query, variables, extensions: { operationId: id } });
      request({ method: 'POST', body }).catch((error: unknown) => {
        // What is wrong with an operation comes over the stream. This concerns the request itself.
        events.over(id, error instanceof FootstepsError ? error.errors : []);
      });
    },
    unsubscribe: (id) => void request({ method: 'DELETE' }, `?operationId=${id}`).catch(() => {}),
    // Each request brings its own credential. When the one of the stream runs out, the server ends it.
    renew: (renewed) => void Object.assign(headers, headersOf(renewed)),
    close: closed,
  };
}
