import { parse } from 'graphql';
import { expect, test } from 'vitest';
import { schema } from '../../src/schema/schema.js';
import { selectionOf } from '../../src/transport/graphql/subscription-kind.js';

/** Which subscriptions select the same of an event. They share its execution, and count as one. */

const of = (text: string, variableValues?: Record<string, unknown>, operationName?: string): string =>
  selectionOf({ schema, document: parse(text), variableValues, operationName });

const FIRST = 'subscription { userPresence { users { identity devices { key } } } }';

test.each([
  ['spaces and comments', 'subscription {\n userPresence { users { identity, devices { key } } } } # here', undefined],
  ['the name of the operation', FIRST.replace('{', 'Who {'), undefined],
  [
    'which users it watches, and since when',
    FIRST.replace('userPresence', 'userPresence(identities: ["ada"], after: "x")'),
    undefined,
  ],
  [
    'the same in variables',
    FIRST.replace('{ userPresence', '($of: [String!], $after: String) { userPresence(identities: $of, after: $after)'),
    { of: ['ada'], after: 'x' },
  ],
])('is the same: %s', (_what, text, variables) => {
  expect(of(text, variables)).toBe(of(FIRST));
});

test.each([
  ['a name', FIRST.replace('identity', 'who: identity')],
  ['a name of the root field', FIRST.replace('userPresence', 'who: userPresence')],
  ['a field', FIRST.replace('identity', 'identity status')],
  ['a directive of the root field', FIRST.replace('userPresence', 'userPresence @include(if: true)')],
])('is different: %s', (_what, text) => {
  expect(of(text)).not.toBe(of(FIRST));
});

test('variables within the selection count, and those of nested arguments', () => {
  const text =
    'subscription ($filter: EventFilter, $with: Boolean = true) { eventIngested(filter: $filter) { id @include(if: $with) session { id } } }';
  expect(of(text, { filter: { types: ['a'] } })).toBe(of(text, { filter: null, unused: 1 }));
  const values = [{}, { with: null }, { with: true }, { with: false }];
  expect(new Set(values.map((each) => of(text, each))).size).toBe(values.length);
  const nested =
    'subscription ($first: Int) { eventIngested { ...F } } fragment F on Event { session { events(first: $first) { nodes { id } } } }';
  expect(of(nested, { first: 1 })).not.toBe(of(nested, { first: 2 }));
  expect(of(nested, { first: 1 })).toBe(of(nested, { first: 1 }));
});

test('of two operations in a document each has its own', () => {
  const two = 'subscription A { userPresence { kind } } subscription B { userPresence { at } }';
  expect(of(two, {}, 'A')).toBe(of('subscription { userPresence { kind } }'));
  expect(of(two, {}, 'B')).toBe(of('subscription { userPresence { at } }'));
});
