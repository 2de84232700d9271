import { timeOf } from './bounds.js';
import { page } from './browser.js';
import { asFootstepsError, errorOf, FootstepsError, isPassing } from './errors.js';
import type { Door } from './post.js';
import { openSocket, openStream, type Payload, type SocketClass, type Wire } from './wires.js';

/** What a subscriber hears. */
interface Sink {
  next(data: any): void;
  /** The connection is lost. The subscription begins again by itself, with the variables of that time. */
  lost(): void;
  /** The subscription cannot go on: trying again would not help. */
  failed(error: FootstepsError): void;
}

/** The one connection of a client, for all its subscriptions. It is open while there is one, and opens again by itself. */
export interface Live {
  /** Subscribes. `variables` is asked at each beginning. Returns a function that ends the subscription. */
  subscribe(query: string, variables: () => object, sink: Sink): () => void;
  close(): void;
}

/** The wait before the next try doubles from the first to the last of these, with chance. Milliseconds. */
const [FIRST_WAIT, LAST_WAIT] = [500, 30_000];
/** How long a connection without a subscription stays open: pages end one and begin the next. Milliseconds. */
const LINGER = 1_000;
/** After so many failures in a row even a way that has worked is given up for the other. */
const GIVES_UP = 4;
/** A token is renewed so long before its end, or in the middle of a shorter time, at least daily, and not without a pause. Seconds. */
const [BEFORE_END, DAY, SOONEST] = [60, 86_400, 1];

/** A subscription, and the id under which it runs at present. */
interface Operation {
  id: string;
  readonly query: string;
  readonly variables: () => object;
  readonly sink: Sink;
  failures: number;
  /** Until it begins again. */
  timer?: ReturnType<typeof setTimeout>;
}

const waitAfter = (failures: number): number =>
  Math.min(FIRST_WAIT * 2 ** failures, LAST_WAIT) * (0.5 + Math.random() / 2);

