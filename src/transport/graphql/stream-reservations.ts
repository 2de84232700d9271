import { randomUUID } from 'node:crypto';
import type { ServerResponse } from 'node:http';
import { callerReachName, type Caller } from '../../domain/access.js';
import { AppError } from '../../errors.js';
import { createCounts } from '../../services/counts.js';
import { holdersOf } from '../http/holders.js';
import type { Places } from '../http/places.js';
import { connectionLine } from './connection-line.js';
import { COMMENT, COMMENT_EVERY, EVENT_STREAM_HEADERS } from './event-stream.js';
import type { Door } from './graphql.js';
import type { Line } from './line.js';
import type { OpenStreams } from './open-streams.js';
import type { Subscription } from './shared-subscriptions.js';
import { textStream, type TextStream } from './text-stream.js';

/** A reservation that is not opened within this time is forgotten. Clients open it at once. Milliseconds. */
const RESERVED_FOR = 60_000;
/**
 * The most reservations that are not opened yet: of a narrowed token's users, of a key, of a project, and of all projects
 * together. One takes some 500 bytes.
 */
const MOST_RESERVED = { perUsers: 20, perKey: 1_000, perProject: 2_000, inAll: 10_000 };

export interface Operation {
  /** Null while the subscription is being opened, and for a query or mutation. */
  subscription: Subscription | null;
}

/** An event stream in single connection mode: reserved, then open. */
export interface SingleStream {
  /** The reach of its owner (callerReachName). Only callers with the same reach may use the stream. */
  readonly reach: string;
  /** What is written to it. Null until the stream is opened. */
  texts: TextStream | null;
  /** The line of the messages of its subscriptions. Null until the stream is opened. */
  line: Line | null;
  readonly places: Pick<Places, 'ofSubscription'>;
  /** Its operations by the ids that the client gave them. */
  readonly operations: Map<string, Operation>;
  readonly underWay: { count: number; bytes: number };
  /** Settles when the last query or mutation so far has been executed. */
  turn: Promise<unknown>;
  /** Ends the stream, or its reservation, and frees its places and timers. */
  end: () => void;
}

/** The event streams of single connection mode, by their tokens. */
interface StreamReservations {
  /** Reserves a stream and returns its token. Throws TOO_MANY_SUBSCRIPTIONS. */
  reserve(caller: Caller): string;
  /** The stream of a token, for a caller with the same reach as its owner. Throws NOT_FOUND. */
  find(token: string | null, caller: Caller): SingleStream;
  /** Opens a stream. It takes the place of a socket. Throws CONFLICT if it is open already, TOO_MANY_SUBSCRIPTIONS. */
  open(token: string, stream: SingleStream, response: ServerResponse, door: Door): void;
  /** Ends all streams and reservations. */
  close(): void;
}

export function createStreamReservations(deps: {
  streams: OpenStreams;
  places: Places;
  commentEvery?: number | undefined;
  reservedFor?: number | undefined;
}): StreamReservations {
  const { streams, places, commentEvery = COMMENT_EVERY, reservedFor = RESERVED_FOR } = deps;
  const byToken = new Map<string, SingleStream>();
  /** The number of reservations that are not open, by holder. */
  const reserved = createCounts();

  return {
    reserve(caller) {
      const holders = [{ name: 'all', most: MOST_RESERVED.inAll }, ...holdersOf(caller, MOST_RESERVED)];
      if (holders.some(({ name, most }) => reserved.of(name) >= most)) {
        throw new AppError(
          'TOO_MANY_SUBSCRIPTIONS',
          'Too many streams are reserved and not opened. Open them, or try again later.',
          {
            retryAfter: Math.ceil(reservedFor / 1000),
          },
        );
      }
      const token = randomUUID();
      const end = (): void => {
        clearTimeout(timer);
        byToken.delete(token);
        for (const { name } of holders) reserved.add(name, -1);
      };
      const timer = setTimeout(end, reservedFor);
      timer.unref();
      for (const { name } of holders) reserved.add(name, 1);
      const reach = callerReachName(caller);
      byToken.set(token, {
        reach,
        texts: null,
        line: null,
        places: places.ofConnection(),
        operations: new Map(),
        underWay: { count: 0, bytes: 0 },
        turn: Promise.resolve(),
        end,
      });
      return token;
    },

    find(token, caller) {
      const stream = token === null ? undefined : byToken.get(token);
      if (stream?.reach === callerReachName(caller)) return stream;
      throw new AppError('NOT_FOUND', 'There is no such stream, or it has ended. Reserve another one with PUT.');
    },

    open(token, stream, response, { caller, sender }) {
      if (stream.texts) throw new AppError('CONFLICT', 'The stream is open already. Reserve another one with PUT.');
      // The client has gone. No close event would come to free the places.
      if (response.destroyed) return;
      const leaveAddress = places.ofAddress(sender.ipAddress);
      let leaveKey: () => void;
      try {
        leaveKey = places.ofKey(caller);
      } catch (error) {
        leaveAddress();
        throw error;
      }
      // From here on it is not a reservation any more.
      stream.end();
      byToken.set(token, stream);
      const texts = textStream(response.req.headers['accept-encoding'], (bytes) => response.write(bytes));
      stream.texts = texts;
      stream.line = connectionLine(response);
      let isOver = false;
      stream.end = () => {
        if (isOver) return;
        isOver = true;
        byToken.delete(token);
        clearInterval(comments);
        forget();
        leaveAddress();
        leaveKey();
        const operations = [...stream.operations.values()];
        // From here on no operation writes.
        stream.operations.clear();
        for (const { subscription } of operations) void subscription?.return();
        // The connection may have gone.
        if (!response.destroyed) texts.end();
        response.end();
      };
      const comments = setInterval(() => {
        // A client that has not read the last comment needs no other.
        if (response.writableLength === 0) texts.write(COMMENT);
      }, commentEvery);
      const forget = streams.open(caller, stream.end);
      response.once('close', stream.end);
      response.writeHead(200, { ...EVENT_STREAM_HEADERS, ...texts.headers });
      // Some browsers take a stream for open only when its first bytes have come.
      texts.write(COMMENT);
    },

    close() {
      for (const { end } of byToken.values()) end();
    },
  };
}
