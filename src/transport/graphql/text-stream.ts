import { crc32 } from 'node:zlib';
import { acceptedCodings } from '../http/codings.js';
import { LONGEST_STORED, storedBlock, type SharedText } from './deflate.js';

/** The texts of one event stream, on their way to its connection. */
export interface TextStream {
  /** Whether large texts should be compressed before they come. */
  readonly inflates: boolean;
  /** Headers of the answer. */
  readonly headers: Readonly<Record<string, string>>;
  write(text: Uint8Array): void;
  /** Writes a text in its compressed form if there is one and the client takes it. */
  writeShared(text: SharedText): void;
  /** To be called once, after the last text. */
  end(): void;
}

/** The head of a gzip stream (RFC 1952, 2.3): deflate, no flags, no time, any system. */
const HEAD = Buffer.of(0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 0xff);
/** An empty block of deflate, which is the last one. */
const LAST_BLOCK = Buffer.of(1, 0, 0, 0xff, 0xff);
/** An empty block. Some clients (those in Go) hand texts on only when one comes; `Deflater` ends with one too. */
const FLUSH = Buffer.of(0, 0, 0, 0xff, 0xff);
const TWO_TO_32 = 2 ** 32;

/**
 * Texts as one gzip stream. Small texts are stored in it as they are, and large ones come compressed, once for all streams: so
 * a stream has no compressor of its own. What it has is a checksum, which takes 0.2 ms for each MB of text.
 */
class GzipStream implements TextStream {
  readonly inflates = true;
  readonly headers = { 'Content-Encoding': 'gzip', Vary: 'Accept-Encoding' };
  private checksum = 0;
  private size = 0;
  private isBegun = false;

  constructor(private readonly push: (bytes: Uint8Array) => void) {}

  write(text: Uint8Array): void {
    this.count(text);
    for (let from = 0; from < text.length; from += LONGEST_STORED)
      this.push(storedBlock(text.subarray(from, from + LONGEST_STORED), FLUSH));
  }

  writeShared({ text, compressed }: SharedText): void {
    if (!compressed) {
      this.write(text);
      return;
    }
    this.count(text);
    this.push(compressed);
  }

  end(): void {
    this.begin();
    const sums = Buffer.allocUnsafe(8);
    sums.writeUInt32LE(this.checksum, 0);
    sums.writeUInt32LE(this.size, 4);
    this.push(Buffer.concat([LAST_BLOCK, sums]));
  }

  private begin(): void {
    if (!this.isBegun) this.push(HEAD);
    this.isBegun = true;
  }

  private count(text: Uint8Array): void {
    this.begin();
    // Of no bytes, crc32 forgets the checksum so far.
    if (text.length > 0) this.checksum = crc32(text, this.checksum);
    this.size = (this.size + text.length) % TWO_TO_32;
  }
}

/** Whether a client with this Accept-Encoding takes gzip streams. */
export const takesGzip = (acceptEncoding: string | null | undefined): boolean =>
  acceptedCodings(acceptEncoding).has('gzip');

/**
 * Texts for a client with this Accept-Encoding. `push` sends bytes to it. A proxy cannot compress event streams instead: most of
 * them keep back what they compress, so `no-transform` forbids it.
 */
export function textStream(acceptEncoding: string | null | undefined, push: (bytes: Uint8Array) => void): TextStream {
  if (takesGzip(acceptEncoding)) return new GzipStream(push);
  return {
    inflates: false,
    headers: { Vary: 'Accept-Encoding' },
    write: push,
    writeShared: ({ text }) => push(text),
    end: () => {},
  };
}
