import { randomUUID } from 'node:crypto';
import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import WebSocket from 'ws';
import { createProject, eventually, post, startTestApp, type TestApp } from '../support/app.js';
import { createTestDatabase, type TestDatabase } from '../support/database.js';
import { record } from '../support/ledger.js';
import { createUnfinished } from '../../src/transport/http/unfinished.js';

/** What a stranger can hold open: sockets, messages that do not end, subscriptions. */

let db: TestDatabase;
let app: TestApp;
let key: string;
beforeAll(async () => {
  db = await createTestDatabase();
  app = await startTestApp(db, { RATE_LIMIT_PER_ADDRESS: '0', RATE_LIMIT_PER_KEY: '0' });
  key = await createProject(app.url);
});
afterAll(async () => {
  await app.close('test');
  await db.drop();
});

const MEGABYTE = 1024 * 1024;
setFlagsFromString('--expose-gc');
const collectGarbage = runInNewContext('gc') as () => void;
function heldMemory(): number {
  collectGarbage();
  const { heapUsed, external } = process.memoryUsage();
  return heapUsed + external;
}

const WATCH = 'subscription { userPresence(identities: ["nobody"]) { kind } }';

/** A socket of the protocol, by hand. */
function open({ url } = app, headers: Record<string, string> = {}) {
  const socket = new WebSocket(`${url.replace('http', 'ws')}/graphql`, 'graphql-transport-ws', {
    headers,
    // Frames are also written below it. What is compressed: test/transport/compression.test.ts.
    perMessageDeflate: false,
  });
  const said: { type: string; id?: string; payload?: any }[] = [];
  socket.on('message', (data: Buffer) => said.push(JSON.parse(data.toString())));
  socket.on('error', () => {});
  const closed = new Promise<number>((resolve) => socket.once('close', (code) => resolve(code)));
  const opened = new Promise<number>((resolve) => {
    socket.once('open', () => resolve(101));
    socket.once('unexpected-response', (_request, { statusCode }) => resolve(statusCode!));
    socket.once('error', () => resolve(0));
  });
  return {
    socket,
    said,
    opened,
    closed,
    send: (message: object) => socket.send(JSON.stringify(message)),
    async enter(credential = key): Promise<boolean> {
      await opened;
      socket.send(JSON.stringify({ type: 'connection_init', payload: { authorization: credential } }));
      const isOver = await Promise.race([
        closed.then(() => true),
        eventually(() => said.some(({ type }) => type === 'connection_ack')).then(() => false),
      ]);
      return !isOver;
    },
    of: (id: string) => said.filter((message) => message.id === id),
  };
}

/** The header of a masked frame of a client, whose mask changes nothing. */
function frameHeader(length: number, { fin = true, opcode = 1 } = {}): Buffer {
  const header = Buffer.alloc(14);
  header[0] = (fin ? 0x80 : 0) | opcode;
  header[1] = 0x80 | 127;
  header.writeBigUInt64BE(BigInt(length), 2);
  return header;
}

/** The connection below a socket. */
const below = (socket: WebSocket): Socket => (socket as unknown as { _socket: Socket })._socket;
const isGone = (connection: Socket): Promise<void> =>
  new Promise((resolve) => (connection.destroyed ? resolve() : void connection.once('close', () => resolve())));

