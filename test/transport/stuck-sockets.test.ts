import { createServer } from 'node:http';
import { connect, type AddressInfo } from 'node:net';
import { expect, test } from 'vitest';
import { startSlowLine } from '../support/slow-line.js';
import { cutStuckSockets } from '../../src/transport/http/stuck-sockets.js';

test('who reads slowly stays; who has stopped reading is cut', async () => {
  const PATIENCE = 400;
  const http = createServer((_request, response) => {
    const more = (): void => {
      while (response.write(Buffer.alloc(16_384)));
      response.once('drain', more);
    };
    more();
  });
  const cutter = cutStuckSockets(http, PATIENCE);
  await new Promise<void>((resolve) => http.listen(0, '127.0.0.1', resolve));
  let cut = false;
  const closed = new Promise<void>((resolve) => {
    http.on('connection', (connection) =>
      connection.once('close', () => {
        cut = true;
        resolve();
      }),
    );
  });
  const client = connect((http.address() as AddressInfo).port, '127.0.0.1');
  client.on('error', () => {});
  client.write('GET / HTTP/1.1\r\nHost: x\r\n\r\n');
  client.pause();
  // Sips, until the patience has passed several times over.
  const start = performance.now();
  await new Promise<void>((resolve) => {
    const sips = setInterval(() => {
      client.once('data', () => client.pause());
      client.resume();
      if (performance.now() - start < 4 * PATIENCE) return;
      clearInterval(sips);
      resolve();
    }, 5);
  });
  expect(cut).toBe(false);
  await closed;
  client.destroy();
  cutter.close();
  http.close();
});

test('who reads slowly what was one write stays', async () => {
  const PATIENCE = 600;
  const BYTES = 24_000_000;
  const http = createServer((_request, response) => response.end(Buffer.alloc(BYTES)));
  const cutter = cutStuckSockets(http, PATIENCE);
  await new Promise<void>((resolve) => http.listen(0, '127.0.0.1', resolve));
  const line = await startSlowLine((http.address() as AddressInfo).port, 10_000_000);
  const start = performance.now();
  const body = await (await fetch(`http://127.0.0.1:${line.port}/`)).arrayBuffer();
  expect(body.byteLength).toBe(BYTES);
  expect(performance.now() - start).toBeGreaterThan(3 * PATIENCE);
  await line.close();
  cutter.close();
  http.close();
});
