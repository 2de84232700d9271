import type { IncomingMessage } from 'node:http';

/** The credential in an Authorization header or what stands for it: "Bearer x" or x. */
function credentialIn(authorization: unknown): string | null {
  if (typeof authorization !== 'string') return null;
  const credential = authorization.replace(/^bearer\s+/i, '').trim();
  return credential === '' ? null : credential;
}

/** The credential of a request: its Authorization header, else, for EventSource in browsers, `?access_token=`. */
export function credentialOf(request: IncomingMessage, url: URL): string | null {
  return credentialIn(request.headers.authorization) ?? credentialIn(url.searchParams.get('access_token'));
}

/** The credential in a WebSocket's connection parameters: `authorization` or `Authorization`, there or in their `headers`. */
export function credentialInParams(params: unknown): string | null {
  if (typeof params !== 'object' || params === null) return null;
  const { authorization, Authorization, headers } = params as Record<string, unknown>;
  const own = credentialIn(authorization) ?? credentialIn(Authorization);
  if (own || typeof headers !== 'object' || headers === null) return own;
  const within = headers as Record<string, unknown>;
  return credentialIn(within['authorization']) ?? credentialIn(within['Authorization']);
}
