import { createHash } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { acceptedCodings } from './codings.js';

/** A file that is the same for every client. Memory holds it once, as it is sent, however many clients read it. */
export interface StaticFile {
  readonly headers: Readonly<Record<string, string>>;
  readonly plain: Buffer;
  /** The compressed forms by content coding, the smallest first. */
  readonly packed: ReadonlyMap<string, Buffer>;
}

/**
 * Adds the headers that every file has. `headers`: the content type, the cache control and, for a page, its
 * Content-Security-Policy.
 */
export function staticFile(
  plain: Buffer,
  packed: ReadonlyMap<string, Buffer>,
  headers: Readonly<Record<string, string>>,
): StaticFile {
  return {
    headers: {
      ...headers,
      ETag: `"${createHash('sha256').update(plain).digest('base64url').slice(0, 22)}"`,
      Vary: 'Accept-Encoding',
      'X-Content-Type-Options': 'nosniff',
      'Referrer-Policy': 'no-referrer',
      'Cross-Origin-Opener-Policy': 'same-origin',
    },
    plain,
    packed,
  };
}

/**
 * Answers a GET or HEAD with the file in the smallest form that the client accepts, or with 304 if the client already has
 * the file.
 */
export function answerFile(request: IncomingMessage, response: ServerResponse, file: StaticFile, status = 200): void {
  if (status === 200 && request.headers['if-none-match'] === file.headers['ETag']) {
    response.writeHead(304, file.headers);
    response.end();
    return;
  }
  const takes = acceptedCodings(request.headers['accept-encoding']);
  const coding = [...file.packed.keys()].find((one) => takes.has(one));
  const body = coding ? file.packed.get(coding)! : file.plain;
  response.writeHead(status, {
    ...file.headers,
    'Content-Length': body.length,
    ...(coding ? { 'Content-Encoding': coding } : {}),
  });
  response.end(request.method === 'HEAD' ? undefined : body);
}
