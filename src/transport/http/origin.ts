import type { IncomingMessage } from 'node:http';
import type { Caller } from '../../domain/access.js';
import { isAllowedOrigin } from '../../domain/origin.js';
import { AppError } from '../../errors.js';

/** Whether the origin is that of a page of this server, under the host name that the request used. */
const isOwn = (origin: string, host: string | undefined): boolean =>
  host !== undefined && URL.canParse(origin) && new URL(origin).host === host;

/**
 * Throws FORBIDDEN if the request comes from a page whose origin the project does not allow (settings.allowedOrigins). A
 * browser always sends the true origin of its page. Other programs can send any origin or none: against them only a key
 * that no page contains helps.
 */
export function checkOrigin(caller: Caller, { headers: { origin, host } }: IncomingMessage): void {
  if (caller.kind === 'operator' || origin === undefined || isOwn(origin, host)) return;
  if (isAllowedOrigin(origin, caller.settings.allowedOrigins)) return;
  throw new AppError(
    'FORBIDDEN',
    `Pages of ${origin.slice(0, 200)} may not use this key. settings.allowedOrigins of the project does not allow the origin.`,
  );
}
