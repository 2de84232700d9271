import { parse } from 'graphql';
import { expect, test } from 'vitest';
import type { ProjectCaller } from '../../src/domain/access.js';
import { createPlaces } from '../../src/transport/http/places.js';

test('a refused socket or stream is told that both count', () => {
  const places = createPlaces({ perKey: 1, perAddress: 1 });
  const leave = places.ofAddress('192.0.2.1');
  expect(() => places.ofAddress('192.0.2.1')).toThrow('This address has 1 sockets and streams open');
  leave();
  places.ofAddress('192.0.2.1');
});

test("subscriptions select 100 different things for a narrowed token's users, 250 for a key, 500 for a project", () => {
  const places = createPlaces({ perKey: 0, perAddress: 0 });
  const document = parse('{ a }');
  let made = 0;
  const open = (keyId: string, selection: string, user: string | null = null, projectId = 'project') => {
    const caller = {
      kind: 'project',
      keyId,
      reach: { projectId, userIds: user && [user] },
    } as unknown as ProjectCaller;
    return places.ofSubscription(caller, { bytes: 1, document, selection });
  };
  const openNew = (keyId: string, user: string | null, count: number) =>
    Array.from({ length: count }, () => open(keyId, `selection ${(made += 1)}`, user));
  const isFull = (...[keyId, user, projectId]: [string, (string | null)?, string?]): void =>
    expect(() => open(keyId, `selection ${(made += 1)}`, user, projectId)).toThrow('different things');
  openNew('one', 'ada', 100);
  isFull('one', 'ada');
  // What is open already is no other selection, for this user or for others.
  open('one', 'selection 1', 'ada');
  const bobs = open('one', 'selection 1', 'bob');
  openNew('one', 'bob', 99);
  isFull('one', 'bob');
  openNew('one', null, 51);
  isFull('one');
  isFull('one', 'eve');
  const others = openNew('two', null, 250);
  isFull('three');
  open('three', 'selection 1');
  open('three', 'selection', null, 'other project');
  others[0]!();
  // Once more gives back nothing more.
  others[0]!();
  openNew('three', null, 1);
  isFull('three');
  bobs();
  // Ada still has it, and so the key.
  open('one', 'selection 1', 'eve');
});
