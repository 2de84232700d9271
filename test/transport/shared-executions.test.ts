import { setImmediate as nextTurn } from 'node:timers/promises';
import {
  GraphQLInt,
  GraphQLList,
  GraphQLNonNull,
  GraphQLObjectType,
  GraphQLSchema,
  GraphQLString,
  parse,
} from 'graphql';
import { describe, expect, test } from 'vitest';
import type { Context } from '../../src/schema/context.js';
import { loadBy } from '../../src/schema/loaders.js';
import { createReaders } from '../../src/services/access/reading-turns.js';
import { readsTooMuch, type PrismaDatabase, type Statement } from '../../src/store/database.js';
import { EXECUTING, MessageTurns } from '../../src/transport/graphql/message-turns.js';
import { createSharedExecutions } from '../../src/transport/graphql/shared-executions.js';

/**
 * Large messages: of one project one after another, of several projects beside one another. Many different ones: in turns, and
 * with shared reads.
 */

/** The events whose first user has been read, in order. */
let begun: string[] = [];
/** What the reads of an event wait for. */
const gates = new Map<string, Promise<void>>();

interface Event {
  readonly name: string;
  readonly users: readonly number[];
}

const user = new GraphQLObjectType<{ event: string; id: number }>({
  name: 'User',
  fields: {
    id: {
      type: new GraphQLNonNull(GraphQLInt),
      async resolve({ event, id }) {
        if (id === 0) begun.push(event);
        await gates.get(event);
        return id;
      },
    },
  },
});
const update = new GraphQLObjectType<Event>({
  name: 'Update',
  fields: {
    users: {
      type: new GraphQLNonNull(new GraphQLList(new GraphQLNonNull(user))),
      resolve: ({ name, users }) => users.map((id) => ({ event: name, id })),
    },
  },
});
const schema = new GraphQLSchema({
  query: new GraphQLObjectType({ name: 'Query', fields: { nothing: { type: GraphQLInt } } }),
  subscription: new GraphQLObjectType({
    name: 'Subscription',
    fields: { presence: { type: new GraphQLNonNull(update), resolve: (event) => event as Event } },
  }),
});
const document = parse('subscription { presence { users { id } } }');

const share = createSharedExecutions((like, reads) => ({ ...like, reads }), new MessageTurns(EXECUTING));
function tell(projectId: string, name: string) {
  const caller = { kind: 'project', reach: { projectId, userIds: null }, scopes: new Set() };
  const event: Event = { name, users: Array.from({ length: 1_500 }, (_, id) => id) };
  return share({ schema, document, contextValue: { caller } })(event);
}

test('a project whose reads take long delays its own large messages, and not those of others', async () => {
  begun = [];
  let goOn!: () => void;
  gates.set('slow', new Promise((resolve) => (goOn = resolve)));
  const slow = tell('one', 'slow');
  const behind = tell('one', 'behind');
  const other = (await tell('two', 'other')) as { data: { presence: { users: unknown[] } } };
  expect(other.data.presence.users).toHaveLength(1_500);
  expect(begun.toSorted()).toEqual(['other', 'slow']);
  goOn();
  for (const { data } of await Promise.all([slow, behind])) expect(data).toEqual(other.data);
  expect(begun.at(-1)).toBe('behind');
});

