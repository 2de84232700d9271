import { wellFormed } from '../../domain/well-formed.js';
import { AppError } from '../../errors.js';

/**
 * Checks the name of a project or a key and returns it trimmed. Throws BAD_USER_INPUT unless it then has 1 to 100
 * characters.
 */
export function checkName(name: string): string {
  const value = wellFormed(name.trim());
  if (value.length >= 1 && value.length <= 100) return value;
  throw new AppError('BAD_USER_INPUT', 'name must have 1 to 100 characters.', { field: 'name' });
}
