import type { IncomingMessage } from 'node:http';
import { AppError } from '../../errors.js';

/** The methods of what can only be read. */
export const READING: readonly string[] = ['GET', 'HEAD'];

/** Throws METHOD_NOT_ALLOWED, which names the methods that are, if the path of a request takes others. */
export function checkMethod({ method = '' }: IncomingMessage, allow: readonly string[]): void {
  if (allow.includes(method)) return;
  throw new AppError('METHOD_NOT_ALLOWED', `This path takes only ${allow.join(', ')}.`, { allow });
}
