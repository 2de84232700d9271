import { AsyncLocalStorage } from 'node:async_hooks';
import { randomUUID } from 'node:crypto';
import type { IncomingMessage } from 'node:http';

const current = new AsyncLocalStorage<string>();

/** Runs `work` as part of a request: every line logged of it bears the request's id. */
export const withRequestId = <Result>(request: string, work: () => Result): Result => current.run(request, work);

export const currentRequestId = (): string => current.getStore() ?? 'none';

/** The caller's own X-Request-Id where it is a short plain word, else a new one. */
export function requestIdOf({ headers }: IncomingMessage): string {
  const given = headers['x-request-id'];
  return typeof given === 'string' && /^[\w.:-]{1,100}$/.test(given) ? given : randomUUID();
}
