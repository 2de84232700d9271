import { expect, test } from 'vitest';
import { eventOfQuery } from '../../src/transport/collector/translate-query.js';
import { translateBody } from '../../src/transport/collector/translate-body.js';
import { translateEvent } from '../../src/transport/collector/translate-event.js';

/** What anybody with a page's key sends to the collector, as oddly as can be: its cost follows what was sent. */

const range = <One>(count: number, make: (at: number) => One): One[] =>
  Array.from({ length: count }, (_, at) => make(at));

test('a collector event of a megabyte that spells data 30,000 ways is translated in its own time', () => {
  const spellings = range(30_000, (at) =>
    [...'data']
      .map(
        (letter, place) =>
          ((at >> place) & 1 ? letter.toUpperCase() : letter) + '_'.repeat((at >> (4 + 3 * place)) & 7),
      )
      .join(''),
  );
  const posted = Object.fromEntries(spellings.map((name) => [name, { name: 1, '@error': 1 }]));
  const start = process.cpuUsage();
  const { data } = translateEvent({ ...posted, message: 'kept' }, { version: '1' });
  expect(process.cpuUsage(start).user).toBeLessThan(1_500_000);
  expect(Object.keys(data!).length).toBeLessThanOrEqual(1_001);
  expect(data).toMatchObject({ name: 1, name1: 1, name2: 1, '@submission_client': { version: '1' } });
});

test('of more than a thousand fields the known ones stay, wherever they stand', () => {
  const many = Object.fromEntries(range(5_000, (at) => [`field${at}`, at]));
  const user = { identity: 'ada' };
  const event = translateEvent({ ...many, data: { ...many, '@user': user, '@version': '2' }, type: 'error' }, {});
  expect(event).toMatchObject({ type: 'error', version: '2', user });
  expect(Object.keys(event.data!).length).toBeLessThanOrEqual(1_010);
});

/** What this process works meanwhile. */
function workOf(task: () => void): number {
  const start = process.cpuUsage();
  task();
  return process.cpuUsage(start).user;
}

test('of four million lines, which are 8 kB compressed, no more are looked at than a request may have', () => {
  const text = 'a\n'.repeat(4_000_000);
  const whole = workOf(() => text.split('\n'));
  const refused = workOf(() =>
    expect(() => translateBody(text, {}, 2)).toThrow(expect.objectContaining({ code: 'PAYLOAD_TOO_LARGE' })),
  );
  expect(refused).toBeLessThan(whole / 4);
});

test('each line that is not blank is an event, without the space around it', () => {
  const linesOf = (text: string) => translateBody(text, {}, 2).events.map(({ message }) => message);
  expect(linesOf('\r\n  one two \t\r\r\n\n \u00a0 \nthree\n{"four": 4}')).toEqual(['one two', 'three', '{"four": 4}']);
  expect(linesOf(' \n \r\n')).toEqual([]);
  expect(linesOf('x\n\n'.repeat(1_000))).toHaveLength(1_000);
  expect(() => linesOf('x\n'.repeat(1_001))).toThrow('more than 1000 events');
});

test('an error of version 1 whose code has no text form harms no other', () => {
  const odd = { OccurrenceDate: null, Code: { toString: 1, valueOf: 1 }, Message: 'odd' };
  const { events } = translateBody(
    JSON.stringify([odd, { OccurrenceDate: null, Code: 404, Message: 'missing' }]),
    {},
    1,
  );
  expect(events).toMatchObject([
    { type: 'error', message: 'odd' },
    { type: '404', message: 'missing' },
  ]);
});

test('parameters with names that every object has are data like others', () => {
  const query = new URLSearchParams('constructor=1&__proto__=2&__proto__=3&message=hello');
  const posted = eventOfQuery(query, null)!;
  expect(Object.keys(posted)).toEqual(['message', 'type', 'tags', 'data']);
  expect(Object.entries(posted['data']!)).toEqual([
    ['constructor', '1'],
    ['__proto__', ['2', '3']],
  ]);
});
