import type { IncomingMessage } from 'node:http';
import { AppError } from '../errors.js';
import { MOST_BYTES } from './graphql.js';

/**
 * The whole body of a request; rejects with `tooLarge` beyond MOST_BYTES, when the rest is not read, and with
 * BAD_USER_INPUT where it breaks off. Not `for await`: leaving such a loop destroys the socket, and with it the answer.
 */
export function receiveBody(request: IncomingMessage, tooLarge: () => AppError): Promise<Buffer> {
  return new Promise((resolve, reject) => {
    const chunks: Buffer[] = [];
    let size = 0;
    request.on('data', (chunk: Buffer) => {
      size += chunk.length;
      if (size <= MOST_BYTES) {
        chunks.push(chunk);
        return;
      }
      request.removeAllListeners('data');
      request.pause();
      reject(tooLarge());
    });
    request.once('end', () => resolve(chunks.length === 1 ? chunks[0]! : Buffer.concat(chunks)));
    request.once('error', reject);
    request.once('close', () => {
      // Every request closes, and an error costs a stack: only where it is meant.
      if (!request.complete) reject(new AppError('BAD_USER_INPUT', 'The body ended before its end.'));
    });
  });
}
