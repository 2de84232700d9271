import type { IncomingMessage } from 'node:http';

/** The credential in an Authorization header, or in the `authorization` of a WebSocket's connection parameters: "Bearer x" or x. */
export function credentialIn(authorization: unknown): string | null {
  if (typeof authorization !== 'string') return null;
  const credential = authorization.replace(/^bearer\s+/i, '').trim();
  return credential === '' ? null : credential;
}

/** The credential of a request: its Authorization header, else, for EventSource in browsers, `?access_token=`. */
export function credentialOf(request: IncomingMessage, url: URL): string | null {
  return credentialIn(request.headers.authorization) ?? credentialIn(url.searchParams.get('access_token'));
}
