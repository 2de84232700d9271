import type { ServerResponse } from 'node:http';
import type { Caller } from '../../domain/access.js';
import type { Sender } from '../../domain/sender.js';
import { AppError } from '../../errors.js';
import {
  RATE_WINDOW,
  RateLimitedError,
  WRONG_KEY,
  type Budget,
  type RateLimits,
} from '../../services/access/rate-limits.js';

/** The headers that tell what is left of a rate limit (draft-ietf-httpapi-ratelimit-headers). */
const budgetHeaders = ({ name, limit, remaining, reset }: Budget): Record<string, string> => ({
  'RateLimit-Policy': `"${name}";q=${limit};w=${RATE_WINDOW}`,
  RateLimit: `"${name}";r=${remaining};t=${reset}`,
});

/** The same headers for an error; none if it is not of a limit. */
export const refusalHeaders = (error: unknown): Record<string, string> =>
  error instanceof RateLimitedError ? budgetHeaders(error.budget) : {};

function setHeaders(response: ServerResponse, headers: Record<string, string>): void {
  if (response.headersSent) return;
  for (const [name, value] of Object.entries(headers)) response.setHeader(name, value);
}

/** Returns a function that writes what is left of a rate limit into the headers of an answer. */
export const tellBudget =
  (response: ServerResponse) =>
  (budget: Budget | null): void => {
    if (budget) setHeaders(response, budgetHeaders(budget));
  };

/** Charges points, and writes what is left into the headers of the answer, also if the charge is refused. */
export async function chargeAndTell(response: ServerResponse, charge: Promise<Budget | null>): Promise<void> {
  try {
    tellBudget(response)(await charge);
  } catch (error) {
    setHeaders(response, refusalHeaders(error));
    throw error;
  }
}

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