describe('before connection_ack', () => {
  test('a socket that sends more than 4 KiB is told and closed, whole message or not', async () => {
    const message = open();
    await message.opened;
    message.send({ type: 'connection_init', payload: { authorization: key, more: 'x'.repeat(5_000) } });
    const [code, reason] = (await once(message.socket, 'close')) as [number, Buffer];
    expect([code, reason.toString()]).toEqual([4400, 'A client sends at most 4096 bytes before connection_ack']);

    const unfinished = open();
    await unfinished.opened;
    below(unfinished.socket).write(Buffer.concat([frameHeader(7_900_000), Buffer.alloc(8_000, 'x')]));
    expect(await unfinished.closed).toBe(4400);

    const pings = open();
    await pings.opened;
    for (let at = 0; at < 100; at += 1) pings.send({ type: 'ping', payload: { x: 'x'.repeat(100) } });
    expect(await pings.closed).toBe(4400);

    const good = open();
    expect(await good.enter(`Bearer ${key}${' '.repeat(3_000)}`)).toBe(true);
    good.socket.terminate();
  });

  test('80 unfinished messages of 7.9 MB hold nothing', async () => {
    const sockets = Array.from({ length: 80 }, () => open());
    await Promise.all(sockets.map(({ opened }) => opened));
    const before = process.memoryUsage.rss();
    const block = Buffer.alloc(7_900_000 - 100, 'x');
    const gone = sockets.map(({ socket, closed }) => {
      below(socket).write(frameHeader(7_900_000));
      below(socket).write(block);
      return closed;
    });
    await Promise.all(gone);
    const grown = process.memoryUsage.rss() - before;
    expect(grown).toBeLessThan(256 * MEGABYTE);
    record('80 unfinished messages before connection_ack: megabytes more', Math.round(grown / MEGABYTE));
  }, 60_000);

  test('a socket that does not say who it is is gone soon after 5 s, even where it does not answer', async () => {
    const deaf = connect(Number(new URL(app.url).port), '127.0.0.1');
    deaf.write(
      'GET /graphql HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n' +
        'Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Protocol: graphql-transport-ws\r\n\r\n',
    );
    deaf.on('error', () => {});
    // It reads, and answers nothing.
    deaf.resume();
    const start = performance.now();
    await isGone(deaf);
    expect(performance.now() - start).toBeLessThan(20_000);
  }, 30_000);
});

