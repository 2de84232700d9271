import type { IncomingMessage } from 'node:http';

/** Passwords of Basic credentials whose user name is the key. */
const KEY_IS_USER = new Set(['', 'x-oauth-basic']);

function fromBasic(encoded: string): string | null {
  const pair = Buffer.from(encoded, 'base64').toString('utf8');
  const colon = pair.indexOf(':');
  if (colon === -1) return null;
  const [user, password] = [pair.slice(0, colon), pair.slice(colon + 1)];
  if (KEY_IS_USER.has(password)) return user || null;
  return user.toLowerCase() === 'client' ? password : null;
}

function fromHeader(authorization: string): string | null {
  const [, scheme, rest] = /^(\S+)\s+(.*)$/.exec(authorization.trim()) ?? [];
  if (!scheme || !rest) return null;
  switch (scheme.toLowerCase()) {
    case 'bearer':
    case 'token':
      return rest.trim() || null;
    case 'basic':
      return fromBasic(rest.trim());
    default:
      return null;
  }
}

/** Query parameters, in lower case, that can hold a credential. The first one that is present counts. */
export const CREDENTIAL_PARAMETERS = ['access_token', 'api_key', 'apikey'] as const;

/**
 * The credential of a request, as Exceptionless clients send it: an Authorization header with Bearer, Token or Basic, else a
 * query parameter. Null if there is none.
 */
export function clientCredentialOf(request: IncomingMessage, query: URLSearchParams): string | null {
  const { authorization } = request.headers;
  const given = authorization === undefined ? null : fromHeader(authorization);
  if (given !== null) return given;
  for (const wanted of CREDENTIAL_PARAMETERS) {
    for (const [name, value] of query) if (name.toLowerCase() === wanted && value !== '') return value;
  }
  return null;
}
