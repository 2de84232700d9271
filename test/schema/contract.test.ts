import { readFileSync } from 'node:fs';
import {
  astFromValue,
  buildSchema,
  isEnumType,
  isInputObjectType,
  isInterfaceType,
  isIntrospectionType,
  isObjectType,
  isScalarType,
  lexicographicSortSchema,
  print,
  printSchema,
  type GraphQLArgument,
  type GraphQLInputField,
  type GraphQLNamedType,
} from 'graphql';
import { expect, test } from 'vitest';
import { schema } from '../../src/schema/schema.js';

const contract = buildSchema(readFileSync(new URL('./contract.graphql', import.meta.url), 'utf8'));

const defaultOf = ({ type, defaultValue }: GraphQLArgument | GraphQLInputField): string =>
  defaultValue === undefined ? '' : ` = ${print(astFromValue(defaultValue, type)!)}`;

/** Everything a type promises, a line each: names, types with their nullability, arguments, defaults, values, interfaces. */
function promisesOf(type: GraphQLNamedType): string[] {
  const { name } = type;
  if (isScalarType(type)) return [`scalar ${name}`];
  if (isEnumType(type)) return type.getValues().map((value) => `enum ${name}.${value.name}`);
  if (isInputObjectType(type)) {
    return Object.values(type.getFields()).map(
      (field) => `input ${name}.${field.name}: ${String(field.type)}${defaultOf(field)}`,
    );
  }
  if (!isObjectType(type) && !isInterfaceType(type)) return [`${name} of another kind`];
  return [
    ...type.getInterfaces().map((one) => `${name} implements ${one.name}`),
    ...Object.values(type.getFields()).flatMap((field) => [
      `${name}.${field.name}: ${String(field.type)}`,
      ...field.args.map((arg) => `${name}.${field.name}(${arg.name}: ${String(arg.type)}${defaultOf(arg)})`),
    ]),
  ];
}

test('the schema holds everything in the contract: types, nullability, arguments, defaults', () => {
  const ours = new Set(Object.values(schema.getTypeMap()).flatMap(promisesOf));
  const promised = Object.values(contract.getTypeMap())
    .filter((type) => !isIntrospectionType(type))
    .flatMap(promisesOf);
  expect(promised.length).toBeGreaterThan(250);
  expect(promised.filter((promise) => !ours.has(promise))).toEqual([]);
});

test('no argument is required beyond the contract', () => {
  for (const type of Object.values(contract.getTypeMap())) {
    if (isIntrospectionType(type) || (!isObjectType(type) && !isInputObjectType(type))) continue;
    const own = schema.getType(type.name);
    if (isInputObjectType(own)) {
      const extra = Object.values(own.getFields()).filter((field) => !(field.name in type.getFields()));
      expect(extra.filter((field) => String(field.type).endsWith('!') && field.defaultValue === undefined)).toEqual([]);
    }
    if (!isObjectType(own) || !isObjectType(type)) continue;
    for (const field of Object.values(type.getFields())) {
      const known = new Set(field.args.map(({ name }) => name));
      const ours = own.getFields()[field.name]!;
      const extra = ours.args.filter((arg) => !known.has(arg.name) && String(arg.type).endsWith('!'));
      expect(extra.map(({ name }) => `${type.name}.${field.name}(${name})`)).toEqual([]);
    }
  }
});

test('everything has a description', () => {
  const silent: string[] = [];
  const check = (where: string, { description }: { description?: string | null | undefined }): void => {
    if (!description) silent.push(where);
  };
  for (const type of Object.values(schema.getTypeMap())) {
    if (isIntrospectionType(type)) continue;
    check(type.name, type);
    if (isEnumType(type)) for (const value of type.getValues()) check(`${type.name}.${value.name}`, value);
    if (isInputObjectType(type))
      for (const field of Object.values(type.getFields())) check(`${type.name}.${field.name}`, field);
    if (!isObjectType(type) && !isInterfaceType(type)) continue;
    for (const field of Object.values(type.getFields())) {
      check(`${type.name}.${field.name}`, field);
      for (const arg of field.args) check(`${type.name}.${field.name}(${arg.name})`, arg);
    }
  }
  const standard = new Set(['String', 'Int', 'Float', 'Boolean', 'ID']);
  expect(silent.filter((where) => !standard.has(where))).toEqual([]);
});

test('schema.graphql is this schema, printed', () => {
  const committed = readFileSync(new URL('../../schema.graphql', import.meta.url), 'utf8');
  expect(`${printSchema(lexicographicSortSchema(schema))}\n`).toBe(committed);
});