/** `report` hears what a subscriber cannot be told. `Class`: undefined where there are no WebSockets. */
export function createLive(door: Door, Class: SocketClass | undefined, report: (error: unknown) => void): Live {
  const operations = new Map<string, Operation>();
  let lastId = 0;
  let wire: Wire | undefined;
  let isConnecting = false;
  let isReady = false;
  let isClosed = false;
  /** Whether the page is in the back/forward cache. */
  let isAway = false;
  let failures = 0;
  /** Whether the next connection needs a new credential, because the last one was refused. */
  let renew = false;
  let bySocket = Class !== undefined;
  /** Whether the present way has worked. */
  let works = false;
  let connectTimer: ReturnType<typeof setTimeout> | undefined;
  let renewTimer: ReturnType<typeof setTimeout> | undefined;

  function begin({ id, query, variables, sink }: Operation): void {
    try {
      wire!.subscribe(id, query, variables());
    } catch (error) {
      // Its variables cannot be written as JSON.
      operations.delete(id);
      sink.failed(asFootstepsError(error, 'BAD_USER_INPUT'));
    }
  }

  /** An operation gets an id that none had before, so that nothing late is taken for it. */
  function put(operation: Operation): void {
    operation.id = String((lastId += 1));
    operations.set(operation.id, operation);
  }

  /** A subscription has ended by itself. */
  function over(id: string, errors?: readonly any[]): void {
    const operation = operations.get(id);
    if (!operation) return;
    operations.delete(id);
    const error = errors?.length ? errorOf(errors, 400) : undefined;
    if (error && !isPassing(error)) {
      operation.sink.failed(error);
      connectIn(LINGER);
      return;
    }
    if (error) report(error);
    operation.sink.lost();
    put(operation);
    const again = operation.id;
    const wait = Math.max(waitAfter(operation.failures), timeOf(error?.retryAfter ?? 0));
    operation.failures += 1;
    operation.timer = setTimeout(() => {
      if (operations.has(again) && isReady) begin(operation);
    }, wait);
  }

  function renewLater(expiresIn?: number): void {
    clearTimeout(renewTimer);
    if (expiresIn === undefined || !door.renews) return;
    const seconds = Math.min(Math.max(expiresIn - BEFORE_END, expiresIn / 2, SOONEST), DAY);
    renewTimer = setTimeout(() => {
      door.credential(true).then(
        (credential) => wire?.renew(credential!),
        (error: unknown) => {
          report(error);
          renewLater(expiresIn - seconds);
        },
      );
    }, seconds * 1_000);
  }

  function connectIn(wait: number): void {
    clearTimeout(connectTimer);
    if (!isClosed) connectTimer = setTimeout(() => void connect(), wait);
  }

  function disconnect(): void {
    clearTimeout(connectTimer);
    clearTimeout(renewTimer);
    const old = wire;
    wire = undefined;
    isReady = false;
    old?.close();
  }

  /** The connection is gone, or could not be made. `error`: the credential was refused. */
  function lose(error?: FootstepsError): void {
    const wasReady = isReady;
    wire = undefined;
    isReady = false;
    clearTimeout(renewTimer);
    if (error && (!door.renews || renew)) {
      if (operations.size > 0) report(error);
      renew = false;
      for (const { id, sink } of operations.values()) {
        operations.delete(id);
        sink.failed(error);
      }
      return;
    }
    renew ||= error !== undefined;
    if (wasReady) for (const { sink } of operations.values()) sink.lost();
    else if (Class && !error && (!works || failures >= GIVES_UP)) {
      bySocket = !bySocket;
      works = false;
    }
    connectIn(waitAfter(failures));
    failures += 1;
  }

  function open(credential: string | undefined): void {
    const events = {
      ready(expiresIn?: number) {
        isReady = works = true;
        failures = 0;
        renew = false;
        renewLater(expiresIn);
        // A copy: whoever is refused at once comes again under another id.
        [...operations.values()].forEach((operation) => begin(operation));
      },
      renewed: renewLater,
      next(id: string, { data, errors }: Payload) {
        const operation = operations.get(id);
        if (errors) report(errorOf(errors, 200));
        if (!operation || !data) return;
        operation.failures = 0;
        operation.sink.next(data);
      },
      over,
      closed(error?: FootstepsError) {
        if (wire === own) lose(error);
      },
    };
    const own: Wire =
      bySocket && Class ? openSocket(door, Class, credential, events) : openStream(door, credential, events);
    wire = own;
  }

  /** Makes a connection if one is needed and there is none; ends it if none is needed. */
  async function connect(): Promise<void> {
    if (isAway || isClosed || isConnecting) return;
    if (operations.size === 0) {
      disconnect();
      return;
    }
    if (wire) return;
    isConnecting = true;
    try {
      const credential = await door.credential(renew);
      isConnecting = false;
      if (!isAway && !isClosed) open(credential);
    } catch (error) {
      // The application's `token` has failed, or the page may not open a WebSocket.
      isConnecting = false;
      report(asFootstepsError(error, 'NETWORK'));
      lose();
    }
  }

  // A page with an open connection cannot be kept in the back/forward cache.
  page?.addEventListener('pagehide', ({ persisted }) => {
    if (!persisted) return;
    isAway = true;
    if (isReady) for (const { sink } of operations.values()) sink.lost();
    disconnect();
  });
  page?.addEventListener('pageshow', () => {
    isAway = false;
    connectIn(0);
  });
  page?.addEventListener('online', () => connectIn(0));

  return {
    subscribe(query, variables, sink) {
      const operation: Operation = { id: '', query, variables, sink, failures: 0 };
      put(operation);
      if (isReady) begin(operation);
      else if (!wire) connectIn(0);
      return () => {
        clearTimeout(operation.timer);
        if (!operations.delete(operation.id)) return;
        if (isReady) wire!.unsubscribe(operation.id);
        if (operations.size === 0) connectIn(LINGER);
      };
    },
    close() {
      isClosed = true;
      for (const { timer } of operations.values()) clearTimeout(timer);
      operations.clear();
      disconnect();
    },
  };
}
