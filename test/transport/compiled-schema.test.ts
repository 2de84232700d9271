import fc from 'fast-check';
import {
  execute,
  getNamedType,
  getNullableType,
  isAbstractType,
  isCompositeType,
  isEnumType,
  isInputObjectType,
  isListType,
  isNonNullType,
  isObjectType,
  parse,
  validate,
  type ExecutionResult,
  type GraphQLArgument,
  type GraphQLInputType,
  type GraphQLObjectType,
  type GraphQLOutputType,
} from 'graphql';
import { expect, test } from 'vitest';
import { schema } from '../../src/schema/schema.js';
import { createRunOperation } from '../../src/transport/graphql/compiled-operations.js';
import { QUERY_LIMITS } from '../../src/transport/graphql/query-size.js';
import { createProject, post } from '../support/app.js';
import { createTestDatabase } from '../support/database.js';
import { Dice } from '../support/dice.js';
import { openDoors } from '../support/doors.js';
import { record } from '../support/ledger.js';
import { oddInput } from '../support/odd-values.js';

/**
 * Every argument of the schema in every form that GraphQL has for it: operations that come again do and answer what they did
 * the first time. The schema is the product's, its scalars with it; its resolvers note what they are given.
 */

const SEED = Number(process.env['FUZZ_SEED'] ?? 20_261_126);
const TIMES = Number(process.env['FUZZ_TIMES'] ?? 1);

interface Noted {
  readonly seen: { readonly field: string; readonly args: unknown }[];
  compiled: boolean;
}

const objects = Object.values(schema.getTypeMap()).filter(
  (type): type is GraphQLObjectType => isObjectType(type) && !type.name.startsWith('__'),
);

/** Something that a resolver of this type could answer. */
function sample(type: GraphQLOutputType): unknown {
  const inner = getNullableType(type);
  if (isListType(inner)) return [sample(inner.ofType), sample(inner.ofType)];
  if (isEnumType(inner)) return inner.getValues()[0]!.value;
  if (isAbstractType(inner)) return { of: schema.getPossibleTypes(inner)[0]!.name };
  if (isObjectType(inner)) return { of: inner.name };
  const leaves: Record<string, unknown> = {
    Int: 7,
    Float: 1.5,
    Boolean: true,
    DateTime: new Date(0),
    JSONObject: { a: [1] },
  };
  return leaves[inner.name] ?? 'text';
}

/** Puts resolvers in the place of the product's that note what they are given; answers how to have those back. */
function noteArguments(): () => void {
  const restore: (() => void)[] = [];
  for (const type of Object.values(schema.getTypeMap())) {
    if (!isAbstractType(type)) continue;
    const { resolveType } = type;
    restore.push(() => (type.resolveType = resolveType));
    type.resolveType = (value) => (value as { of: string }).of;
  }
  for (const type of objects) {
    const { isTypeOf } = type;
    restore.push(() => (type.isTypeOf = isTypeOf));
    type.isTypeOf = (value) => (value as { of: string }).of === type.name;
    for (const field of Object.values(type.getFields())) {
      const { resolve } = field;
      restore.push(() => (field.resolve = resolve));
      field.resolve = (_parent, args: object, context: Noted, { path }) => {
        // The interpreter tells the type that each step of a path lies in.
        context.compiled ||= path.typename === undefined;
        if (field.args.length > 0) context.seen.push({ field: `${type.name}.${field.name}`, args });
        return sample(field.type);
      };
    }
  }
  return () => restore.forEach((put) => put());
}

interface Place {
  /** The fields from the root down to one with arguments. */
  readonly path: readonly string[];
  readonly operation: 'query' | 'mutation' | 'subscription';
  readonly args: readonly GraphQLArgument[];
  readonly type: GraphQLOutputType;
}

/** Every field that takes arguments, once, with the shortest way to it. */
function places(): Place[] {
  const found = new Map<string, Place>();
  let reached = [
    { type: schema.getQueryType()!, path: [] as string[], operation: 'query' as const },
    { type: schema.getMutationType()!, path: [] as string[], operation: 'mutation' as const },
    // What becomes of an event.
    { type: schema.getSubscriptionType()!, path: [] as string[], operation: 'subscription' as const },
  ] as { type: GraphQLObjectType; path: string[]; operation: Place['operation'] }[];
  const known = new Set<string>();
  while (reached.length > 0) {
    const next: typeof reached = [];
    for (const { type, path, operation } of reached) {
      if (known.has(type.name)) continue;
      known.add(type.name);
      for (const field of Object.values(type.getFields())) {
        const here = [...path, field.name];
        if (field.args.length > 0)
          found.set(`${type.name}.${field.name}`, { path: here, operation, args: field.args, type: field.type });
        const named = getNamedType(field.type);
        const needs = field.args.some((arg) => isNonNullType(arg.type) && arg.defaultValue === undefined);
        if (isObjectType(named) && !needs) next.push({ type: named, path: here, operation });
      }
    }
    reached = next;
  }
  return [...found.values()];
}

