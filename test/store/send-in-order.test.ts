import { expect, test } from 'vitest';
import type { Queryable } from '../../src/store/database.js';
import { sendInOrder } from '../../src/store/send-in-order.js';

/** Notes what is sent, and answers when it is told to. */
function createLine() {
  const sent: string[] = [];
  const answers: (() => void)[] = [];
  const tx: Queryable = {
    query: ({ name }) => {
      sent.push(name);
      return new Promise((resolve) => answers.push(() => resolve([name as never])));
    },
  };
  return { tx, sent, answer: () => answers.forEach((one) => one()) };
}

const send = (name: string) => (on: Queryable) => on.query<string>({ name, text: '' });

test('what is sent goes in the order of the list, before anything is answered; what is left out answers null', async () => {
  const { tx, sent, answer } = createLine();
  const answered = sendInOrder(tx, [send('first'), null, send('second')]);
  expect(sent).toEqual(['first', 'second']);
  answer();
  expect(await answered).toEqual([['first'], null, ['second']]);
});

test('whoever waits before sending fails, rather than changing the order', async () => {
  const { tx, sent, answer } = createLine();
  const late = async (on: Queryable) => {
    await Promise.resolve();
    return on.query<string>({ name: 'late', text: '' });
  };
  const answered = sendInOrder(tx, [late, send('next')]);
  answer();
  await expect(answered).rejects.toThrow('late was sent too late');
  expect(sent).toEqual(['next']);
});

test('with a pause between, each is made when its turn comes, and an error meanwhile is heard at the end', async () => {
  const { tx, sent, answer } = createLine();
  const turns: string[][] = [];
  const answered = sendInOrder(tx, [() => Promise.reject(new Error('refused')), send('next')], async () => {
    turns.push([...sent]);
  });
  // Listened to at once: it fails before the next turn of the loop.
  const failure = answered.catch((error: Error) => error.message);
  await new Promise((resolve) => setImmediate(resolve));
  answer();
  expect(await failure).toBe('refused');
  expect(turns).toEqual([[], ['next']]);
});