describe('unfinished messages', () => {
  test('beyond what they may take together whoever holds most is cut, and no other', () => {
    const cut: string[] = [];
    const unfinished = createUnfinished(1_000);
    const [large, small] = ['large', 'small'].map((name) => unfinished.begin(() => cut.push(name)));
    large!.add(700);
    small!.add(200);
    expect(cut).toEqual([]);
    small!.add(200);
    expect(cut).toEqual(['large']);
    small!.add(500);
    expect(cut).toEqual(['large']);
    small!.take(600);
    small!.add(600);
    expect(cut).toEqual(['large']);
    small!.done();
    small!.add(1_000);
    small!.add(1);
    expect(cut).toEqual(['large', 'small']);
  });

  /** Frames of one byte, of a message that does not end. */
  const crumbs = (count: number): Buffer => {
    const frame = (opcode: number) => Buffer.from([opcode, 0x81, 0, 0, 0, 0, 0x20]);
    return Buffer.concat([frame(0x01), ...Array.from({ length: count - 1 }, () => frame(0x00))]);
  };

  test('16,000 frames of a byte take little more memory than their bytes', async () => {
    const sockets = Array.from({ length: 40 }, () => open());
    for (const { enter } of sockets) await enter();
    const before = heldMemory();
    const block = crumbs(16_000);
    for (const { socket } of sockets) {
      below(socket).write(block);
      // The pong of a ping behind them: all have arrived.
      socket.ping();
      await once(socket, 'pong');
    }
    const held = heldMemory() - before;
    record('40 messages of 16,000 frames of a byte: kilobytes held', Math.round(held / 1024));
    expect(held).toBeLessThan(8 * MEGABYTE);
    for (const { socket } of sockets) socket.terminate();
  }, 60_000);

  test('a message of many frames is read, with pings between them; one of too many frames or bytes is refused with 1008 or 1009', async () => {
    const { socket, said, closed, enter } = open();
    await enter();
    const text = JSON.stringify({
      id: 'parts',
      type: 'subscribe',
      payload: { query: '{ project { name } }', x: 'ä€'.repeat(4_000) },
    });
    const bytes = Buffer.from(text);
    const sizes = [1, 7, 2, 300, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1];
    let at = 0;
    for (let part = 0; at < bytes.length; part += 1) {
      const end = Math.min(at + sizes[part % sizes.length]!, bytes.length);
      socket.send(bytes.subarray(at, end), { fin: end === bytes.length, binary: false });
      if (part % 100 === 0) socket.ping();
      at = end;
    }
    await eventually(() => said.some(({ id }) => id === 'parts'));
    expect(said.find(({ id }) => id === 'parts')!.payload.data).toEqual({ project: { name: expect.any(String) } });
    below(socket).write(crumbs(16_385));
    expect(await closed).toBe(1008);
    // So is one of too many bytes, while its client still sends.
    const large = open();
    await large.enter();
    below(large.socket).write(frameHeader(9_000_000));
    below(large.socket).write(Buffer.alloc(9_000_000, 'x'));
    expect(await large.closed).toBe(1009);
  });

  test('of those who are let in hold 128 MiB together, pings in between or not; others are heard', async () => {
    const sockets = Array.from({ length: 40 }, () => open());
    expect(await Promise.all(sockets.map((one) => one.enter()))).not.toContain(false);
    const before = heldMemory();
    const block = Buffer.alloc(7_900_000, 'x');
    for (const { socket } of sockets) {
      const connection = below(socket);
      connection.write(frameHeader(block.length, { fin: false }));
      connection.write(block);
      for (let at = 0; at < 10; at += 1) connection.write(Buffer.from([0x89, 0x80, 0, 0, 0, 0]));
    }
    await eventually(() => sockets.filter(({ socket }) => socket.readyState === socket.CLOSED).length >= 20, 30_000);
    // All that was sent has come.
    const good = open();
    await good.enter();
    good.send({ id: '1', type: 'subscribe', payload: { query: '{ project { name } }' } });
    await eventually(() => good.of('1').some(({ type }) => type === 'complete'));
    const held = heldMemory() - before;
    expect(held).toBeLessThan(256 * MEGABYTE);
    record('40 unfinished messages after connection_ack: megabytes held', Math.round(held / MEGABYTE));
    good.socket.terminate();
    for (const { socket } of sockets) socket.terminate();
  }, 60_000);

  test('of bodies over HTTP neither', async () => {
    const { port } = new URL(app.url);
    const before = heldMemory();
    const connections = Array.from({ length: 40 }, (_, at) => {
      const connection = connect(Number(port), '127.0.0.1');
      const path = at % 2 ? '/api/v2/events' : '/graphql';
      const accept = at % 4 ? 'application/json' : 'text/event-stream';
      connection.write(
        `POST ${path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer ${key}\r\nAccept: ${accept}\r\nContent-Type: application/json\r\nContent-Length: 7900000\r\n\r\n`,
      );
      connection.write(Buffer.alloc(7_800_000, ' '));
      connection.on('error', () => {});
      connection.resume();
      return connection;
    });
    await eventually(() => connections.filter(({ destroyed }) => destroyed).length >= 20, 30_000);
    expect((await post(app.url, key, '{ project { name } }')).status).toBe(200);
    const held = heldMemory() - before;
    expect(held).toBeLessThan(256 * MEGABYTE);
    record('40 unfinished bodies: megabytes held', Math.round(held / MEGABYTE));
    for (const connection of connections) connection.destroy();
  }, 60_000);
});

