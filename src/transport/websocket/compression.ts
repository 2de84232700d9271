import { setImmediate as nextTurn } from 'node:timers/promises';
import { promisify } from 'node:util';
import { constants, inflateRaw, inflateRawSync, type ZlibOptions } from 'node:zlib';
import type { WebSocket } from 'ws';
import type { ZlibTurns } from '../http/zlib-turns.js';
import { storedBlock, WINDOW_BITS } from '../graphql/deflate.js';

/**
 * Compression of messages on WebSockets (RFC 7692, permessage-deflate). Browsers and most clients offer it, and the ws package
 * agrees on it. The rest is done here, because the package would compress each message once for each connection, would keep an
 * inflater for each (16 kB and more), and would inflate all that comes.
 *
 * Only large messages of subscriptions are compressed, once for all connections that get them (`Deflater`); `deflatedFrame` puts
 * them into a frame. `inflateWithin` reads what clients compress.
 */

const EXTENSION = 'permessage-deflate';

/**
 * Options of the ws package: each message stands alone, in both directions, and the package itself compresses nothing. (It heeds
 * `threshold` only with `serverNoContextTakeover`. If it compressed, frames that are written past it could come in a wrong order.)
 */
export const DEFLATE = { serverNoContextTakeover: true, clientNoContextTakeover: true, threshold: Infinity };

/** The parameters of an offer that the server can meet. `server_max_window_bits` must leave room for WINDOW_BITS. */
const PARAMETERS: ReadonlyMap<string, (value: number | null) => boolean> = new Map([
  ['server_no_context_takeover', (value) => value === null],
  ['client_no_context_takeover', (value) => value === null],
  ['server_max_window_bits', (value) => value !== null && value >= WINDOW_BITS && value <= 15],
  ['client_max_window_bits', (value) => value === null || (value >= 8 && value <= 15)],
]);

function canMeet(offer: string): boolean {
  const [name, ...parameters] = offer.split(';').map((part) => part.trim());
  if (name !== EXTENSION) return false;
  const seen = new Set<string>();
  return parameters.every((parameter) => {
    const [, key = '', value] = /^([a-z_]+)(?:=(\d{1,2}))?$/.exec(parameter) ?? [];
    const isNew = !seen.has(key);
    seen.add(key);
    return isNew && (PARAMETERS.get(key)?.(value === undefined ? null : Number(value)) ?? false);
  });
}

/**
 * The first offer in a Sec-WebSocket-Extensions header that the server can meet. Undefined: none, so the connection goes
 * without compression. (The ws package refuses a connection whose offers it cannot meet.)
 */
export const offerToMeet = (header: string | undefined): string | undefined =>
  header
    ?.split(',')
    .map((offer) => offer.trim())
    .find(canMeet);

/** Whether the client of a socket takes compressed messages. */
export const inflates = (socket: WebSocket): boolean => socket.extensions.includes(EXTENSION);

/** Messages up to this size are always inflated: that takes a thread 2 ms. */
const ALWAYS_INFLATED = 1_048_576;
/**
 * A larger message may be so many times as large as what came for it. A thousand errors with the same stack, of users of their own,
 * are up to 118 times as large as their compressed form; 8 MiB of one letter, 1,000 times.
 */
const MOST_TIMES = 250;
/**
 * A message that came in at most so many bytes and has at most so many is inflated without a thread: that takes some 10 µs, and a
 * thread for it would take more.
 */
const SMALL = { compressed: 512, text: 16_384 };
const TOO_LARGE = { code: 1009, reason: 'Compressed too much: send it as it is' };
const INVALID = { code: 1007, reason: 'Compressed data that cannot be read' };

const isTooLarge = (error: unknown): boolean => (error as NodeJS.ErrnoException).code === 'ERR_BUFFER_TOO_LARGE';

type Done = (error: Error | null, text?: Buffer) => void;
/** The part of the ws package's extension that is replaced. `isLast`: the piece is the last one of its message. */
interface Extension {
  decompress: (piece: Buffer, isLast: boolean, done: Done) => void;
}

const NOTHING = Buffer.alloc(0);
const inflateLater = promisify<Buffer, ZlibOptions, Buffer>(inflateRaw);

/**
 * Inflates what the client of a socket compresses, instead of the ws package. Pieces of a message wait as they came, until the last
 * one is there, and then until `ready` has called its function: so at most two messages of all sockets are there inflated and not
 * yet handed on. A message that is larger than `most()`, or many times as large as its bytes, closes the socket with 1009.
 */
