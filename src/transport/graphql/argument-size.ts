import { getNullableType, isInputObjectType, isListType, type GraphQLInputType } from 'graphql';
import { AppError } from '../../errors.js';
import { MOST_IN_LIST } from '../../schema/list-limits.js';

/** This many characters of a text count as one value. */
const TEXT = 1_000;

/**
 * The size of the values within a JSON value or a text. Stops above `most`. Does not recurse: JSON can be nested to any
 * depth.
 */
function sizeInside(value: unknown, most: number): number {
  let size = 0;
  const open: unknown[] = [value];
  while (open.length > 0 && size <= most) {
    const next = open.pop();
    if (typeof next === 'string') size += Math.floor(next.length / TEXT);
    if (typeof next !== 'object' || next === null) continue;
    for (const key in next) {
      open.push((next as Record<string, unknown>)[key]);
      size += 1;
      if (size > most) break;
    }
  }
  return size;
}

/**
 * The size of an argument: 1 for each value in a list or in JSON, and 1 for each thousand characters of a text. Counting stops
 * above `most`. `value` is the value as the client sent it, `path` is its name for error messages. In a list of input objects
 * (events, settings) each object counts as 1, because the service checks what is in them. Throws BAD_USER_INPUT if any other
 * list has more than 1,000 values.
 */
export function argumentSize(type: GraphQLInputType, value: unknown, path: string, most: number): number {
  if (value === null || value === undefined) return 0;
  const given = getNullableType(type);
  if (isListType(given)) {
    const values: readonly unknown[] = Array.isArray(value) ? value : [value];
    if (isInputObjectType(getNullableType(given.ofType))) return values.length;
    if (values.length > MOST_IN_LIST) {
      throw new AppError(
        'BAD_USER_INPUT',
        `${path} has ${values.length.toLocaleString('en')} values; at most ${MOST_IN_LIST.toLocaleString('en')} are allowed.`,
        { field: path },
      );
    }
    return sizeInside(values, most);
  }
  if (!isInputObjectType(given)) return sizeInside(value, most);
  let size = 0;
  for (const field of typeof value === 'object' ? Object.values(given.getFields()) : []) {
    size += argumentSize(
      field.type,
      (value as Record<string, unknown>)[field.name],
      `${path}.${field.name}`,
      most - size,
    );
  }
  return size;
}
