import type { WebSocket } from 'ws';

/**
 * A piece is a chunk of a frame, or a frame of a message. The ws package keeps the pieces of what is not complete apart, and each
 * takes 120 to 500 bytes of memory beside its bytes, which are not counted (`Unfinished`). So many pieces stay apart in any case,
 * and one more for each so many bytes. So joining copies at most 1 KiB for each piece that comes. (Frames of a packet's 1,400 bytes
 * are never joined.)
 */
const APART = 64;
const BYTES_A_PIECE = 1_024;

/** What the ws package reads a socket with, and holds of a message that is not complete. It has no public way to them. */
interface Receiver {
  /** Chunks of a frame, or what has not been read of the last chunk. */
  readonly _buffers: Buffer[];
  readonly _bufferedBytes: number;
  /** Frames of a message that is not compressed. */
  readonly _fragments: Buffer[];
  readonly _messageLength: number;
  /** Of a frame that is not complete. It keeps its chunk, too. */
  readonly _mask: Buffer | undefined;
  /** What comes next, and the kind of the last frame. */
  readonly _state: number;
  readonly _opcode: number;
  /** Bytes of the chunk that is being read, and of those that wait behind it while a message is inflated. The first: `writelen`. */
  readonly writableLength: number;
  readonly _writableState: { readonly writelen: number };
  prependListener(event: 'error', listener: (error: NodeJS.ErrnoException) => void): void;
}

/** Between two frames, of which the last was a close: the package then ignores what comes. */
const CLOSED = { _state: 0, _opcode: 0x08 } as const;

function receiverOf(socket: WebSocket): Receiver {
  const { _receiver: receiver } = socket as unknown as { readonly _receiver: Receiver };
  return receiver;
}

const set = (receiver: Receiver, values: Partial<Receiver>): unknown => Object.assign(receiver, values);

function join(pieces: Buffer[], bytes: number): void {
  if (pieces.length > APART + bytes / BYTES_A_PIECE) pieces.splice(0, pieces.length, Buffer.concat(pieces));
}

/** The piece itself, or a copy if the piece is less than half of the memory that it keeps. */
function shrunk(piece: Buffer): Buffer {
  if (2 * piece.length >= piece.buffer.byteLength) return piece;
  const copy = Buffer.allocUnsafeSlow(piece.length);
  piece.copy(copy);
  return copy;
}

/**
 * Copies the pieces that are less than half of the memory that they keep: a piece keeps the whole chunk in which it came, with the
 * messages before it and the pings between. Those before the last chunk have been looked at already.
 */
function shrink(pieces: Buffer[]): void {
  const newest = pieces.at(-1)?.buffer;
  for (let at = pieces.length - 1; at >= 0; at -= 1) {
    const piece = pieces[at]!;
    pieces[at] = shrunk(piece);
    if (pieces[at] === piece && piece.buffer !== newest) return;
  }
}

/**
 * Makes what a socket holds of a message that is not complete at most twice as large as its bytes: joins it if it is in many pieces,
 * and copies small pieces of large chunks. To be called after each chunk, message and ping. (Compressed frames are joined where
 * they are inflated, compression.ts.)
 */
export function tidyPieces(socket: WebSocket): void {
  const receiver = receiverOf(socket);
  const { _buffers: chunks, _bufferedBytes: unread, _fragments: frames, _messageLength: bytes, _mask: mask } = receiver;
  join(chunks, unread);
  join(frames, bytes);
  shrink(chunks);
  shrink(frames);
  if (mask) set(receiver, { _mask: shrunk(mask) });
}

/** Calls the function with an error of what a client sent, by its code, before the ws package closes the socket for it. */
export function beforeFault(socket: WebSocket, tell: (code: string | undefined) => void): void {
  receiverOf(socket).prependListener('error', ({ code }) => tell(code));
}

/** The bytes that have come behind the message that a socket is just reading: in its last chunk, and in later ones. */
export function bytesBehind(socket: WebSocket): number {
  const { _bufferedBytes: unread, writableLength, _writableState: state } = receiverOf(socket);
  return unread + writableLength - state.writelen;
}

/** Forgets what a socket holds of a message that is not complete, and makes the ws package ignore what comes. */
export function ignoreRest(socket: WebSocket): void {
  set(receiverOf(socket), { ...CLOSED, _buffers: [], _bufferedBytes: 0, _fragments: [], _mask: undefined });
}
