import { expect, test } from 'vitest';
import { createBeside } from '../../src/transport/graphql/beside.js';

test('a value is beside its object alone, for whoever keeps it, and no copy has it', () => {
  const [one, other] = [createBeside<string>(), createBeside<string>()];
  const [event, frozen] = [{ name: 'event' }, Object.freeze({})];
  expect(one.get(event)).toBeUndefined();
  one.set(event, 'first');
  one.set(event, 'second');
  other.set(event, 'of the other');
  one.set(frozen, 'of a frozen one');
  expect([one.get(event), other.get(event), one.get(frozen), other.get(frozen)]).toEqual([
    'second',
    'of the other',
    'of a frozen one',
    undefined,
  ]);
  expect(one.get({ ...event })).toBeUndefined();
  expect(Reflect.ownKeys(event)).toEqual(['name']);
  expect(JSON.stringify(event)).toBe('{"name":"event"}');
});