const FORMS = ['literal', 'variable', 'within', 'default', 'missing', 'null', 'null variable', 'left out'] as const;
type Form = (typeof FORMS)[number];

interface Built {
  readonly definitions: string[];
  readonly variables: Record<string, unknown>;
}

/** A value as the text of a literal; parts of it now and then as variables of their own, where `within`. */
function literal(dice: Dice, type: GraphQLInputType, value: unknown, within: Built | null): string {
  const inner = getNullableType(type);
  if (value === null || value === undefined) return 'null';
  if (isListType(inner)) {
    const items = Array.isArray(value) ? value : [value];
    return `[${items.map((item) => part(dice, inner.ofType, item, within)).join(', ')}]`;
  }
  if (isInputObjectType(inner) && typeof value === 'object') {
    const fields = Object.entries(inner.getFields()).filter(([name]) => Object.hasOwn(value, name));
    return `{${fields.map(([name, field]) => `${name}: ${part(dice, field.type, (value as Record<string, unknown>)[name], within)}`).join(', ')}}`;
  }
  if (isEnumType(inner)) return value as string;
  if (getNamedType(inner).name === 'JSONObject') return json(dice, value, within);
  return scalar(value);
}

/** A document holds whole characters alone, as JSON need not. */
const scalar = (value: unknown): string =>
  JSON.stringify(typeof value === 'string' ? value.replace(/\p{Surrogate}/gu, '\uFFFD') : value);

function part(dice: Dice, type: GraphQLInputType, value: unknown, within: Built | null): string {
  if (!within || dice.oneIn(2)) return literal(dice, type, value, within);
  const name = `w${within.definitions.length}`;
  const absent = !isNonNullType(type) && dice.oneIn(4);
  within.definitions.push(`$${name}: ${String(type)}`);
  if (!absent) within.variables[name] = value;
  return `$${name}`;
}

/** Free JSON as a literal: any value within it may be a variable, of any type. */
function json(dice: Dice, value: unknown, within: Built | null): string {
  if (Array.isArray(value)) return `[${value.map((item) => json(dice, item, within)).join(', ')}]`;
  if (typeof value === 'object' && value !== null) {
    const named = Object.entries(value).filter(([name]) => /^[_A-Za-z]\w*$/.test(name));
    const given = named.length > 0 || !within ? named : [['given', 'x'] as const];
    return `{${given
      .map(([name, inner]) => {
        if (!within || typeof inner !== 'string' || dice.oneIn(3)) return `${name}: ${json(dice, inner, within)}`;
        const variable = `w${within.definitions.length}`;
        within.definitions.push(`$${variable}: String`);
        if (!dice.oneIn(4)) within.variables[variable] = inner;
        return `${name}: $${variable}`;
      })
      .join(', ')}}`;
  }
  return scalar(value);
}

function argument(dice: Dice, arg: GraphQLArgument, form: Form, wild: number, built: Built): string | null {
  const { type } = arg;
  const value = oddInput(dice, type, 0);
  const name = `v${built.definitions.length}`;
  switch (form) {
    case 'literal':
      return literal(dice, type, value, null);
    case 'within':
      return literal(dice, type, value, built);
    case 'variable':
      built.definitions.push(`$${name}: ${String(type)}`);
      built.variables[name] = oddInput(dice, type, wild);
      return `$${name}`;
    case 'default':
      built.definitions.push(`$${name}: ${String(getNullableType(type))} = ${literal(dice, type, value, null)}`);
      if (dice.oneIn(3)) built.variables[name] = oddInput(dice, type, wild);
      return `$${name}`;
    case 'missing':
      built.definitions.push(`$${name}: ${String(type)}`);
      return `$${name}`;
    case 'null':
      return 'null';
    case 'null variable':
      built.definitions.push(`$${name}: ${String(type)}`);
      built.variables[name] = null;
      return `$${name}`;
    default:
      return null;
  }
}

/** Something to ask below a field. */
function below(type: GraphQLOutputType): string {
  const named = getNamedType(type);
  return isCompositeType(named) ? '{ __typename }' : '';
}

const outcome = ({ data, errors }: ExecutionResult, seen: Noted['seen']) => ({
  data: data ?? null,
  errors: errors?.map(({ message, path, extensions }) => ({ message, path: path ?? null, extensions })) ?? [],
  seen,
});

const counts = { tried: 0, valid: 0, compiled: 0 };
const compiledForms = new Map<Form, number>();
/** The places of which an operation was held. */
const held = new Set<Place>();

