/**
 * Errors that a caller may see: a stable code and a sentence. Any other error is a fault of the server: the caller gets only
 * INTERNAL, and the log gets the error.
 */

/** The codes with which a whole request can fail, and the HTTP status of each. */
export const ERROR_STATUS = {
  UNAUTHENTICATED: 401,
  FORBIDDEN: 403,
  NOT_FOUND: 404,
  LAST_MANAGE_KEY: 409,
  TOO_MANY_KEYS: 409,
  TOO_MANY_WEBHOOKS: 409,
  CONFLICT: 409,
  METHOD_NOT_ALLOWED: 405,
  LENGTH_REQUIRED: 411,
  BAD_USER_INPUT: 400,
  INVALID_CURSOR: 400,
  CURSOR_EXPIRED: 410,
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
  ANSWER_TOO_LARGE: 400,
  TOO_MANY_SUBSCRIPTIONS: 429,
  RATE_LIMITED: 429,
  OVERLOADED: 503,
  UNAVAILABLE: 503,
  INTERNAL: 500,
} as const;

export type ErrorCode = keyof typeof ERROR_STATUS;

/** Facts that help the caller to correct the request. The answer has them in `extensions`. */
export interface ErrorDetails {
  /** The path of the wrong argument or input field: `first`, `input.sessionKey`. */
  field?: string;
  /** The scopes of which one would be enough. */
  requiredScopes?: readonly string[];
  /**
   * A more exact reason than the code. EXPIRED: the token was valid but has expired, so a new one helps. GAP: a stream has ended
   * because the server may have missed something.
   */
  reason?: 'EXPIRED' | 'GAP';
  /** With CURSOR_EXPIRED: the cursor before the oldest change that is kept. */
  oldestCursor?: string;
  /** With METHOD_NOT_ALLOWED: the methods that the path takes. */
  allow?: readonly string[];
  /** The number of seconds after which the caller should try again. */
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
