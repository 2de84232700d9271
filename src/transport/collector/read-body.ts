import type { IncomingMessage } from 'node:http';
import { pipeline } from 'node:stream/promises';
import { Writable, type Transform } from 'node:stream';
import { createGunzip, createInflate, createInflateRaw } from 'node:zlib';
import { AppError } from '../../errors.js';
import { MOST_BYTES } from '../graphql.js';
import { receiveBody } from '../receive-body.js';

const tooLarge = (what: string): AppError =>
  new AppError('PAYLOAD_TOO_LARGE', `The body ${what} more than ${MOST_BYTES} bytes; send fewer events at a time.`);

/** Both kinds of deflate: with zlib's header (RFC 1950), as the standard says, and without, as some send it. */
const looksLikeZlib = (start: Buffer): boolean =>
  start.length >= 2 && (start[0]! & 0x0f) === 8 && ((start[0]! << 8) | start[1]!) % 31 === 0;

function inflaterOf(encoding: string, start: Buffer): Transform | null {
  switch (encoding) {
    case '':
    case 'identity':
      return null;
    case 'gzip':
    case 'x-gzip':
      return createGunzip();
    case 'deflate':
      return looksLikeZlib(start) ? createInflate() : createInflateRaw();
    default:
      throw new AppError(
        'UNSUPPORTED_MEDIA_TYPE',
        'Content-Encoding is gzip, deflate or none; the body is in another one.',
      );
  }
}

/** Keeps what it is given, up to the limit. */
function createSink(): { sink: Writable; bytes: () => Buffer } {
  const chunks: Buffer[] = [];
  let size = 0;
  const sink = new Writable({
    write(chunk: Buffer, _encoding, done) {
      size += chunk.length;
      if (size > MOST_BYTES) {
        done(tooLarge('inflates to'));
        return;
      }
      chunks.push(chunk);
      done();
    },
  });
  return { sink, bytes: () => Buffer.concat(chunks) };
}

/**
 * The body of a request as text: received whole, inflated by Content-Encoding (gzip, and deflate of both
 * kinds), decoded by the charset of Content-Type. At most 8 MiB before and after inflating: PAYLOAD_TOO_LARGE;
 * an unknown encoding or charset: UNSUPPORTED_MEDIA_TYPE; broken compression: BAD_USER_INPUT.
 */
export async function readBody(request: IncomingMessage): Promise<string> {
  const charset = /charset\s*=\s*"?([^\s;"]+)/i.exec(request.headers['content-type'] ?? '')?.[1] ?? 'utf-8';
  let decoder: TextDecoder;
  try {
    decoder = new TextDecoder(charset);
  } catch {
    throw new AppError('UNSUPPORTED_MEDIA_TYPE', 'The charset is not known; send UTF-8.');
  }
  if (Number(request.headers['content-length'] ?? 0) > MOST_BYTES) throw tooLarge('has');
  const received = await receiveBody(request, () => tooLarge('has'));
  const encoding = (request.headers['content-encoding'] ?? '').trim().toLowerCase();
  const inflater = inflaterOf(encoding, received);
  if (!inflater) return decoder.decode(received);
  const { sink, bytes } = createSink();
  try {
    await pipeline([received], inflater, sink);
  } catch (error) {
    if (error instanceof AppError) throw error;
    throw new AppError('BAD_USER_INPUT', `The body is not ${encoding}, though Content-Encoding says so.`);
  }
  return decoder.decode(bytes());
}
