/**
 * What goes wrong, as the caller may hear of it: a stable code and a sentence. Anything that is not an
 * AppError is ours alone: the caller hears INTERNAL, the log hears the rest.
 */

/** Every code a whole request can fail with, and the HTTP status it carries where HTTP has one. */
export const ERROR_STATUS = {
  UNAUTHENTICATED: 401,
  FORBIDDEN: 403,
  NOT_FOUND: 404,
  LAST_MANAGE_KEY: 409,
  METHOD_NOT_ALLOWED: 405,
  LENGTH_REQUIRED: 411,
  BAD_USER_INPUT: 400,
  INVALID_CURSOR: 400,
  TOO_MANY_EVENTS: 400,
  TOO_MANY_INTERVALS: 400,
  PAYLOAD_TOO_LARGE: 413,
  UNSUPPORTED_MEDIA_TYPE: 415,
  UNPROCESSABLE: 422,
  GRAPHQL_PARSE_FAILED: 400,
  GRAPHQL_VALIDATION_FAILED: 400,
  QUERY_TOO_DEEP: 400,
  QUERY_TOO_COMPLEX: 400,
  TOO_MANY_ALIASES: 400,
  RATE_LIMITED: 429,
  OVERLOADED: 503,
  UNAVAILABLE: 503,
  INTERNAL: 500,
} as const;

export type ErrorCode = keyof typeof ERROR_STATUS;

/** Facts that help the caller to do better; they are sent along in `extensions`. */
export interface ErrorDetails {
  /** The argument or input field at fault, as a path: `first`, `input.sessionKey`. */
  field?: string;
  /** The scopes of which one would have been enough. */
  requiredScopes?: readonly string[];
  /**
   * What the code alone does not say. EXPIRED: the credential was good and its time is over, so a new one helps. GAP: a stream
   * that went well has ended, since something may have been missed.
   */
  reason?: 'EXPIRED' | 'GAP';
  /** Seconds after which another try makes sense. */
  retryAfter?: number;
}

export class AppError extends Error {
  override readonly name = 'AppError';
  constructor(
    readonly code: ErrorCode,
    message: string,
    readonly details: ErrorDetails = {},
    options?: ErrorOptions,
  ) {
    super(message, options);
  }

  get status(): number {
    return ERROR_STATUS[this.code];
  }
}
