import { once } from 'node:events';
import { createServer as createHttpServer, type IncomingMessage } from 'node:http';
import { createServer, type AddressInfo, type Server, type Socket } from 'node:net';
import { createServer as createTlsServer } from 'node:tls';
import { afterAll, expect, test } from 'vitest';
import { createOutbound, failure } from '../../src/adapters/outbound.js';
import type { OutboundAnswer } from '../../src/services/webhooks/outbound.js';
import { startNameServer } from '../support/name-server.js';
import { RECEIVER_TLS } from '../support/receiver-tls.js';

/** A receiver holds a place for a bounded time, whatever it answers, and nothing of it stays open. */

const closers: (() => void)[] = [];
afterAll(() => closers.forEach((close) => close()));

async function listen(server: Server): Promise<number> {
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  closers.push(() => server.close());
  return (server.address() as AddressInfo).port;
}

/** Short, so that those who say nothing are given up at once. */
const WITHIN = 400;
const impatient = createOutbound({ reach: 'private', answerWithin: WITHIN });
const outbound = createOutbound({ reach: 'private' });
const BODY = Buffer.from('{"type":"changes"}');
const post = (url: string, by = outbound, body = BODY): Promise<OutboundAnswer> =>
  by.post({ url, headers: { 'X-Test': 'yes' }, body }, new AbortController().signal);

/** Sends to a receiver that does this with the connection after the request's head has come. Waits for the connection's end. */
async function meet(answer: (socket: Socket) => void, by = outbound, body = BODY): Promise<OutboundAnswer> {
  let closed!: () => void;
  const over = new Promise<void>((resolve) => (closed = resolve));
  let met: Socket | undefined;
  const server = createServer((socket) => {
    met = socket;
    socket.on('error', () => {});
    socket.on('close', closed);
    socket.once('data', () => answer(socket));
  });
  const got = await post(`http://127.0.0.1:${await listen(server)}/`, by, body);
  // Who does not read does not see the end.
  met?.resume();
  await over;
  return got;
}

/** Writes a text again and again, as long as the other side takes it. */
const endlessly = (socket: Socket, text: string): void => {
  const more = (): void => {
    while (!socket.destroyed && socket.write(text));
  };
  socket.on('drain', more);
  more();
};
const answered = (status: number, retryAfter?: string): OutboundAnswer => ({ kind: 'ANSWERED', status, retryAfter });
const TOO_MUCH = { kind: 'FAILED', why: 'The receiver sends interim answers without end.' };
const TOO_LATE = { kind: 'FAILED', why: `The receiver did not answer within ${WITHIN / 1_000} s.` };

test.each<[string, (socket: Socket) => void, unknown]>([
  ['takes it', (s) => s.end('HTTP/1.1 204 No Content\r\n\r\n'), answered(204)],
  ['refuses it', (s) => s.end('HTTP/1.1 503 No\r\nRetry-After: 7\r\n\r\n'), answered(503, '7')],
  ['redirects', (s) => s.end('HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\n\r\n'), answered(302)],
  [
    'changes the protocol',
    (s) => s.write('HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n'),
    answered(101),
  ],
  [
    'changes the protocol without a word',
    (s) => s.write('HTTP/1.1 101 x\r\n\r\n'),
    expect.objectContaining({ kind: expect.any(String) }),
  ],
  ['says nothing', () => {}, TOO_LATE],
  ['asks to go on, for ever', (s) => endlessly(s, 'HTTP/1.1 100 Continue\r\n\r\n'.repeat(100)), TOO_MUCH],
  [
    'gives hints, for ever',
    (s) => endlessly(s, 'HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n'.repeat(100)),
    TOO_MUCH,
  ],
  [
    'sends headers without end',
    (s) => (s.write('HTTP/1.1 200 OK\r\n'), endlessly(s, 'X-More: more\r\n'.repeat(100))),
    { kind: 'FAILED', why: 'The headers of the answer are too large.' },
  ],
  [
    'sends one endless header',
    (s) => (s.write('HTTP/1.1 200 OK\r\nX: '), endlessly(s, 'x'.repeat(1_000))),
    { kind: 'FAILED', why: 'The headers of the answer are too large.' },
  ],
  ['sends half a head', (s) => s.write('HTTP/1.1 200 OK\r\nContent-'), TOO_LATE],
  [
    'sends a body without end',
    (s) => (s.write('HTTP/1.1 200 OK\r\n\r\n'), endlessly(s, 'x'.repeat(1_000))),
    answered(200),
  ],
  ['sends a part of its body', (s) => s.write('HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nx'), answered(200)],
  ['sends a broken body', (s) => s.write('HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n'), answered(200)],
  ['dies', (s) => s.destroy(), { kind: 'FAILED', why: 'The receiver closed the connection without an answer.' }],
  [
    'resets',
    (s) => s.resetAndDestroy(),
    { kind: 'FAILED', why: 'The receiver closed the connection without an answer.' },
  ],
  [
    'is no web server',
    (s) => s.write('220 mail.example.com ESMTP\r\n'),
    { kind: 'FAILED', why: 'The answer is not HTTP.' },
  ],
])('a receiver that %s', async (_what, answer, expected) => {
  expect(await meet(answer, expected === TOO_LATE ? impatient : outbound)).toEqual(expected);
});

