import type { ServerResponse } from 'node:http';
import type { Caller } from '../../domain/access.js';
import type { Sender } from '../../domain/sender.js';
import { AppError } from '../../errors.js';
import { RATE_WINDOW, WRONG_KEY, type Budget, type RateLimits } from '../../services/access/rate-limits.js';

/** The headers of answers and of errors that pages of other origins may read. */
export const EXPOSED = ['X-Request-Id', 'Retry-After', 'RateLimit', 'RateLimit-Policy', 'Allow'] as const;

/** The headers that tell what is left of a rate limit (draft-ietf-httpapi-ratelimit-headers). */
export const budgetHeaders = ({ name, limit, remaining, reset }: Budget): Record<string, string> => ({
  'RateLimit-Policy': `"${name}";q=${limit};w=${RATE_WINDOW}`,
  RateLimit: `"${name}";r=${remaining};t=${reset}`,
});

/** Returns a function that writes what is left of a rate limit into the headers of an answer. */
export const tellBudget =
  (response: ServerResponse) =>
  (budget: Budget | null): void => {
    if (!budget || response.headersSent) return;
    for (const [name, value] of Object.entries(budgetHeaders(budget))) response.setHeader(name, value);
  };

/**
 * Authenticates a request and returns its caller. The server has already charged the request to its address; `budget` is what
 * was left after that. A wrong key costs the address more points. If authentication fails, `tell` gets the limit of the
 * address; for other requests the transport tells the limit of their key. Throws what `authenticate` throws.
 */
export async function admit(
  rateLimits: RateLimits,
  { ipAddress }: Sender,
  budget: Budget | null,
  authenticate: () => Promise<Caller>,
  tell: (budget: Budget | null) => void,
): Promise<Caller> {
  try {
    return await authenticate();
  } catch (error) {
    const isWrong = error instanceof AppError && error.code === 'UNAUTHENTICATED';
    tell(isWrong ? await rateLimits.chargeAddress(ipAddress, WRONG_KEY) : budget);
    throw error;
  }
}