async function hold(dice: Dice, place: Place, forms: readonly Form[], wild: number): Promise<void> {
  const built: Built = { definitions: [], variables: {} };
  const given = place.args.flatMap((arg, at) => {
    const text = argument(dice, arg, forms[at]!, wild, built);
    return text === null ? [] : [`${arg.name}: ${text}`];
  });
  const [last, ...above] = place.path.toReversed();
  const field = `${last}${given.length > 0 ? `(${given.join(', ')})` : ''} ${below(place.type)}`;
  const selection = above.reduce((inner, name) => `${name} { ${inner} }`, field);
  const head = built.definitions.length > 0 ? `${place.operation} (${built.definitions.join(', ')})` : place.operation;
  const text = `${head} { ${selection} }`;
  counts.tried += 1;
  const document = parse(text);
  if (validate(schema, document).length > 0) return;
  counts.valid += 1;

  // The arguments of a subscription are read when it opens. They have no effect on what becomes of an event, and are not there then.
  const isOpened = place.operation === 'subscription' && place.path.length === 1;
  const run = createRunOperation(1);
  const perform = async (how: typeof run): Promise<[ReturnType<typeof outcome>, boolean]> => {
    const noted: Noted = { seen: [], compiled: false };
    // As a request brings them: nobody else's.
    const variableValues = JSON.parse(JSON.stringify(built.variables)) as Record<string, unknown>;
    const result = await how({ schema, document, variableValues, contextValue: noted });
    return [outcome(result, isOpened ? [] : noted.seen), noted.compiled];
  };
  const options = { maxCoercionErrors: QUERY_LIMITS.errors };
  const [interpreted] = await perform((args) => execute({ ...args, options }));
  // With wrong arguments it does not open.
  if (isOpened && interpreted.errors.length > 0) return;
  held.add(place);
  for (let time = 0; time < 3; time += 1) {
    const [answer, compiled] = await perform(run);
    if (compiled) {
      counts.compiled += 1;
      for (const form of new Set(forms)) compiledForms.set(form, (compiledForms.get(form) ?? 0) + 1);
    }
    // The text and its variables are what a failure is to be told by.
    expect({ text, variables: built.variables, answer }).toEqual({
      text,
      variables: built.variables,
      answer: interpreted,
    });
  }
}

test('every argument in every form: an operation that comes again does and answers what it did the first time', async () => {
  const restore = noteArguments();
  const all = places();
  expect(all.length).toBeGreaterThan(15);
  await fc.assert(
    fc.asyncProperty(fc.integer(), async (seed) => {
      const dice = new Dice(seed);
      for (const place of all) {
        for (const form of FORMS) {
          // One argument in this form, the others in any; and what clients get wrong, now and then.
          const one = dice.below(place.args.length);
          const forms = place.args.map((_arg, at) => (at === one ? form : dice.pick(FORMS)));
          await hold(dice, place, forms, dice.oneIn(3) ? 2 : 0);
        }
      }
    }),
    { seed: SEED, numRuns: 20 * TIMES, endOnFailure: true },
  );
  record('operations held compiled as interpreted', counts.valid);
  restore();
  expect(counts.compiled).toBeGreaterThan(counts.valid / 4);
  expect(all.filter((place) => !held.has(place)).map(({ path }) => path)).toEqual([]);
  for (const form of FORMS) if (form !== 'within') expect([form, compiledForms.get(form) ?? 0]).not.toEqual([form, 0]);
}, 120_000);

test('an operation with variables within values stores and finds the same, however often it comes', async () => {
  const db = await createTestDatabase();
  const doors = await openDoors(db);
  const key = await createProject(doors.url);
  const ask = async (query: string, variables: object): Promise<any> => {
    const { data, errors } = await post(doors.url, key, query, { ...variables });
    if (errors) throw new Error(errors[0]!.message);
    return data;
  };
  const store = `mutation ($order: Int, $who: String!, $tag: String!) { ingestEvents(events: [
    { type: "order", tags: [$tag, "written"], user: { identity: $who, data: { seen: $order } }, data: { order: $order, deep: { all: [$order] } } }
    { type: "late", occurredAt: "no time" } ]) { results { status code } } }`;
  const find = `query ($order: Int, $tag: String!) { events(filter: { tags: [$tag], dataContains: { order: $order } }) {
    nodes { tags data } } }`;
  const times = Array.from({ length: 5 }, (_, at) => at);
  for (const order of times) {
    const { ingestEvents } = await ask(store, { order, who: 'ada', tag: `tag ${order}` });
    expect(ingestEvents.results).toEqual([
      { status: 'ACCEPTED', code: null },
      { status: 'REJECTED', code: 'INVALID_DATE' },
    ]);
  }
  for (const order of times) {
    const { events } = await ask(find, { order, tag: `tag ${order}` });
    expect(events.nodes).toEqual([{ tags: [`tag ${order}`, 'written'], data: { order, deep: { all: [order] } } }]);
  }
  // What a variable does not hold is left out.
  expect((await ask(find, { tag: 'tag 3' })).events.nodes).toHaveLength(1);
  await doors.close();
  await db.drop();
});
