import type { IncomingMessage } from 'node:http';

/**
 * How long a browser remembers a preflight, in seconds: two hours, the maximum of Chromium. A page's last request must not
 * wait for a preflight.
 */
const MAX_AGE = '7200';

const EXPOSED = [
  'X-Exceptionless-ConfigVersion',
  'X-RateLimit-Limit',
  'X-RateLimit-Remaining',
  'X-Request-Id',
  'Retry-After',
  'RateLimit',
  'RateLimit-Policy',
  'Allow',
  'v',
].join(', ');

const isHeaderList = (text: string): boolean => text.length <= 1_000 && /^[\w\s,-]+$/.test(text);

/**
 * The headers that a browser needs on every answer, also on errors. Without them a page cannot distinguish a refusal from a
 * lost connection, and its client sends the same batch for ever.
 */
export function corsHeaders({ headers: { origin } }: IncomingMessage): Record<string, string> {
  return origin === undefined
    ? {}
    : { 'Access-Control-Allow-Origin': origin, 'Access-Control-Expose-Headers': EXPOSED, Vary: 'Origin' };
}

/**
 * The headers of the answer to a preflight. A preflight carries no credential: the server checks at the request itself
 * whether the origin may use the key. The answer allows the headers that the browser asks for, because browsers ask for
 * different ones (user-agent).
 */
export function preflightHeaders(request: IncomingMessage): Record<string, string> {
  const asked = request.headers['access-control-request-headers'] ?? '';
  return {
    ...corsHeaders(request),
    'Access-Control-Allow-Methods': 'GET, POST, PATCH',
    'Access-Control-Allow-Headers': isHeaderList(asked)
      ? asked
      : 'authorization, content-type, accept, user-agent, x-exceptionless-client',
    'Access-Control-Max-Age': MAX_AGE,
    Vary: 'Origin, Access-Control-Request-Headers',
  };
}
