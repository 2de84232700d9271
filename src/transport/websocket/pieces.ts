import type { WebSocket } from 'ws';

/**
 * A piece is a chunk of a frame, or a frame of a message. The ws package keeps the pieces of what is not complete apart, and each
 * takes 120 to 500 bytes of memory beside its bytes, which are not counted (`Unfinished`). So many pieces stay apart in any case,
 * and one more for each so many bytes: then joining copies each byte a few times at most. (A frame of a packet's 1,400 bytes is
 * never joined.)
 */
const APART = 64;
const BYTES_A_PIECE = 1_024;

/** What the ws package holds of a message that is not complete: lists of pieces, and the bytes of each. It has no public way to them. */
interface Receiver {
  /** Chunks of a frame. */
  readonly _buffers: Buffer[];
  readonly _bufferedBytes: number;
  /** Frames of a message that is not compressed. */
  readonly _fragments: Buffer[];
  readonly _messageLength: number;
}

function heldBy(socket: WebSocket) {
  const { _receiver: receiver } = socket as unknown as { readonly _receiver: Receiver };
  const {
    _buffers: chunks,
    _bufferedBytes: bytesOfChunks,
    _fragments: frames,
    _messageLength: bytesOfFrames,
  } = receiver;
  return { chunks, bytesOfChunks, frames, bytesOfFrames };
}

function join(pieces: Buffer[], bytes: number): void {
  if (pieces.length > APART + bytes / BYTES_A_PIECE) pieces.splice(0, pieces.length, Buffer.concat(pieces));
}

/**
 * Joins what a socket holds of a message that is not complete, if it is in many pieces. To be called after each chunk. (Compressed
 * frames are joined where they are inflated, compression.ts.)
 */
export function joinPieces(socket: WebSocket): void {
  const { chunks, bytesOfChunks, frames, bytesOfFrames } = heldBy(socket);
  join(chunks, bytesOfChunks);
  join(frames, bytesOfFrames);
}

/** Whether a socket holds frames of a message that is not complete and not compressed. They keep their whole chunks in memory. */
export const holdsFrames = (socket: WebSocket): boolean => heldBy(socket).frames.length > 0;