describe('what a socket holds', () => {
  test('an id of more than 128 characters closes it', async () => {
    const long = open();
    await long.enter();
    long.send({ id: 'x'.repeat(128), type: 'subscribe', payload: { query: WATCH } });
    await eventually(() => long.of('x'.repeat(128)).length > 0);
    long.send({ id: 'x'.repeat(129), type: 'subscribe', payload: { query: WATCH } });
    expect(await long.closed).toBe(4400);
    expect(app.observations.filter(({ kind }) => kind === 'task.failed')).toEqual([]);
  });

  test('100 subscriptions, then none until one ends; queries go on', async () => {
    const many = open();
    await many.enter();
    for (let at = 0; at < 100; at += 1) many.send({ id: String(at), type: 'subscribe', payload: { query: WATCH } });
    await eventually(() => many.said.filter(({ type }) => type === 'next').length === 100);
    many.send({ id: 'more', type: 'subscribe', payload: { query: WATCH } });
    await eventually(() => many.of('more').length > 0);
    expect(JSON.stringify(many.of('more'))).toContain('TOO_MANY_SUBSCRIPTIONS');
    many.send({ id: 'query', type: 'subscribe', payload: { query: '{ project { name } }' } });
    await eventually(() => many.of('query').some(({ payload }) => payload?.data?.project));
    many.send({ id: '7', type: 'complete' });
    let next = 0;
    // It has ended when the next finds room.
    await eventually(() => {
      const id = `next ${(next += 1)}`;
      many.send({ id, type: 'subscribe', payload: { query: WATCH } });
      return eventually(() => many.of(id).length > 0).then(() => many.of(id)[0]!.payload.data !== undefined);
    });
    many.socket.terminate();
  });

  test('1 MiB of what its subscriptions were asked with', async () => {
    const heavy = open();
    await heavy.enter();
    const subscribe = (id: string) =>
      heavy.send({
        id,
        type: 'subscribe',
        payload: { query: WATCH, variables: { junk: 'x'.repeat(400_000) }, extensions: { junk: randomUUID() } },
      });
    for (const id of ['1', '2', '3']) subscribe(id);
    await eventually(() => ['1', '2', '3'].every((id) => heavy.of(id).length > 0));
    expect(heavy.of('2')[0]!.payload.data).toBeDefined();
    expect(JSON.stringify(heavy.of('3'))).toContain('TOO_MANY_SUBSCRIPTIONS');
    heavy.socket.terminate();
  });

  test('large pings of a client that reads nothing are not answered, and end its socket', async () => {
    const deaf = open();
    await deaf.enter();
    deaf.socket.pause();
    const before = heldMemory();
    const text = JSON.stringify({ type: 'ping', payload: { x: 'x'.repeat(1_000_000) } });
    let sent = 0;
    for (let at = 0; at < 100; at += 1) deaf.socket.send(text, () => (sent += 1));
    // All are sent, or have failed: the server has ended the connection.
    await eventually(() => sent === 100, 30_000);
    // The test's own hundred wait here as well.
    expect(heldMemory() - before).toBeLessThan(256 * MEGABYTE);
    deaf.socket.resume();
    expect([1006, 4400]).toContain(await deaf.closed);
    expect(deaf.said.filter(({ type }) => type === 'pong')).toEqual([]);
  }, 60_000);
});

