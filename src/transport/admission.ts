import type { ServerResponse } from 'node:http';
import type { Caller } from '../domain/access.js';
import type { Sender } from '../domain/sender.js';
import { AppError } from '../errors.js';
import { RATE_WINDOW, WRONG_KEY, type Budget, type RateLimits } from '../services/rate-limits.js';

/** Says on an answer what is left of a limit, in the standard headers (draft-ietf-httpapi-ratelimit-headers). */
export const tellBudget =
  (response: ServerResponse) =>
  (budget: Budget | null): void => {
    if (!budget || response.headersSent) return;
    response.setHeader('RateLimit-Policy', `"${budget.name}";q=${budget.limit};w=${RATE_WINDOW}`);
    response.setHeader('RateLimit', `"${budget.name}";r=${budget.remaining};t=${budget.reset}`);
  };

/**
 * Lets a request in: takes it off its address's limit before its key is looked at. A wrong key costs more. What is
 * left to the address is told to those who are not let in; the others hear of their key's limit.
 */
export async function admit(
  rateLimits: RateLimits,
  { ipAddress }: Sender,
  authenticate: () => Promise<Caller>,
  tell: (budget: Budget | null) => void,
): Promise<Caller> {
  const budget = await rateLimits.chargeAddress(ipAddress, 1);
  try {
    return await authenticate();
  } catch (error) {
    const isWrong = error instanceof AppError && error.code === 'UNAUTHENTICATED';
    tell(isWrong ? await rateLimits.chargeAddress(ipAddress, WRONG_KEY) : budget);
    throw error;
  }
}
