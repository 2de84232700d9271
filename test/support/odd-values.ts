import {
  getNamedType,
  getNullableType,
  isCompositeType,
  isEnumType,
  isInputObjectType,
  isLeafType,
  isListType,
  isNonNullType,
  isObjectType,
  type GraphQLInputType,
  type GraphQLOutputType,
  type GraphQLSchema,
} from 'graphql';
import type { Dice } from './dice.js';
import type { RootField } from './whole-selection.js';

/** Unusual and hostile values and documents. */

const ODD_TEXTS = [
  '',
  ' ',
  '\0',
  'a\0b',
  '\uD800',
  'a\uDFFFb',
  '\uD83D\uDE00',
  '\uFEFF\u202E\u0007',
  '__proto__',
  'constructor',
  'toString',
  "'; DROP TABLE nothing; --",
  '%_\\',
  '\\',
  '{"a":',
  '{1,2}',
  '$1',
  'NaN',
  '9'.repeat(400),
  'x'.repeat(256),
  'x'.repeat(10_001),
  '\u00e9'.repeat(2_001),
  '\r\nX-Odd: 1',
  'session',
  'sessionend',
  'heartbeat',
  'error',
  '0000-01-01T00:00:00Z',
  '9999-12-31T23:59:59.999Z',
  '2026-02-30T00:00:00Z',
  '2026-10-05T12:00:00+99:99',
  '00000000-0000-0000-0000-000000000000',
  'U2Vzc2lvbjow',
  'odd-session-key',
  '203.0.113.9',
  '::ffff:999.1.1.1',
] as const;
const ODD_NUMBERS = [0, -0, -1, 1, 1.5, 100, 101, 2 ** 31, -(2 ** 31), 2 ** 53, 1e21, 1e308, -1e308, 5e-324];

export function oddText(dice: Dice): string {
  if (dice.oneIn(3)) return dice.pick(ODD_TEXTS);
  return String.fromCharCode(...dice.list(12, () => (dice.oneIn(4) ? dice.below(65_536) : 32 + dice.below(96))));
}

/** Any JSON value. */
export function oddValue(dice: Dice, depth = 0): unknown {
  switch (dice.below(depth > 4 ? 5 : 8)) {
    case 0:
      return null;
    case 1:
      return dice.oneIn(2);
    case 2:
      return dice.pick(ODD_NUMBERS);
    case 3:
    case 4:
      return oddText(dice);
    case 5:
      return dice.list(4, () => oddValue(dice, depth + 1));
    default:
      return oddObject(dice, depth + 1);
  }
}

export function oddObject(dice: Dice, depth = 0): Record<string, unknown> {
  const keys = ['__proto__', 'constructor', '@request', '@environment', '@error', '@level', '@user', 'a', ''];
  return Object.fromEntries(
    dice.list(4, () => [dice.oneIn(2) ? dice.pick(keys) : oddText(dice), oddValue(dice, depth)]),
  );
}

/** The JSON text of objects nested so many levels deep. */
export const nested = (levels: number): string => '{"a":'.repeat(levels) + '1' + '}'.repeat(levels);

/** A value for an input type: mostly of the right shape with unusual content; `wild` times in ten of another shape. */
export function oddInput(dice: Dice, type: GraphQLInputType, wild: number): unknown {
  if (dice.below(10) < wild) return oddValue(dice);
  if (!isNonNullType(type) && dice.oneIn(4)) return null;
  const inner = getNullableType(type);
  if (isListType(inner)) return dice.list(3, () => oddInput(dice, inner.ofType, wild));
  if (isEnumType(inner)) return dice.pick(inner.getValues()).name;
  if (isInputObjectType(inner)) {
    const given = Object.values(inner.getFields()).filter(
      (field) => (isNonNullType(field.type) && field.defaultValue === undefined) || dice.oneIn(3),
    );
    return Object.fromEntries(given.map((field) => [field.name, oddInput(dice, field.type, wild)]));
  }
  switch (getNamedType(type).name) {
    case 'Int':
      return dice.oneIn(2) ? dice.below(101) : dice.pick(ODD_NUMBERS);
    case 'Float':
      return dice.pick(ODD_NUMBERS);
    case 'Boolean':
      return dice.oneIn(2);
    case 'JSONObject':
      return oddObject(dice);
    case 'DateTime':
      return dice.oneIn(2) ? new Date(Date.now() - dice.below(10 ** dice.below(15))).toISOString() : oddText(dice);
    default:
      return oddText(dice);
  }
}

/** An operation with some root fields and fields below them, and with variables that mostly match. */
export function oddOperation(
  schema: GraphQLSchema,
  dice: Dice,
  roots: readonly RootField[],
  wild: number,
): { query: string; variables: Record<string, unknown> } {
  const definitions: string[] = [];
  const variables: Record<string, unknown> = {};
  const { operation } = dice.pick(roots);
  const possible = roots.filter((root) => root.operation === operation);

  function argumentsOf(args: readonly { name: string; type: GraphQLInputType; defaultValue?: unknown }[]): string {
    const given = args
      .filter(({ type, defaultValue }) => (isNonNullType(type) && defaultValue === undefined) || dice.oneIn(3))
      .map(({ name, type }) => {
        const variable = `v${definitions.length}`;
        definitions.push(`$${variable}: ${String(type)}`);
        variables[variable] = oddInput(dice, type, wild);
        return `${name}: $${variable}`;
      });
    return given.length > 0 ? `(${given.join(', ')})` : '';
  }

  function selectionOf(type: GraphQLOutputType, depth: number): string {
    const named = getNamedType(type);
    if (!isCompositeType(named)) return '';
    const kinds = isObjectType(named) ? [named] : schema.getPossibleTypes(named);
    const parts = kinds.map((kind) => {
      const fields = Object.values(kind.getFields()).filter(
        (field) => isLeafType(getNamedType(field.type)) || depth < 5,
      );
      const chosen = dice
        .list(3, () => dice.pick(fields))
        .map((field) => {
          const alias = dice.oneIn(3) ? `${dice.pick(['a', 'b', 'id', '__x'])}: ` : '';
          const directive = dice.oneIn(20) ? ' @include(if: false)' : '';
          return `${alias}${field.name}${argumentsOf(field.args)}${directive} ${selectionOf(field.type, depth + 1)}`;
        });
      const fields_ = `{ __typename ${chosen.join(' ')} }`;
      return kinds.length === 1 && dice.below(5) > 0 ? fields_ : `... on ${kind.name} ${fields_}`;
    });
    const [only] = parts;
    return parts.length === 1 && only!.startsWith('{') ? only! : `{ ${parts.join(' ')} }`;
  }

  const chosen = Array.from({ length: operation === 'query' ? 1 + dice.below(3) : 1 }, (_, at) => {
    const { field } = dice.pick(possible);
    return `r${at}: ${field.name}${argumentsOf(field.args)} ${selectionOf(field.type, 0)}`;
  });
  const head = definitions.length > 0 ? `${operation} O(${definitions.join(', ')})` : operation;
  return { query: `${head} { ${chosen.join(' ')} }`, variables };
}
