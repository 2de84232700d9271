import type { ServerResponse } from 'node:http';
import type { Caller } from '../../domain/access.js';
import type { Sender } from '../../domain/sender.js';
import { AppError } from '../../errors.js';
import { RATE_WINDOW, WRONG_KEY, type Budget, type RateLimits } from '../../services/access/rate-limits.js';

/** Writes what is left of a rate limit into the headers of an answer (draft-ietf-httpapi-ratelimit-headers). */
export const tellBudget =
  (response: ServerResponse) =>
  (budget: Budget | null): void => {
    if (!budget || response.headersSent) return;
    response.setHeader('RateLimit-Policy', `"${budget.name}";q=${budget.limit};w=${RATE_WINDOW}`);
    response.setHeader('RateLimit', `"${budget.name}";r=${budget.remaining};t=${budget.reset}`);
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