test('a receiver that does not read', async () => {
  expect(await meet((socket) => void socket.pause(), impatient, Buffer.alloc(20_000_000, 32))).toEqual(TOO_LATE);
});

test('nobody listens, and nobody knows the name', async () => {
  const server = createServer();
  const port = await listen(server);
  server.close();
  await once(server, 'close');
  expect(await post(`http://127.0.0.1:${port}/`)).toEqual({
    kind: 'FAILED',
    why: 'The receiver refused the connection.',
  });
  const names = await startNameServer((name) =>
    name === 'silent.test' ? null : name === 'alias.test' ? ['nobody.test'] : [],
  );
  closers.push(() => names.close());
  const asking = createOutbound({ reach: 'public', nameServers: [names.address] });
  const hurried = createOutbound({ reach: 'public', nameServers: [names.address], answerWithin: WITHIN });
  // An alias: its answer has no error and no address.
  for (const name of ['nobody.test', 'alias.test'])
    expect(await post(`https://${name}/`, asking)).toMatchObject({
      kind: 'FAILED',
      why: expect.stringMatching(/^The host has no public address/),
    });
  expect(await post('https://silent.test/', hurried)).toEqual(TOO_LATE);
});

test('a network that this machine does not have says nothing of the receiver, unless another of its addresses does', () => {
  const of = (code: string): Error => Object.assign(new Error(code), { code });
  const TROUBLE = { kind: 'TROUBLE', why: 'The server could not connect (ENETUNREACH).' };
  const REFUSED = { kind: 'FAILED', why: 'The receiver refused the connection.' };
  expect(failure(of('ENETUNREACH'))).toEqual(TROUBLE);
  expect(failure(new AggregateError([of('ENETUNREACH'), of('ENETUNREACH')]))).toEqual(TROUBLE);
  expect(failure(new AggregateError([of('ECONNREFUSED'), of('ENETUNREACH')]))).toEqual(REFUSED);
  expect(failure(new AggregateError([of('ENETUNREACH'), of('ECONNREFUSED')]))).toEqual(REFUSED);
});

test('a closing server does not wait', async () => {
  const stop = new AbortController();
  const server = createServer((socket) => {
    socket.on('error', () => {});
    socket.once('data', () => stop.abort());
  });
  const url = `http://127.0.0.1:${await listen(server)}/`;
  expect(await outbound.post({ url, headers: {}, body: BODY }, stop.signal)).toMatchObject({ kind: 'TROUBLE' });
  expect(await outbound.post({ url, headers: {}, body: BODY }, stop.signal)).toMatchObject({ kind: 'TROUBLE' });
});

test('the message arrives whole, with its headers', async () => {
  let got!: (request: { body: string; headers: IncomingMessage['headers'] }) => void;
  const arrived = new Promise<{ body: string; headers: IncomingMessage['headers'] }>((resolve) => (got = resolve));
  const server = createHttpServer((request, response) => {
    let body = '';
    request.on('data', (part: Buffer) => (body += part.toString()));
    request.on('end', () => {
      response.writeHead(200).end('thanks');
      got({ body, headers: request.headers });
    });
  });
  expect(await post(`http://127.0.0.1:${await listen(server)}/hook?a=b`)).toEqual(answered(200));
  expect(await arrived).toMatchObject({ body: BODY.toString(), headers: { 'x-test': 'yes', connection: 'close' } });
});

test('a certificate is verified, for the name in the URL', async () => {
  let handshakes = 0;
  const server = createTlsServer(RECEIVER_TLS, (socket) => {
    handshakes += 1;
    socket.on('error', () => {});
    socket.once('data', () => socket.end('HTTP/1.1 200 OK\r\n\r\n'));
  });
  server.on('tlsClientError', () => {});
  const port = await listen(server);
  const names = await startNameServer(() => ['127.0.0.1']);
  closers.push(() => names.close());
  const by = (ca?: string) => createOutbound({ reach: 'private', nameServers: [names.address], ...(ca ? { ca } : {}) });
  expect(await post(`https://receiver.test:${port}/`, by())).toEqual({
    kind: 'FAILED',
    why: 'The certificate of the receiver is self-signed.',
  });
  expect(await post(`https://other.test:${port}/`, by(RECEIVER_TLS.cert))).toEqual({
    kind: 'FAILED',
    why: 'The certificate of the receiver is for another name.',
  });
  expect(await post(`https://receiver.test:${port}/`, by(RECEIVER_TLS.cert))).toEqual(answered(200));
  expect(handshakes).toBeGreaterThan(0);
});
