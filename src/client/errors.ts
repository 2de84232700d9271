/** An error as GraphQL answers it. */
interface GraphQLErrorLike {
  readonly message: string;
  readonly extensions?: { readonly code?: string; readonly retryAfter?: number };
}

/**
 * Everything that can go wrong, with a code that does not change between versions. Codes of the server are in its README
 * (UNAUTHENTICATED, RATE_LIMITED, …). The client itself has five: `NETWORK` (no answer, or one that is not the server's),
 * `TOKEN` (the function `token` failed), `ABORTED` (a query was broken off), `QUEUE_FULL` (events were dropped, because too
 * many waited) and `BAD_EVENT` (something in an event, or of a user, cannot be written as JSON; the rest is sent).
 */
export class FootstepsError extends Error {
  override readonly name = 'FootstepsError';
  constructor(
    readonly code: string,
    message: string,
    /** The HTTP status of the answer; 0 if there was none. */
    readonly status: number = 0,
    /** The seconds to wait before another try, if the server said so. */
    readonly retryAfter: number = 0,
    /** All errors of the answer. */
    readonly errors: readonly GraphQLErrorLike[] = [],
  ) {
    super(message);
  }
}

/** The error in a GraphQL answer. `status`: its HTTP status. `retryAfter`: seconds, from its header. */
export function errorOf(errors: readonly GraphQLErrorLike[], status: number, retryAfter = 0): FootstepsError {
  const [{ message, extensions = {} }] = errors as [GraphQLErrorLike];
  const wait = retryAfter || extensions.retryAfter || 0;
  return new FootstepsError(extensions.code ?? 'INTERNAL', message, status, wait, errors);
}

/** Whether the same may succeed later: the network or the server is at fault, or a limit of the moment. */
export const isPassing = ({ code, status }: FootstepsError): boolean =>
  status === 0 ||
  status === 429 ||
  status >= 500 ||
  /^(UNAVAILABLE|OVERLOADED|INTERNAL|RATE_LIMITED|TOO_MANY_SUBSCRIPTIONS)$/.test(code);

/** Whether the credential, or the origin of the page, is not allowed to do this. */
export const isRefused = ({ code, status }: FootstepsError): boolean =>
  code === 'UNAUTHENTICATED' || code === 'FORBIDDEN' || status === 401 || status === 403;

/** Any error as a FootstepsError; one that is none gets this code. */
export const asFootstepsError = (error: unknown, code = 'INTERNAL'): FootstepsError =>
  error instanceof FootstepsError ? error : new FootstepsError(code, String(error));
