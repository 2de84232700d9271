import type { IncomingMessage } from 'node:http';

/** The credential in an Authorization header, or in a value that takes its place: "Bearer x" or x. Null if there is none. */
function credentialIn(authorization: unknown): string | null {
  if (typeof authorization !== 'string') return null;
  const credential = authorization.replace(/^bearer(\s+|$)/i, '').trim();
  return credential === '' ? null : credential;
}

/**
 * The credential of a request: its Authorization header, else `?access_token=`, for EventSource in browsers. Null if there
 * is none.
 */
export function credentialOf(request: IncomingMessage, url: URL): string | null {
  return credentialIn(request.headers.authorization) ?? credentialIn(url.searchParams.get('access_token'));
}

/**
 * The credential in a WebSocket's connection parameters: `authorization` or `Authorization`, in them or in their `headers`.
 * Null if there is none.
 */
export function credentialInParams(params: unknown): string | null {
  if (typeof params !== 'object' || params === null) return null;
  const { authorization, Authorization, headers } = params as Record<string, unknown>;
  const own = credentialIn(authorization) ?? credentialIn(Authorization);
  if (own || typeof headers !== 'object' || headers === null) return own;
  const within = headers as Record<string, unknown>;
  return credentialIn(within['authorization']) ?? credentialIn(within['Authorization']);
}
