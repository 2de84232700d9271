import { readFileSync } from 'node:fs';
import { buildSchema, getNamedType, isEnumType, isInputObjectType, isListType, getNullableType } from 'graphql';
import { expect, test } from 'vitest';

test('a list of texts or ids states its limit; a list of an enum does not', () => {
  const schema = buildSchema(readFileSync(new URL('../../schema.graphql', import.meta.url), 'utf8'));
  const lists = Object.values(schema.getTypeMap())
    .filter(isInputObjectType)
    .flatMap((type) => Object.values(type.getFields()).map((field) => ({ name: `${type.name}.${field.name}`, field })))
    .filter(({ field }) => isListType(getNullableType(field.type)));
  const tells = (isEnum: boolean): boolean[] =>
    lists
      .filter(({ field }) => isEnumType(getNamedType(field.type)) === isEnum)
      .map(({ field }) => /At most 1,000\b/.test(field.description ?? ''));
  expect(tells(true)).toContain(false);
  expect(tells(true)).not.toContain(true);
  expect(tells(false)).toContain(true);
});
