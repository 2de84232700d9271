import { setImmediate as nextTurn } from 'node:timers/promises';
import { execute, GraphQLInt, GraphQLObjectType, GraphQLSchema, GraphQLString, parse } from 'graphql';
import { beforeEach, expect, test } from 'vitest';
import { Deflater } from '../../src/transport/graphql/deflate.js';
import { LargeSends } from '../../src/transport/graphql/large-sends.js';
import { Line } from '../../src/transport/graphql/line.js';
import { createSharedSubscriptions, type Subscription } from '../../src/transport/graphql/shared-subscriptions.js';

/** Large messages to many connections are written in turns, of which other work waits for one at most. */

/** The clock moves when a message is written: by the time that 4 MB take. */
const EACH = 4;
let now: number;
let sends: LargeSends;
/** The turns that are planned. At most one at a time. */
let planned: (() => void)[];
let sent: string[];
beforeEach(() => {
  now = 0;
  planned = [];
  sent = [];
  sends = new LargeSends(
    () => now,
    (run) => planned.push(run),
  );
});

function add(project: string, name: string): () => void {
  return sends.add(project, () => {
    now += EACH;
    sent.push(name);
  });
}

/** Runs the next turn. Returns what it has written. */
function turn(): string[] {
  const before = sent.length;
  expect(planned).toHaveLength(1);
  planned.pop()!();
  return sent.slice(before);
}

test('a turn writes for 15 ms; while connections come, one message in 5 ms', () => {
  for (let at = 0; at < 12; at += 1) add('one', String(at));
  expect(sent).toEqual([]);
  expect(turn()).toEqual(['0', '1', '2', '3']);
  sends.connectionCame();
  expect(turn()).toEqual([]);
  now += 5;
  sends.connectionCame();
  expect(turn()).toEqual(['4']);
  expect(turn()).toEqual(['5', '6', '7', '8']);
  expect(turn()).toEqual(['9', '10', '11']);
  expect(planned).toEqual([]);
});

test('projects take turns, and within a project the first to come is the first', () => {
  for (let at = 0; at < 1_000; at += 1) add('one', `one ${at}`);
  add('two', 'two 0');
  add('two', 'two 1');
  expect(turn()).toEqual(['one 0', 'two 0', 'one 1', 'two 1']);
  expect(turn()).toEqual(['one 2', 'one 3', 'one 4', 'one 5']);
});

test('what is given up is not written, and leaves nothing behind', () => {
  const ends = Array.from({ length: 1_000 }, (_, at) => add('one', `one ${at}`));
  add('two', 'two');
  for (const end of ends) end();
  expect(turn()).toEqual(['two']);
  // An end after the message has been written does not touch those that have come since.
  const end = add('one', 'first');
  expect(turn()).toEqual(['first']);
  add('one', 'second');
  end();
  expect(turn()).toEqual(['second']);
  expect(planned).toEqual([]);
});

test('a message that is written when its function has returned is the last one of its turn', () => {
  add('one', 'one');
  sends.add('two', () => {
    sent.push('two');
    return 'soon';
  });
  add('three', 'three');
  expect(turn()).toEqual(['one', 'two']);
  expect(turn()).toEqual(['three']);
});

/** What one may subscribe to: texts of so many characters. The context says which. */
interface Watcher {
  readonly texts: AsyncGenerator<{ text: string }>;
}
const schema = new GraphQLSchema({
  query: new GraphQLObjectType({ name: 'Query', fields: { nothing: { type: GraphQLInt } } }),
  subscription: new GraphQLObjectType<unknown, Watcher>({
    name: 'Subscription',
    fields: {
      text: {
        type: GraphQLString,
        subscribe: (_root, _args, { texts }) => texts,
        resolve: (event) => (event as { text: string }).text,
      },
    },
  }),
});
const document = parse('subscription { text }');
const LARGE = { text: 'x'.repeat(20_000) };
const SMALL = { text: 'small' };

async function* after(open: Promise<void>, events: readonly { text: string }[]): AsyncGenerator<{ text: string }> {
  await open;
  for (const event of events) yield event;
  await new Promise(() => {});
}

/** Opens a subscription that gets the events when `open` resolves. Its messages are in `sent`, by their size. */
async function watch(
  projectId: string,
  events: readonly { text: string }[],
  open = Promise.resolve(),
): Promise<Subscription> {
  const shared = createSharedSubscriptions({
    share: (args) => (event) => execute({ ...args, rootValue: event }),
    largeSends: sends,
    deflater: new Deflater(() => {}),
    observe: () => {},
  });
  const caller = { kind: 'project', reach: { projectId, userIds: null }, scopes: new Set() };
  const contextValue = { caller, charge: async () => {}, texts: after(open, events) };
  const answer = await shared.subscribe(
    { schema, document, contextValue },
    {
      line: new Line(2),
      isOpen: () => true,
      inflates: false,
      send(message) {
        now += EACH;
        sent.push(`${projectId} ${message.isLarge ? 'large' : 'small'}`);
      },
      mask: (result) => result,
    },
  );
  expect(answer).toHaveProperty('next');
  return answer as Subscription;
}

test('a small message waits for no large ones of others, and follows the large one of its own subscription', async () => {
  let open!: () => void;
  const opened = new Promise<void>((resolve) => (open = resolve));
  for (let at = 0; at < 100; at += 1) await watch('one', [LARGE, SMALL], opened);
  await watch('two', [SMALL, LARGE, SMALL], opened);
  open();
  await nextTurn();
  // No turn has been taken yet.
  expect(sent).toEqual(['two small']);
  expect(turn()).toEqual(['one large', 'two large', 'one large', 'one large']);
  await nextTurn();
  expect(sent.slice(5).toSorted()).toEqual(['one small', 'one small', 'one small', 'two small']);
});

test('a subscription that ends, or is refused, leaves the queue', async () => {
  const ended = await watch('one', [LARGE, SMALL]);
  const refused = await watch('one', [LARGE, SMALL]);
  await watch('one', [LARGE]);
  await nextTurn();
  await ended.return();
  expect(await ended.next()).toEqual({ value: undefined, done: true });
  refused.refuse(new Error('No more.'));
  await expect(refused.next()).rejects.toThrow();
  expect(turn()).toEqual(['one large']);
  await nextTurn();
  expect(sent).toEqual(['one large']);
  expect(planned).toEqual([]);
});
