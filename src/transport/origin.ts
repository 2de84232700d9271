import type { IncomingMessage } from 'node:http';
import type { Caller } from '../domain/access.js';
import { isAllowedOrigin } from '../domain/origin.js';
import { AppError } from '../errors.js';

/** A page of this server's own, at whatever name it is reached by. */
const isOwn = (origin: string, host: string | undefined): boolean =>
  host !== undefined && URL.canParse(origin) && new URL(origin).host === host;

/**
 * Keeps a project's keys to the pages of the origins that it allows (settings.allowedOrigins). Throws FORBIDDEN.
 * Browsers cannot lie about their page's origin; whoever is no browser needs a key that is no page's to know.
 */
export function checkOrigin(caller: Caller, { headers: { origin, host } }: IncomingMessage): void {
  if (caller.kind === 'operator' || origin === undefined || isOwn(origin, host)) return;
  if (isAllowedOrigin(origin, caller.settings.allowedOrigins)) return;
  throw new AppError('FORBIDDEN', `Pages of ${origin.slice(0, 200)} may not use this key: settings.allowedOrigins.`);
}