describe('how many', () => {
  let narrow: TestApp;
  beforeAll(async () => {
    narrow = await startTestApp(db, {
      REDIS_URL: '',
      SOCKETS_PER_KEY: '3',
      SOCKETS_PER_ADDRESS: '5',
      TRUSTED_PROXIES: 'loopback',
    });
  });
  afterAll(() => narrow.close('test'));
  const from = (address: string) => ({ 'X-Forwarded-For': address });
  const stream = (address: string) => {
    const ending = new AbortController();
    const answer = fetch(`${narrow.url}/graphql?query=${encodeURIComponent(WATCH)}&access_token=${key}`, {
      headers: { Accept: 'text/event-stream', ...from(address) },
      signal: ending.signal,
    });
    return { answer, end: () => ending.abort() };
  };

  test('sockets of an address, known or not; those that close make room', async () => {
    const sockets = Array.from({ length: 5 }, () => open(narrow, from('10.0.0.1')));
    expect(await Promise.all(sockets.map(({ opened }) => opened))).toEqual([101, 101, 101, 101, 101]);
    expect(await open(narrow, from('10.0.0.1')).opened).toBe(429);
    expect((await stream('10.0.0.1').answer).status).toBe(429);
    expect(await open(narrow, from('10.0.0.2')).opened).toBe(101);
    sockets[0]!.socket.terminate();
    await eventually(async () => (await open(narrow, from('10.0.0.1')).opened) === 101);
    for (const { socket } of sockets) socket.terminate();
  });

  test('sockets and streams of a key, from anywhere; its operations go on', async () => {
    const [one, two, three, four] = ['1', '2', '3', '4'].map((end) => open(narrow, from(`10.1.0.${end}`)));
    const watched = stream('10.1.0.5');
    expect((await watched.answer).status).toBe(200);
    expect([await one!.enter(), await two!.enter()]).toEqual([true, true]);
    expect(await three!.enter()).toBe(false);
    expect(await three!.closed).toBe(1013);
    const refused = await stream('10.1.0.6').answer;
    expect([refused.status, await refused.text()]).toEqual([429, expect.stringContaining('TOO_MANY_SUBSCRIPTIONS')]);
    expect((await post(narrow.url, key, '{ project { name } }', undefined, { headers: from('10.1.0.7') })).status).toBe(
      200,
    );
    watched.end();
    await four!.opened;
    await eventually(async () => {
      const again = open(narrow, from('10.1.0.8'));
      const isIn = await again.enter();
      if (!isIn) await again.closed;
      return isIn;
    });
    for (const each of [one, two, three, four]) each!.socket.terminate();
  });

  test('a subscription that is posted by whoever takes anything is a stream, and gives its place back', async () => {
    for (let at = 0; at < 5; at += 1) {
      const ending = new AbortController();
      const answer = await fetch(`${narrow.url}/graphql`, {
        method: 'POST',
        headers: { 'Content-Type': 'application/json', Authorization: `Bearer ${key}`, ...from('10.1.1.1') },
        body: JSON.stringify({ query: WATCH }),
        signal: AbortSignal.any([ending.signal, AbortSignal.timeout(10_000)]),
      });
      expect([answer.status, answer.headers.get('content-type')]).toEqual([200, 'text/event-stream']);
      ending.abort();
      await eventually(() => {
        const kinds = narrow.observations.map(({ kind }) => kind);
        const count = (kind: string): number => kinds.filter((one) => one === kind).length;
        return count('watcher.closed') === count('watcher.opened');
      });
    }
  });

  test('a subscription that is given up and asked for again under its id at once ends with its socket', async () => {
    const socket = open(narrow, from('10.1.2.1'));
    expect(await socket.enter()).toBe(true);
    const count = (kind: string): number => narrow.observations.filter((one) => one.kind === kind).length;
    const before = count('watcher.opened');
    for (let at = 0; at < 10; at += 1) {
      const asked = { id: String(at), type: 'subscribe', payload: { query: WATCH } };
      for (const message of [asked, { id: String(at), type: 'complete' }, asked]) socket.send(message);
    }
    await eventually(() => count('watcher.opened') >= before + 10);
    socket.send({ id: 'last', type: 'subscribe', payload: { query: '{ __typename }' } });
    await eventually(() => socket.of('last').length > 0);
    socket.socket.terminate();
    await eventually(() => count('watcher.closed') === count('watcher.opened'));
  });

  test('a socket is charged to its address when it opens, and for each operation', async () => {
    const counted = await startTestApp(db, {
      REDIS_URL: '',
      RATE_LIMIT_PER_ADDRESS: '4',
      TRUSTED_PROXIES: 'loopback',
    });
    const socket = open(counted, from('10.2.0.1'));
    expect(await socket.enter()).toBe(true);
    for (let at = 0; at < 5; at += 1)
      socket.send({ id: String(at), type: 'subscribe', payload: { query: `{ nothing${at} }` } });
    const ids = ['0', '1', '2', '3', '4'];
    await eventually(() => ids.every((id) => socket.of(id).length > 0));
    const codes = ids.map((id) => socket.of(id)[0]!.payload[0].extensions.code);
    expect(codes.filter((code) => code === 'GRAPHQL_VALIDATION_FAILED')).toHaveLength(3);
    expect(codes.filter((code) => code === 'RATE_LIMITED')).toHaveLength(2);
    expect(await open(counted, from('10.2.0.1')).opened).toBe(429);
    socket.socket.terminate();
    await counted.close('test');
  });
});
