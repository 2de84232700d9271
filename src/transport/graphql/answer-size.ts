import type { ExecutionResult } from 'graphql';
import { AppError } from '../../errors.js';

/** The approximate maximum number of characters of an answer as JSON. To write that many takes about 100 ms. */
const MOST_ANSWERED = 16 * 1024 * 1024;

/** Characters of a value that is no text, list or object, with its comma. */
const PLAIN = 5;
/** Characters of the quotes of a text, or the brackets of a list or an object, with the comma. */
const AROUND = 3;

/**
 * Throws ANSWER_TOO_LARGE if an answer has more than `most` characters as JSON. A value that the store read once can be in the
 * answer many times, once for each field and row that leads to it. The function stops counting at the limit. It does not
 * recurse, because JSON can be nested to any depth.
 */
export function checkAnswerSize({ data }: ExecutionResult, most: number = MOST_ANSWERED): void {
  let size = 0;
  const open: unknown[] = [data];
  while (open.length > 0) {
    const next = open.pop();
    if (typeof next === 'string') size += next.length + AROUND;
    else if (typeof next !== 'object' || next === null) size += PLAIN;
    else if (Array.isArray(next)) {
      size += AROUND;
      for (const value of next) open.push(value);
    } else {
      size += AROUND;
      for (const key in next) {
        size += key.length + AROUND;
        open.push((next as Record<string, unknown>)[key]);
      }
    }
    // Each value that waits in `open` takes at least one character.
    if (size + open.length > most) {
      throw new AppError(
        'ANSWER_TOO_LARGE',
        `The answer would have more than ${most.toLocaleString('en')} characters. Ask for fewer rows or fewer fields.`,
      );
    }
  }
}
