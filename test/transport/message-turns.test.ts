import { setImmediate as nextTurn } from 'node:timers/promises';
import { beforeEach, expect, test } from 'vitest';
import { MessageTurns } from '../../src/transport/graphql/message-turns.js';

/** Small messages to many connections are sent in turns, of which other work waits for one at most. */

let now: number;
let done: string[];
let turns: MessageTurns;
beforeEach(() => {
  now = 0;
  done = [];
  turns = new MessageTurns({ usual: 15, whileConnecting: 5 }, () => now);
});

/** Each work takes a millisecond. */
const begin = (project: string, name = project): string | Promise<string> =>
  turns.begin(project, () => {
    now += 1;
    done.push(name);
    return name;
  });

test('what there is time for is done at once; the rest in turns, of each project in its order', async () => {
  const one = Array.from({ length: 40 }, (_, at) => begin('one', `one ${at}`));
  expect(one.slice(0, 15)).toEqual(done);
  expect(done).toHaveLength(15);
  void begin('two');
  await nextTurn();
  expect(done.slice(15)).toHaveLength(15);
  expect(done.slice(15, 18)).toEqual(['one 15', 'two', 'one 16']);
  expect(await Promise.all(one)).toEqual(Array.from({ length: 40 }, (_, at) => `one ${at}`));
  // Nobody waits any more.
  await nextTurn();
  expect(begin('three')).toBe('three');
});

test('a turn that has accepted a connection is shorter', async () => {
  turns.connectionCame();
  for (let at = 0; at < 40; at += 1) void begin('one');
  expect(done).toHaveLength(5);
  await nextTurn();
  expect(done).toHaveLength(20);
  turns.connectionCame();
  await nextTurn();
  expect(done).toHaveLength(25);
});

test('a work that fails fails for whoever asked for it, and the others go on', async () => {
  for (let at = 0; at < 15; at += 1) void begin('one');
  const failing = turns.begin('one', () => {
    throw new Error('It fails.');
  });
  const after = begin('one', 'after');
  await expect(failing).rejects.toThrow('It fails.');
  expect(await after).toBe('after');
});
