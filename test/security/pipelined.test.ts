import { connect as openSocket } from 'node:net';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { createTestDatabase, type TestDatabase } from '../support/database.js';
import { openDoors, type Doors } from '../support/doors.js';

/** Requests that are sent at once on one connection, without waiting for answers. */

let db: TestDatabase;
let doors: Doors;
beforeAll(async () => {
  db = await createTestDatabase();
  doors = await openDoors(db);
});
afterAll(async () => {
  await doors.close();
  await db.drop();
});

const finished = (): number => doors.observations.filter(({ kind }) => kind === 'request.finished').length;

/** Sends them in one write, the last asking for the end; answers how many were answered when the connection has closed. */
function sendAtOnce(count: number): Promise<number> {
  const one = (header: string): string => `GET /health/live HTTP/1.1\r\nHost: footsteps\r\n${header}\r\n`;
  return new Promise((resolve) => {
    const socket = openSocket(Number(new URL(doors.url).port), '127.0.0.1');
    let said = '';
    socket.on('data', (bytes) => (said += bytes.toString()));
    socket.on('error', () => {});
    socket.once('close', () => resolve(said.split('HTTP/1.1 200').length - 1));
    socket.write(one('').repeat(count - 1) + one('Connection: close\r\n'));
  });
}

test('a few are answered, in order; a connection that sends thousands is cut, and they are not done', async () => {
  expect(await sendAtOnce(50)).toBe(50);
  const before = finished();
  expect(await sendAtOnce(20_000)).toBeLessThan(1_000);
  expect(finished() - before).toBeLessThan(1_000);
  expect((await fetch(`${doors.url}/health/live`)).status).toBe(200);
});
