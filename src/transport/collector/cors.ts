import type { IncomingMessage } from 'node:http';

/** Two hours, the longest that Chromium remembers: a page's last words must not wait for a preflight. Seconds. */
const MAX_AGE = '7200';

const EXPOSED = [
  'X-Exceptionless-ConfigVersion',
  'X-RateLimit-Limit',
  'X-RateLimit-Remaining',
  'X-Request-Id',
  'Retry-After',
  'v',
].join(', ');

const isHeaderList = (text: string): boolean => text.length <= 1_000 && /^[\w\s,-]+$/.test(text);

/**
 * What a browser needs on every answer, errors too: without it a page cannot tell a refusal from a lost
 * connection, and its client sends the same batch for ever.
 */
export function corsHeaders({ headers: { origin } }: IncomingMessage): Record<string, string> {
  return origin === undefined
    ? {}
    : { 'Access-Control-Allow-Origin': origin, 'Access-Control-Expose-Headers': EXPOSED, Vary: 'Origin' };
}

/**
 * The answer to a preflight, which bears no credential: whether this origin may use the key is decided when
 * the request itself comes. Headers are granted as asked for: browsers differ in which they ask (user-agent).
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
