import { once } from 'node:events';
import { createServer, request, type Server } from 'node:http';
import { connect, type AddressInfo, type Socket } from 'node:net';
import { afterEach, expect, test } from 'vitest';
import { DOORS, MoreDoors } from '../../src/transport/http/more-doors.js';
import { startTestApp } from '../support/app.js';
import { createTestDatabase } from '../support/database.js';

/** A server to which many connect at once accepts them at more doors. */

const closers: (() => unknown)[] = [];
afterEach(async () => {
  for (const close of closers.splice(0)) await close();
});

async function open(): Promise<{ http: Server; doors: MoreDoors; port: number; accepted: Socket[] }> {
  const http = createServer((_request, response) => response.end('here'));
  const accepted: Socket[] = [];
  const doors = new MoreDoors(http, 1_024, (socket) => http.emit('connection', socket));
  http.on('connection', (socket: Socket) => {
    accepted.push(socket);
    doors.connectionCame(performance.now());
  });
  http.listen(0, '127.0.0.1');
  await once(http, 'listening');
  closers.push(() => {
    void doors.close();
    http.closeAllConnections();
    http.close();
  });
  return { http, doors, port: (http.address() as AddressInfo).port, accepted };
}

const ask = (port: number): Promise<string> =>
  new Promise((resolve, reject) => {
    const asked = request({ host: '127.0.0.1', port, agent: false });
    asked.on('response', (response) => void response.toArray().then((parts) => resolve(parts.join('')), reject));
    asked.on('error', reject).end();
  });

/** Holds up the event loop while so many connect. Returns how many the server accepts in the next turn. */
async function acceptedInOneTurn(port: number, accepted: Socket[], count: number): Promise<number> {
  const sockets = Array.from({ length: count }, () => connect(port, '127.0.0.1'));
  closers.push(() => sockets.forEach((socket) => socket.destroy()));
  const before = accepted.length;
  let most = 0;
  for (let last = before; last < before + count;) {
    await new Promise((resolve) => setImmediate(resolve));
    most = Math.max(most, accepted.length - last);
    last = accepted.length;
  }
  return most;
}

test('a rush opens more doors: all are answered, meanwhile too, and a turn accepts more than one', async () => {
  const { port, accepted, doors } = await open();
  // Connections come without a pause until the doors are open: none is lost to the process that copies the handle.
  let answered = 0;
  while (doors.count < DOORS) {
    const answers = await Promise.all(Array.from({ length: 30 }, () => ask(port)));
    answered += answers.filter((text) => text === 'here').length;
  }
  expect(answered % 30).toBe(0);
  expect(await acceptedInOneTurn(port, accepted, 100)).toBeGreaterThan(1);
  expect(await ask(port)).toBe('here');
});

test('who closes leaves no door open', async () => {
  const { http, port, doors } = await open();
  while (doors.count < DOORS) await Promise.all(Array.from({ length: 30 }, () => ask(port)));
  const closed = doors.close();
  http.closeAllConnections();
  http.close();
  await Promise.all([once(http, 'close'), closed]);
  // The process that copied the handle may be ending yet.
  let why = '';
  while (!why.includes('ECONNREFUSED')) why = await ask(port).then(() => 'answered', String);
});

test('a server that stops answers those who are connected and not accepted yet', async () => {
  const db = await createTestDatabase();
  const app = await startTestApp(db);
  const port = Number(new URL(app.url).port);
  const sockets = Array.from({ length: 200 }, () => connect(port, '127.0.0.1'));
  const answers = sockets.map((socket) => {
    socket.write('GET /health/live HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n');
    return socket.toArray().then((parts) => Buffer.concat(parts).toString(), String);
  });
  await Promise.all(sockets.map((socket) => once(socket, 'connect')));
  await app.close('test');
  expect((await Promise.all(answers)).filter((text) => !text.startsWith('HTTP/1.1 200'))).toEqual([]);
  await db.drop();
});
