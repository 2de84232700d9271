import {
  buildSchema,
  execute,
  getNamedType,
  isInputObjectType,
  parse,
  type ExecutionArgs,
  type GraphQLInputObjectType,
  type GraphQLScalarType,
} from 'graphql';
import { expect, test } from 'vitest';
import { schema as product } from '../../src/schema/schema.js';
import { createPrepareOperation, createRunOperation } from '../../src/transport/graphql/compiled-operations.js';

/** Operations that come again are compiled, and answer as the interpreter does, whatever their variables leave out. */

const schema = buildSchema(`
  enum Direction { UP DOWN }
  input Innermost { flag: Boolean! = true, label: String }
  input Inner { count: Int! = 3, label: String = "none", innermost: [Innermost!] }
  input Outer { name: String! = "log", direction: Direction! = DOWN, inner: Inner, list: [Inner!], free: String }
  type Query { told(outer: Outer, list: [Outer!], direction: Direction! = UP): String! }
  type Subscription { heard(outer: Outer): String! }
`);
/** Who ran it: the interpreter tells the type that each step of a path lies in. */
let by: string[] = [];
schema.getQueryType()!.getFields()['told']!.resolve = (_root, args: object, _context, { path }) => {
  by.push(path.typename === undefined ? 'compiled' : 'interpreter');
  return JSON.stringify(args);
};
schema.getSubscriptionType()!.getFields()['heard']!.resolve = (event, _args, _context, { path }) => {
  by.push(path.typename === undefined ? 'compiled' : 'interpreter');
  return event;
};
const TOLD = parse(
  'query ($outer: Outer, $list: [Outer!], $direction: Direction! = UP) { told(outer: $outer, list: $list, direction: $direction) }',
);
const given = (document: ExecutionArgs['document'], variableValues: Record<string, unknown>): ExecutionArgs => ({
  schema,
  document,
  variableValues,
});
/** As a request brings them: nobody else's. */
const own = <Value>(value: Value): Value => structuredClone(value);

test.each<[string, Record<string, unknown>]>([
  ['nothing', {}],
  ['null', { outer: null, list: null }],
  ['empty inputs', { outer: {}, list: [{}] }],
  ['a list of one that is no list', { list: { free: 'x' } }],
  [
    'inputs within inputs',
    { outer: { inner: { label: null, innermost: [{}, { label: null }] }, list: [{}, { count: 4 }] } },
  ],
  ['all of it', { outer: { name: 'a', direction: 'UP', inner: { count: 1 } }, direction: 'DOWN' }],
  ['null where there must be something', { outer: { name: null } }],
  ['what is none of its type', { outer: { direction: 'SIDEWAYS' }, list: 7 }],
])('%s: compiled as interpreted', async (_name, variables) => {
  const run = createRunOperation(1);
  const interpreted = await execute(given(TOLD, own(variables)));
  for (let time = 0; time < 4; time += 1) {
    const { data, errors } = await run(given(TOLD, own(variables)));
    // In whatever order.
    const told = (answer: typeof data) => answer && JSON.parse(String(answer['told']));
    expect(told(data)).toEqual(told(interpreted.data));
    expect(errors?.map(({ message }) => message)).toEqual(interpreted.errors?.map(({ message }) => message));
  }
});

test('an operation that comes again runs compiled, though its variables leave defaults out', async () => {
  const run = createRunOperation(1);
  by = [];
  for (let time = 0; time < 3; time += 1) await run(given(TOLD, { outer: {}, list: [{ inner: {} }] }));
  expect(by).toEqual(['interpreter', 'compiled', 'compiled']);
});

test('what a subscription makes of an event is compiled, whatever its root field asks for', async () => {
  const run = createRunOperation(1);
  by = [];
  const document = parse(
    'subscription ($name: String!, $unused: Outer) { as: heard(outer: { name: $name, inner: { count: 4 } }) }',
  );
  for (const rootValue of ['one', 'two', 'three'])
    expect(await run({ ...given(document, { name: 'log' }), rootValue })).toEqual({ data: { as: rootValue } });
  expect(by).toEqual(['interpreter', 'compiled', 'compiled']);
});

test('a prepared operation runs as often as it is asked, and its variables are coerced once when it is compiled', async () => {
  const numbers = buildSchema('scalar Number type Query { count(number: Number!): Int name: String }');
  const { count } = numbers.getQueryType()!.getFields();
  let looks = 0;
  (numbers.getType('Number') as GraphQLScalarType).parseValue = (value) => {
    looks += 1;
    return value;
  };
  count!.resolve = (root, { number }, context) => (root as number) + (number as number) + (context as number);
  const document = parse('query ($number: Number!) { count(number: $number) }');
  const run = createPrepareOperation(1)({ schema: numbers, document, variableValues: { number: 1 } });
  const answers = [];
  for (const root of [10, 20, 30, 40]) answers.push((await run(root, 100)).data?.['count']);
  expect(answers).toEqual([111, 121, 131, 141]);
  // By the interpreter, and by what was compiled.
  expect(looks).toBe(2);
  const wrong = createPrepareOperation(1)({ schema: numbers, document, variableValues: {} });
  for (let time = 0; time < 3; time += 1) expect((await wrong(1, 1)).errors?.[0]?.message).toMatch(/\$number/);
});

test('subscriptions that differ only in what their root field asks for are compiled once: they leave room for others', async () => {
  const run = createRunOperation(1);
  const twice = async (document: ExecutionArgs['document'], rootValue: string): Promise<void> => {
    by = [];
    for (let time = 0; time < 2; time += 1) await run({ ...given(document, {}), rootValue });
  };
  const documents = Array.from({ length: 600 }, (_, at) => parse(`subscription { heard(outer: { name: "${at}" }) }`));
  for (const document of documents) {
    await twice(document, 'one');
    expect(by).toEqual(['interpreter', 'compiled']);
  }
  await twice(parse('{ told }'), 'one');
  expect(by).toEqual(['interpreter', 'compiled']);
});

test('no input holds itself: compiling what reads it would take seconds', () => {
  const holds = (type: GraphQLInputObjectType): GraphQLInputObjectType[] =>
    Object.values(type.getFields())
      .map((field) => getNamedType(field.type))
      .filter(isInputObjectType);
  const inputs = Object.values(product.getTypeMap()).filter(isInputObjectType);
  expect(inputs.length).toBeGreaterThan(5);
  for (const input of inputs) {
    const within = new Set(holds(input));
    for (const type of within) for (const inner of holds(type)) within.add(inner);
    expect(within).not.toContain(input);
  }
});

test('of wrong variables no more are looked at than are told, also in an operation that comes again', async () => {
  const numbers = buildSchema('scalar Number type Query { count(numbers: [Number!]!): Int }');
  let looks = 0;
  (numbers.getType('Number') as GraphQLScalarType).parseValue = (value) => {
    looks += 1;
    if (typeof value !== 'number') throw new TypeError('This is no number.');
    return value;
  };
  const document = parse('query ($numbers: [Number!]!) { count(numbers: $numbers) }');
  const run = createRunOperation(1);
  for (let time = 0; time < 3; time += 1) await run({ schema: numbers, document, variableValues: { numbers: [1] } });
  looks = 0;
  const variableValues = { numbers: Array.from({ length: 10_000 }, () => 'x') };
  const { errors } = await run({ schema: numbers, document, variableValues });
  // The interpreter tells three, and that there are more.
  expect(errors).toHaveLength(4);
  expect(looks).toBeLessThan(10);
});