export function inflateWithin(
  socket: WebSocket,
  limits: {
    readonly turns: ZlibTurns;
    /** Whose turn it is. */
    readonly project: () => string;
    readonly most: () => number;
    readonly ready: (run: () => void) => void;
  },
): void {
  // The package has no public way to reach it.
  const { _extensions: extensions } = socket as unknown as { readonly _extensions: Record<string, Extension> };
  const extension = extensions[EXTENSION];
  if (!extension) return;
  /** The pieces of the message that is not complete, as one: each alone would take memory beside its bytes. */
  let waiting = NOTHING;
  let length = 0;

  function keep(piece: Buffer): void {
    if (length + piece.length > waiting.length) {
      const larger = Buffer.allocUnsafeSlow(2 * (length + piece.length));
      waiting.copy(larger, 0, 0, length);
      waiting = larger;
    }
    length += piece.copy(waiting, length);
  }

  /** The whole message, of which this is the last piece. */
  function whole(piece: Buffer): Buffer {
    if (length === 0) return piece;
    keep(piece);
    const message = waiting.subarray(0, length);
    waiting = NOTHING;
    length = 0;
    return message;
  }

  function fail(error: Error, done: Done): void {
    const { code, reason } = isTooLarge(error) ? TOO_LARGE : INVALID;
    socket.close(code, reason);
    done(error);
  }

  async function inflate(compressed: Buffer, most: number): Promise<Buffer> {
    const options = { finishFlush: constants.Z_SYNC_FLUSH, maxOutputLength: most };
    if (compressed.length <= SMALL.compressed) {
      const small = Math.min(most, SMALL.text);
      try {
        return inflateRawSync(compressed, { ...options, maxOutputLength: small });
      } catch (error) {
        if (small === most || !isTooLarge(error)) throw error;
      }
    }
    return limits.turns.during(limits.project(), () => inflateLater(compressed, options));
  }

  /**
   * Each message is handed on in a turn of the event loop of its own: 64 kB that came in one chunk can hold 150 messages that become
   * 400 kB each, and to read one of them takes 5 ms. (And the package would call itself once for each frame if `done` was called
   * before `decompress` has returned.)
   */
  async function handOn(compressed: Buffer, most: number, done: Done): Promise<void> {
    await nextTurn();
    let text: Buffer;
    try {
      text = await inflate(compressed, most);
    } catch (error) {
      fail(error as Error, done);
      return;
    }
    done(null, text);
  }

  extension.decompress = (piece, isLast, done) => {
    // What came before the socket closed is not needed any more.
    const isWanted = socket.readyState === socket.OPEN;
    if (!isLast || !isWanted) {
      if (isWanted) keep(piece);
      process.nextTick(done, null, NOTHING);
      return;
    }
    const compressed = whole(piece);
    const most = Math.min(limits.most(), Math.max(ALWAYS_INFLATED, compressed.length * MOST_TIMES));
    limits.ready(() => void handOn(compressed, most, done));
  };
}

/** In a frame: it is the last of its message; the message is compressed; it is a text. */
const FIN = 0x80;
const RSV1 = 0x40;
const TEXT = 0x01;
/** Payloads up to this size have their length in one byte, and those up to LONG in two after it. */
const SHORT = 125;
const LONG = 0xffff;
/** The end of each flushed text. A message does not have it (RFC 7692, 7.2.1). */
const TAIL = 4;

/** The head of the frame (RFC 6455, 5.2) of a whole compressed text of `length` bytes. */
function frameHead(length: number): Buffer {
  if (length <= SHORT) return Buffer.of(FIN | RSV1 | TEXT, length);
  if (length <= LONG) return Buffer.of(FIN | RSV1 | TEXT, 126, length >> 8, length & 0xff);
  const head = Buffer.alloc(10);
  head[0] = FIN | RSV1 | TEXT;
  head[1] = 127;
  head.writeUIntBE(length, 4, 6);
  return head;
}

/** The frame of a message: the words `before`, then what has been compressed. In two parts, of which connections share the second. */
export function deflatedFrame(before: string, deflated: Buffer): [Buffer, Buffer] {
  const block = storedBlock(Buffer.from(before));
  const rest = deflated.subarray(0, -TAIL);
  return [Buffer.concat([frameHead(block.length + rest.length), block]), rest];
}
