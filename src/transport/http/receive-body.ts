import type { IncomingMessage } from 'node:http';
import { AppError } from '../../errors.js';
import type { Unfinished } from './unfinished.js';

/** The maximum number of bytes of a body: 1,000 events of 8 kB. */
export const MOST_BYTES = 8 * 1024 * 1024;

export const bodyTooLarge = (): AppError =>
  new AppError(
    'PAYLOAD_TOO_LARGE',
    `The body is larger than ${MOST_BYTES} bytes. Send the events in several requests.`,
  );

/** Memory of each chunk in addition to its bytes: a body can arrive one byte at a time. */
const PIECE = 500;

/**
 * The whole body of a request. Its bytes count as unfinished until the body is complete. Rejects with `tooLarge` after more
 * than MOST_BYTES, and then does not read the rest; rejects with BAD_USER_INPUT if the body breaks off. The function does not
 * use `for await`, because leaving such a loop destroys the socket before the server can answer.
 */
export function receiveBody(
  request: IncomingMessage,
  unfinished: Unfinished,
  tooLarge: () => AppError,
): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = [];
    let size = 0;
    const part = unfinished.begin(() => request.destroy());
    request.on('data', (chunk: Buffer) => {
      size += chunk.length;
      if (size <= MOST_BYTES) {
        chunks.push(chunk);
        part.add(chunk.length + PIECE);
        return;
      }
      request.removeAllListeners('data');
      request.pause();
      part.done();
      reject(tooLarge());
    });
    request.once('end', () => {
      part.done();
      resolve(chunks.length === 1 ? chunks[0]! : Buffer.concat(chunks));
    });
    // The connection broke off: that is no fault of the server. The close follows.
    request.once('error', () => {});
    request.once('close', () => {
      part.done();
      // Every request emits close, and a new error costs a stack trace, so make one only if it is needed.
      if (!request.complete) reject(new AppError('BAD_USER_INPUT', 'The body broke off before its end.'));
    });
  });
}
