import type { WebSocket } from 'ws';
import { storedBlock, WINDOW_BITS } from '../graphql/deflate.js';

/**
 * Compression of messages on WebSockets (RFC 7692, permessage-deflate). Browsers and most clients offer it. The ws package
 * agrees on it and inflates what clients send, but compresses nothing itself: it would do so once for each connection. Only
 * large messages of subscriptions are compressed, once for all connections that get them (`Deflater`); `deflatedFrame` puts them
 * into a frame. So no connection has a compressor of its own, which would take more memory than all else that it holds.
 */

const EXTENSION = 'permessage-deflate';

/** Options of the ws package. A client's message stands alone too, so that its inflater goes when the message is there. */
export const DEFLATE = {
  serverNoContextTakeover: true,
  clientNoContextTakeover: true,
  // The package itself compresses nothing.
  threshold: Infinity,
  // The most messages of clients, of all connections, that are inflated at the same time.
  concurrencyLimit: 4,
};

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
export const offerToMeet = (header: string | undefined): string | undefined => header?.split(',').find(canMeet);

/** Whether the client of a socket takes compressed messages. */
export const inflates = (socket: WebSocket): boolean => socket.extensions.includes(EXTENSION);

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
