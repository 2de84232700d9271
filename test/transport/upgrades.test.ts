import { connect, type Socket } from 'node:net';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { createProject, startTestApp, type TestApp } from '../support/app.js';
import { createTestDatabase, type TestDatabase } from '../support/database.js';

/** Requests that ask for a protocol which the server does not speak, as Java's HttpClient sends them. */

let db: TestDatabase;
let app: TestApp;
let key: string;
beforeAll(async () => {
  db = await createTestDatabase();
  app = await startTestApp(db);
  key = await createProject(app.url);
});
afterAll(async () => {
  await app.close('test');
  await db.drop();
});

const QUERY = JSON.stringify({ query: '{ project { __typename } }' });
const ANSWER = '{"data":{"project":{"__typename":"Project"}}';

/** The text of a request. `lines`: headers beside Host and the key. */
const requestOf = (lines: readonly string[], body: string): string =>
  ['POST /graphql HTTP/1.1', 'Host: x', `Authorization: Bearer ${key}`, ...lines, '', body].join('\r\n');

/** Asks for HTTP/2. */
const asking = (connection: string): string[] => [
  `Connection: ${connection}`,
  'Upgrade: h2c',
  'HTTP2-Settings: AAEAAEAAAAIAAAABAAMAAABkAAQBAAAAAAUAAEAA',
  'Content-Type: application/json',
];
const SIZED = `Content-Length: ${QUERY.length}`;

/** A connection, and what it has received. */
function open(): { socket: Socket; until: (condition: (text: string) => boolean) => Promise<string> } {
  const socket = connect(Number(new URL(app.url).port), '127.0.0.1');
  let text = '';
  let look = (): void => {};
  socket.on('data', (data: Buffer) => {
    text += data.toString();
    look();
  });
  socket.on('close', () => look());
  return {
    socket,
    until: (condition) =>
      new Promise((resolve, reject) => {
        look = () => {
          if (condition(text)) resolve(text);
          else if (socket.destroyed) reject(new Error(`It ended after: ${text}`));
        };
        look();
      }),
  };
}

test('they are answered over HTTP/1.1, one after the other on one connection, whatever their bodies are like', async () => {
  const { socket, until } = open();
  const answersOf = (text: string): number => text.split(ANSWER).length - 1;
  for (let count = 1; count <= 30; count += 1) {
    socket.write(requestOf([...asking(count % 2 ? 'Upgrade, HTTP2-Settings' : 'keep-alive, Upgrade'), SIZED], QUERY));
    await until((text) => answersOf(text) === count);
  }
  // One that asks for nothing.
  socket.write(requestOf(['Content-Type: application/json', SIZED], QUERY));
  await until((text) => answersOf(text) === 31);
  // A body in parts, which comes after its head. The server closes the connection after any such body.
  socket.write(requestOf([...asking('HTTP2-Settings, Upgrade'), 'Transfer-Encoding: chunked'], ''));
  socket.write(`${QUERY.length.toString(16)}\r\n${QUERY}\r\n0\r\n\r\n`);
  const text = await until((all) => answersOf(all) === 32 && socket.destroyed);
  expect(text.match(/HTTP\/1\.1 200 /g)).toHaveLength(32);
  expect(text).not.toMatch(/^upgrade:/im);
});

test('Connection: close is heeded', async () => {
  const { socket, until } = open();
  socket.write(requestOf([...asking('close, Upgrade'), SIZED], QUERY));
  await until((text) => text.includes(ANSWER) && socket.destroyed);
});
