import { GraphQLError, type ExecutionResult } from 'graphql';
import { AppError, ERROR_STATUS, type ErrorCode } from '../../errors.js';
import type { Observer } from '../../observation.js';
import { RateLimitedError } from '../../services/access/rate-limits.js';
import { budgetHeaders } from '../http/admission.js';

/** The codes of the engine (Yoga), and our code for each. */
const ENGINE_CODES: Readonly<Record<string, ErrorCode>> = {
  BAD_REQUEST: 'BAD_USER_INPUT',
  // There is no operation with this name.
  OPERATION_RESOLUTION_FAILURE: 'BAD_USER_INPUT',
  REQUEST_ENTITY_TOO_LARGE: 'PAYLOAD_TOO_LARGE',
};

/** Our code for a status of the engine, whatever its code is. */
const STATUS_CODES: Readonly<Record<number, ErrorCode>> = { 405: 'METHOD_NOT_ALLOWED', 413: 'PAYLOAD_TOO_LARGE' };

/**
 * The most characters of a message of graphql-js. It repeats the wrong value, or the object around it, and so may be as long
 * as the request.
 */
const LONGEST = 1_000;

/** What the log shows if the id of the request is not known. */
const NO_ID = 'none';

function codeOf({ extensions }: GraphQLError, status: number | undefined): string {
  const own = STATUS_CODES[status ?? 400];
  if (own) return own;
  const code = extensions['code'];
  return typeof code === 'string' ? (ENGINE_CODES[code] ?? code) : 'BAD_USER_INPUT';
}

/** Whether GraphQL itself raised the error: the fault is in the caller's query, variables or request, not in the server. */
function isCallers(error: GraphQLError): boolean {
  const { originalError } = error;
  return !originalError || (originalError instanceof GraphQLError && isCallers(originalError));
}

/** The AppError that an error is, or that GraphQL has wrapped in it. */
export function appErrorIn(error: unknown): AppError | null {
  for (let current = error; current instanceof Error;) {
    if (current instanceof AppError) return current;
    current = current instanceof GraphQLError ? current.originalError : undefined;
  }
  return null;
}

/** The AppError as a GraphQL error. `extensions` has its code and details. */
function answer(error: AppError, from: GraphQLError | null): GraphQLError {
  const { code, details, message } = error;
  // A busy server also sets the HTTP status and Retry-After, so that proxies and clients know when to try again.
  const busy = code === 'OVERLOADED' || code === 'UNAVAILABLE' || error.status === 429;
  const budget = error instanceof RateLimitedError ? budgetHeaders(error.budget) : {};
  const headers = { 'Retry-After': String(details.retryAfter ?? 1), ...budget };
  const later = { http: { status: error.status, headers } };
  const allow = details.allow ? { headers: { Allow: details.allow.join(', ') } } : {};
  // An error with a path is of one field: the rest of the answer is valid, so the HTTP status stays 200.
  const whole = from?.path ? {} : { http: { status: error.status, spec: true, ...allow } };
  const http = busy ? later : whole;
  return new GraphQLError(message, {
    nodes: from?.nodes,
    path: from?.path,
    extensions: { code, ...details, ...http },
  });
}

/**
 * The error as the caller may see it. An AppError keeps its code and message. A mistake in the query keeps the message of
 * graphql-js. Any other error becomes INTERNAL with only the id of the request; the log has the error under this id.
 * `request` null: the id is not known. Then the message does not mention it, and the log has the error under "none".
 */
export function maskError(error: unknown, request: string | null, observe: Observer): GraphQLError {
  const known = appErrorIn(error);
  const from = error instanceof GraphQLError ? error : null;
  if (known) {
    if (known.cause) observe({ kind: 'request.failed', request: request ?? NO_ID, error: known.cause });
    return answer(known, from);
  }
  if (from && isCallers(from)) {
    const { http: given, code: engine } = from.extensions as { http?: { status?: number }; code?: string };
    const own = ENGINE_CODES[engine ?? ''];
    // Of a variable, for example: it has no path, and the answer no data.
    const ofRequest = given ?? (from.path ? undefined : { status: ERROR_STATUS.BAD_USER_INPUT, spec: true });
    // A request that never became an operation always gets an HTTP error status, whatever the client accepts.
    const http = own ? { ...given, status: given?.status ?? ERROR_STATUS[own], spec: false } : ofRequest;
    return new GraphQLError(from.message.slice(0, LONGEST), {
      nodes: from.nodes,
      source: from.source,
      positions: from.positions,
      path: from.path,
      // The extensions of the engine are left out: they can contain stack traces of parsers.
      extensions: { code: codeOf(from, http?.status), ...(http ? { http } : {}) },
    });
  }
  observe({ kind: 'request.failed', request: request ?? NO_ID, error: from?.originalError ?? error });
  const advice = request === null ? '' : ` Tell the operator this request id: ${request}`;
  return new GraphQLError(`Something went wrong on our side.${advice}`, {
    nodes: from?.nodes,
    path: from?.path,
    extensions: { code: 'INTERNAL', ...(request !== null && { request }) },
  });
}

/** The headers that an error gives its answer. */
export const headersOf = ({ extensions }: GraphQLError): Record<string, string> => extensions.http?.headers ?? {};

/** The error without `extensions.http`: a message on an open connection has no status and no headers. */
export function withoutHttp(error: GraphQLError): GraphQLError {
  const { http, ...extensions } = error.extensions;
  if (http === undefined) return error;
  const { message, nodes, source, positions, path } = error;
  return new GraphQLError(message, { nodes, source, positions, path, extensions });
}

/** The result with each of its errors changed; a result without errors as it is. */
export const mapErrors = (result: ExecutionResult, change: (error: GraphQLError) => GraphQLError): ExecutionResult =>
  result.errors ? { ...result, errors: result.errors.map(change) } : result;
