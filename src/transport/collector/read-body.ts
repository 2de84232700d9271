import type { IncomingMessage } from 'node:http';
import { promisify } from 'node:util';
import { gunzip, inflate, inflateRaw, type ZlibOptions } from 'node:zlib';
import { AppError } from '../../errors.js';
import { checkJsonSize } from '../http/check-json-size.js';
import { MOST_BYTES, receiveBody } from '../http/receive-body.js';
import type { Unfinished } from '../http/unfinished.js';

const tooLarge = (what: string): AppError =>
  new AppError(
    'PAYLOAD_TOO_LARGE',
    `The body ${what} more than ${MOST_BYTES} bytes. Send fewer events in one request.`,
  );

/** Whether deflate data has zlib's header (RFC 1950), as the HTTP standard demands. Some clients leave it out. */
const looksLikeZlib = (start: Buffer): boolean =>
  start.length >= 2 && (start[0]! & 0x0f) === 8 && ((start[0]! << 8) | start[1]!) % 31 === 0;

type Inflate = (bytes: Buffer, options: ZlibOptions) => Promise<Buffer>;

function inflateOf(encoding: string, start: Buffer): Inflate | null {
  switch (encoding) {
    case '':
    case 'identity':
      return null;
    case 'gzip':
    case 'x-gzip':
      return promisify(gunzip);
    case 'deflate':
      return promisify(looksLikeZlib(start) ? inflate : inflateRaw);
    default:
      throw new AppError('UNSUPPORTED_MEDIA_TYPE', 'Content-Encoding must be gzip, deflate or none.');
  }
}

/** The bytes as text. Throws PAYLOAD_TOO_LARGE if the text has more than 200,000 JSON values. */
function decoded(decoder: TextDecoder, bytes: Buffer): string {
  const text = decoder.decode(bytes);
  checkJsonSize(text);
  return text;
}

/**
 * The whole body of a request as text: inflated by Content-Encoding (gzip, or deflate with or without a zlib header) and
 * decoded by the charset of Content-Type. Throws PAYLOAD_TOO_LARGE for more than 8 MiB before or after inflating, or more than
 * 200,000 values; UNSUPPORTED_MEDIA_TYPE for an unknown encoding or charset; BAD_USER_INPUT for broken compression.
 */
export async function readBody(request: IncomingMessage, unfinished: Unfinished): Promise<string> {
  const charset = /charset\s*=\s*"?([^\s;"]+)/i.exec(request.headers['content-type'] ?? '')?.[1] ?? 'utf-8';
  let decoder: TextDecoder;
  try {
    decoder = new TextDecoder(charset);
  } catch {
    throw new AppError('UNSUPPORTED_MEDIA_TYPE', 'The server does not know the charset of Content-Type. Send UTF-8.');
  }
  if (Number(request.headers['content-length'] ?? 0) > MOST_BYTES) throw tooLarge('has');
  const received = await receiveBody(request, unfinished, () => tooLarge('has'));
  const encoding = (request.headers['content-encoding'] ?? '').trim().toLowerCase();
  const unpack = inflateOf(encoding, received);
  if (!unpack) return decoded(decoder, received);
  let unpacked: Buffer;
  try {
    unpacked = await unpack(received, { maxOutputLength: MOST_BYTES });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ERR_BUFFER_TOO_LARGE') throw tooLarge('inflates to');
    throw new AppError('BAD_USER_INPUT', `Content-Encoding is ${encoding}, but the body is not valid ${encoding}.`);
  }
  return decoded(decoder, unpacked);
}
