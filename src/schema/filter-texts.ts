import type { TextCondition } from '../domain/filters.js';
import { AppError } from '../errors.js';

/**
 * The maximum number of characters of `search`, and of `dataContains` and `userDataContains` as JSON. Postgres compares them
 * with every row that the rest of the filter selects.
 */
const MOST = { search: 1_000, dataContains: 16_384, userDataContains: 16_384 };

/** Throws BAD_USER_INPUT with the name of the field if one of these is too long. `at`: the name of the filter. */
export function checkFilterTexts(
  {
    search,
    dataContains,
    userDataContains,
  }: {
    readonly search?: string | null;
    readonly dataContains?: object | null;
    readonly userDataContains?: object | null;
  },
  at = 'filter',
): void {
  const check = (name: keyof typeof MOST, length: number): void => {
    if (length <= MOST[name]) return;
    const field = `${at}.${name}`;
    const most = MOST[name].toLocaleString('en');
    throw new AppError('BAD_USER_INPUT', `${field} is too long; at most ${most} characters are allowed.`, { field });
  };
  if (search) check('search', search.length);
  if (dataContains) check('dataContains', JSON.stringify(dataContains).length);
  if (userDataContains) check('userDataContains', JSON.stringify(userDataContains).length);
}

/** Makes one input field for each condition of the table. `input` makes a field from its description. */
export const textInputs = <Name extends string, Input>(
  table: Readonly<Record<Name, TextCondition>>,
  input: (description: string) => Input,
): Record<Name, Input> =>
  Object.fromEntries(
    Object.entries<TextCondition>(table).map(([name, { description }]) => [name, input(description)]),
  ) as Record<Name, Input>;
