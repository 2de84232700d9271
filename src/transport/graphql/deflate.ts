import { constants, deflateRaw, type ZlibOptions } from 'node:zlib';
import { promisify } from 'node:util';
import { QueuesInTurn } from '../../services/queues-in-turn.js';
import { LARGE } from './large-sends.js';

/**
 * The window in which repetitions are found, as a power of two. 4 KiB is enough for texts whose rows resemble each other: of a
 * thousand users in a SNAPSHOT (164 kB) 38 kB are left, with 32 KiB too. Some clients (Python's websockets) allow no larger one.
 */
export const WINDOW_BITS = 12;
/** The quickest level. It takes 0.5 ms for 164 kB; the usual one takes 0.7 ms and saves 2 % more. */
const OPTIONS: ZlibOptions = { level: 1, windowBits: WINDOW_BITS, finishFlush: constants.Z_SYNC_FLUSH };
/** The most texts that are compressed at the same time, in threads of Node. Each takes some 150 kB beside the text. */
const AT_ONCE = 2;
/** The most bytes of a stored block. */
export const LONGEST_STORED = 0xffff;

const compress = promisify<Buffer, ZlibOptions, Buffer>(deflateRaw);

/**
 * A text as a block of deflate that is not compressed (RFC 1951, 3.2.4): five bytes before it. It begins and ends at the border of
 * a byte, and so do the blocks of `Deflater`, so they can stand one after another. Throws RangeError above LONGEST_STORED.
 */
export function storedBlock(text: Uint8Array): Buffer {
  const { length } = text;
  if (length > LONGEST_STORED) throw new RangeError(`A stored block has at most ${LONGEST_STORED} bytes.`);
  const block = Buffer.allocUnsafe(5 + length);
  block[0] = 0;
  block.writeUInt16LE(length, 1);
  block.writeUInt16LE(length ^ 0xffff, 3);
  block.set(text, 5);
  return block;
}

/**
 * Compresses texts, AT_ONCE at a time; the others wait, and projects take turns. What comes out can stand behind any other blocks: it
 * refers to nothing before it. So a text that many connections get is compressed once, and each puts its own words around it.
 */
export class Deflater {
  private readonly waiting = new QueuesInTurn<() => void>();
  private running = 0;

  /** The text as blocks of deflate, none of them the last. They end with an empty block: 00 00 ff ff. */
  async deflate(project: string, text: Buffer): Promise<Buffer> {
    if (this.running >= AT_ONCE) await new Promise<void>((resolve) => this.waiting.add(project, resolve));
    else this.running += 1;
    try {
      return await compress(text, OPTIONS);
    } finally {
      // The place goes to the next one.
      const [begin] = this.waiting.take();
      if (begin) begin();
      else this.running -= 1;
    }
  }
}

/** A text that many connections may get, encoded once and compressed at most once. */
export class SharedText {
  /** Null until `compress` has resolved. */
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
