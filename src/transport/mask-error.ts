import { GraphQLError } from 'graphql';
import { AppError, ERROR_STATUS, type ErrorCode } from '../errors.js';
import type { Observer } from '../observation.js';

/** The engine's own codes, by ours. */
const ENGINE_CODES: Readonly<Record<string, ErrorCode>> = {
  BAD_REQUEST: 'BAD_USER_INPUT',
  REQUEST_ENTITY_TOO_LARGE: 'PAYLOAD_TOO_LARGE',
};

function codeOf({ extensions }: GraphQLError, status: number | undefined): string {
  const code = extensions['code'];
  if (typeof code === 'string') return ENGINE_CODES[code] ?? code;
  return status === 413 ? 'PAYLOAD_TOO_LARGE' : 'BAD_USER_INPUT';
}

/** Raised by GraphQL itself: the query, its variables or the request are wrong, not we. */
function isCallers(error: GraphQLError): boolean {
  const { originalError } = error;
  return !originalError || (originalError instanceof GraphQLError && isCallers(originalError));
}

function find(error: unknown): AppError | null {
  for (let current = error; current instanceof Error;) {
    if (current instanceof AppError) return current;
    current = current instanceof GraphQLError ? current.originalError : undefined;
  }
  return null;
}

/** The AppError as GraphQL says it: the code and what helps in `extensions`. */
function answer(error: AppError, from: GraphQLError | null): GraphQLError {
  const { code, details, message } = error;
  // A server that cannot just now says so to HTTP too, so that proxies and clients know when to come back.
  const busy = code === 'OVERLOADED' || code === 'UNAVAILABLE' || code === 'RATE_LIMITED';
  const later = { http: { status: error.status, headers: { 'Retry-After': String(details.retryAfter ?? 1) } } };
  // An error of one field leaves the rest of the answer good.
  const whole = from?.path ? {} : { http: { status: error.status, spec: true } };
  const http = busy ? later : whole;
  return new GraphQLError(message, {
    nodes: from?.nodes,
    path: from?.path,
    extensions: { code, ...details, ...http },
  });
}

/**
 * What a caller hears of an error: an AppError's code and sentence; a mistake in the query as graphql-js
 * words it; of anything else nothing but the request's id, under which the log has the rest.
 */
export function maskError(error: unknown, request: string, observe: Observer): GraphQLError {
  const known = find(error);
  const from = error instanceof GraphQLError ? error : null;
  if (known) {
    if (known.cause) observe({ kind: 'request.failed', request, error: known.cause });
    return answer(known, from);
  }
  if (from && isCallers(from)) {
    const { http: given, code: engine } = from.extensions as { http?: { status?: number }; code?: string };
    const own = ENGINE_CODES[engine ?? ''];
    // What never became an operation is a matter of HTTP, whatever the client accepts.
    const http = own ? { ...given, status: given?.status ?? ERROR_STATUS[own], spec: false } : given;
    return new GraphQLError(from.message, {
      nodes: from.nodes,
      source: from.source,
      positions: from.positions,
      path: from.path,
      // What the engine adds of its own (stack traces of parsers among it) stays here.
      extensions: { code: codeOf(from, http?.status), ...(http ? { http } : {}) },
    });
  }
  observe({ kind: 'request.failed', request, error: from?.originalError ?? error });
  return new GraphQLError(`Something went wrong on our side. Tell the operator this request id: ${request}`, {
    nodes: from?.nodes,
    path: from?.path,
    extensions: { code: 'INTERNAL', request },
  });
}
