import { constants, deflateRaw, type ZlibOptions } from 'node:zlib';
import { promisify } from 'node:util';
import type { Observer } from '../../observation.js';
import { ZlibTurns } from '../http/zlib-turns.js';
import { LARGE } from './large-sends.js';

/**
 * The window in which repetitions are found, as a power of two. 4 KiB is enough for texts whose rows resemble each other: of a
 * thousand users in a SNAPSHOT (164 kB) 38 kB are left, with 32 KiB too. Some clients (Python's websockets) allow no larger one.
 */
export const WINDOW_BITS = 12;
/** The quickest level. It takes 0.5 ms for 164 kB; the usual one takes 0.7 ms and saves 2 % more. */
const OPTIONS: ZlibOptions = { level: 1, windowBits: WINDOW_BITS, finishFlush: constants.Z_SYNC_FLUSH };
/** The most bytes of a stored block. */
export const LONGEST_STORED = 0xffff;
const NOTHING = new Uint8Array();

const compress = promisify<Buffer, ZlibOptions, Buffer>(deflateRaw);

/**
 * A text as a block of deflate that is not compressed (RFC 1951, 3.2.4): five bytes before it. It begins and ends at the border of
 * a byte, and so do the blocks of `Deflater`, so they can stand one after another. `after`: blocks that follow in the same buffer.
 * Throws RangeError above LONGEST_STORED.
 */
export function storedBlock(text: Uint8Array, after: Uint8Array = NOTHING): Buffer {
  const { length } = text;
  if (length > LONGEST_STORED) throw new RangeError(`A stored block has at most ${LONGEST_STORED} bytes.`);
  const block = Buffer.allocUnsafe(5 + length + after.length);
  block[0] = 0;
  block.writeUInt16LE(length, 1);
  block.writeUInt16LE(length ^ 0xffff, 3);
  block.set(text, 5);
  block.set(after, 5 + length);
  return block;
}

/**
 * Compresses texts, a few at a time; the others wait, and projects take turns. What comes out can stand behind any other blocks: it
 * refers to nothing before it. So a text that many connections get is compressed once, and each puts its own words around it.
 * A subscription waits for one text at most, so as many texts wait as there are subscriptions.
 */
export class Deflater {
  private readonly turns = new ZlibTurns();

  constructor(private readonly observe: Observer) {}

  /**
   * The text as blocks of deflate, none of them the last. They end with an empty block: 00 00 ff ff. Null: it failed, for lack of
   * memory, and this has been reported.
   */
  async deflate(project: string, text: Buffer): Promise<Buffer | null> {
    try {
      return await this.turns.during(project, () => compress(text, OPTIONS));
    } catch (error) {
      this.observe({ kind: 'task.failed', task: 'compression', error });
      return null;
    }
  }
}

/** A text that many connections may get, encoded once and compressed at most once. */
export class SharedText {
  /** Null until `compress` has resolved, and if it failed. */
  compressed: Buffer | null = null;
  private compressing: Promise<void> | null = null;

  constructor(readonly text: Buffer) {}

  /** Large texts are worth compressing, and are written in turns. */
  get isLarge(): boolean {
    return this.text.length >= LARGE;
  }

  /** Makes `compressed`. */
  compress(deflater: Deflater, project: string): Promise<void> {
    return (this.compressing ??= this.makeCompressed(deflater, project));
  }

  private async makeCompressed(deflater: Deflater, project: string): Promise<void> {
    this.compressed = await deflater.deflate(project, this.text);
  }
}