describe('an event that many subscriptions select differently', () => {
  /** What was executed, in order, with the turn of the event loop in which it was. */
  const executed: { name: string; turn: number }[] = [];
  let turn = 0;
  let reads = 0;
  /** Milliseconds that each execution takes. */
  let work = 0;
  const subscribed = new GraphQLSchema({
    query: new GraphQLObjectType({ name: 'Query', fields: { nothing: { type: GraphQLInt } } }),
    subscription: new GraphQLObjectType({
      name: 'Subscription',
      fields: {
        users: {
          type: GraphQLInt,
          async resolve({ name }, _args, context) {
            const end = performance.now() + work;
            while (performance.now() < end);
            executed.push({ name, turn });
            const load = async (keys: readonly string[]): Promise<number[]> => {
              reads += 1;
              await nextTurn();
              return keys.map(({ length }) => length);
            };
            return await loadBy(context, 'devices', 'ada', load);
          },
        },
      },
    }),
  });
  /** No statement is run here. */
  const services = { database: createReaders({} as never)({ kind: 'operator' }) } as unknown as Context['services'];
  const createTell = () => {
    const shareAll = createSharedExecutions(
      (like, reads) => ({ ...like, services, reads }),
      new MessageTurns(EXECUTING),
    );
    return (projectId: string, event: object, at: number, keyId = 'key', userIds: string[] | null = null) => {
      const caller = { kind: 'project', keyId, reach: { projectId, userIds }, scopes: new Set() };
      return shareAll({
        schema: subscribed,
        document: parse(`subscription { a${at}: users }`),
        contextValue: { caller },
      })(event);
    };
  };
  const all = (count: number, tell: (at: number) => unknown): Promise<unknown[]> =>
    Promise.all(Array.from({ length: count }, (_, at) => tell(at)));

  test('is read once for all with the same key and users', async () => {
    reads = 0;
    const [tell, event] = [createTell(), { name: 'event' }];
    await all(50, (at) => tell('one', event, at));
    expect(reads).toBe(1);
    await Promise.all([tell('one', event, 1, 'other key'), tell('one', event, 1, 'key', ['ada'])]);
    // What the other key asks for is there already; a token of certain users reads for itself.
    expect(reads).toBe(2);
    await tell('one', { name: 'next event' }, 1);
    expect(reads).toBe(3);
  });

  test('is executed in many turns of the event loop, and other projects have their turns between', async () => {
    executed.length = 0;
    work = 1;
    let isOver = false;
    const count = (): void => {
      turn += 1;
      if (!isOver) setImmediate(count);
    };
    count();
    const tell = createTell();
    // As many events, so that none of them waits for the reads of another.
    const many = all(200, (at) => tell('one', { name: 'many' }, at));
    await tell('two', { name: 'other' }, 0);
    const before = executed.filter(({ name }) => name === 'many').length;
    await many;
    isOver = true;
    work = 0;
    expect(before).toBeLessThan(100);
    const byTurn = new Map<number, number>();
    for (const one of executed) byTurn.set(one.turn, (byTurn.get(one.turn) ?? 0) + 1);
    // At a millisecond each, a turn has room for five; and for some more where one turn has two beginnings.
    expect(Math.max(...byTurn.values())).toBeLessThanOrEqual(20);
  });
});

test('each subscription reads as much as if it were alone: what a sibling has read uses up nothing of it', async () => {
  /** Each statement reads so much. */
  const EACH = 5 * 1024 * 1024;
  const readers = createReaders({
    async query({ allowance }: Statement) {
      allowance!.left -= EACH;
      if (allowance!.left < 0) throw readsTooMuch();
      return [];
    },
  } as unknown as PrismaDatabase);
  const reading = new GraphQLSchema({
    query: new GraphQLObjectType({ name: 'Query', fields: { nothing: { type: GraphQLInt } } }),
    subscription: new GraphQLObjectType<unknown, Context>({
      name: 'Subscription',
      fields: {
        read: {
          type: GraphQLInt,
          args: { what: { type: GraphQLString } },
          resolve: (_event, { what }, context) =>
            loadBy(context, what as string, 'ada', async (keys, by) => {
              await by.services.database.query({ name: 'read', text: '' });
              return keys.map(() => 1);
            }),
        },
      },
    }),
  });
  const caller = { kind: 'project', keyId: 'key', reach: { projectId: 'one', userIds: null }, scopes: new Set() };
  const shareAll = createSharedExecutions(
    (like, reads) => ({
      ...like,
      services: { database: readers(like.caller) } as unknown as Context['services'],
      reads,
    }),
    new MessageTurns(EXECUTING),
  );
  const event = {};
  const tellOf = (selection: string) =>
    shareAll({ schema: reading, document: parse(`subscription { ${selection} }`), contextValue: { caller } })(event);
  const [both, second, again] = await Promise.all([
    tellOf('a: read(what: "a") b: read(what: "b")'),
    tellOf('only: read(what: "b")'),
    tellOf('one: read(what: "b") two: read(what: "b")'),
  ]);
  expect(both.errors?.[0]?.originalError).toMatchObject({ code: 'ANSWER_TOO_LARGE' });
  expect(second).toEqual({ data: { only: 1 } });
  // What is used twice is counted once.
  expect(again).toEqual({ data: { one: 1, two: 1 } });
});

test('an event that one reader has alone is executed for it, with reads of its own, and not kept', async () => {
  const contexts: (object | undefined)[] = [];
  const alone = createSharedExecutions((like, reads) => {
    contexts.push(reads);
    return { ...like, reads };
  }, new MessageTurns(EXECUTING));
  const caller = { kind: 'project', reach: { projectId: 'one', userIds: null }, scopes: new Set() };
  const execute = alone({ schema, document, contextValue: { caller } });
  const own = { name: 'own', users: [1, 2], isOwn: true };
  const [first, second] = [await execute(own), await execute(own)];
  expect(first).toEqual({ data: { presence: { users: [{ id: 1 }, { id: 2 }] } } });
  expect(second).toEqual(first);
  expect(second).not.toBe(first);
  expect(contexts).toEqual([undefined, undefined]);
  const shared = { name: 'shared', users: [1, 2], isOwn: false };
  expect(await execute(shared)).toBe(await execute(shared));
});
