import { once } from 'node:events';
import type { IncomingMessage } from 'node:http';
import { randomBytes } from 'node:crypto';
import { connect, type Socket } from 'node:net';
import zlib, { constants, deflateRawSync, gunzipSync, inflateRawSync } from 'node:zlib';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest';
import { WebSocket, type ClientOptions } from 'ws';
import { Deflater, SharedText } from '../../src/transport/graphql/deflate.js';
import { textStream } from '../../src/transport/graphql/text-stream.js';
import { ZlibTurns } from '../../src/transport/http/zlib-turns.js';
import { deflatedFrame, inflateWithin, offerToMeet } from '../../src/transport/websocket/compression.js';
import { createProject, eventually, post, startTestApp, type TestApp } from '../support/app.js';
import { createTestDatabase, type TestDatabase } from '../support/database.js';

/** Large messages are compressed once for all who take them so; small ones go as they are. */

const USERS = 500;
const PRESENCE = 'subscription { userPresence { kind users { id identity status onlineSessions lastSeenAt } } }';

let db: TestDatabase;
let app: TestApp;
let key: string;
beforeAll(async () => {
  db = await createTestDatabase();
  app = await startTestApp(db);
  key = await createProject(app.url);
  const events = Array.from({ length: USERS }, (_, at) => ({ type: 'view', user: { identity: `user-${at}` } }));
  await post(app.url, key, 'mutation ($events: [EventInput!]!) { ingestEvents(events: $events) { accepted } }', {
    events,
  });
});
afterAll(async () => {
  await app.close('test');
  await db.drop();
});

/** A socket after connection_ack: what it has heard, and its connection. */
async function openSocket(options: ClientOptions, credential = key) {
  const socket = new WebSocket(`${app.url.replace('http', 'ws')}/graphql`, 'graphql-transport-ws', options);
  let connection!: Socket;
  socket.once('upgrade', ({ socket: below }: IncomingMessage) => (connection = below));
  const heard: string[] = [];
  socket.on('message', (data: Buffer) => heard.push(data.toString()));
  await once(socket, 'open');
  socket.send(JSON.stringify({ type: 'connection_init', payload: { authorization: `Bearer ${credential}` } }));
  await eventually(() => heard.length > 0);
  return { socket, connection, heard, received: () => connection.bytesRead };
}

const subscribe = (socket: WebSocket, id: string, query = PRESENCE): void =>
  socket.send(JSON.stringify({ id, type: 'subscribe', payload: { query } }));

interface Snapshot {
  readonly payload: {
    readonly data: { readonly userPresence: { readonly users: readonly { readonly id: string }[] } };
  };
}
const usersIn = (text: string) =>
  (JSON.parse(text) as Snapshot).payload.data.userPresence.users.toSorted((one, other) => (one.id < other.id ? -1 : 1));

describe('WebSockets', () => {
  test('who takes it compressed gets the same in a third of the bytes', async () => {
    const [plain, packed] = await Promise.all([openSocket({ perMessageDeflate: false }), openSocket({})]);
    expect([plain.socket.extensions, packed.socket.extensions]).toEqual(['', 'permessage-deflate']);
    const bytes = [];
    for (const { socket, heard, received } of [plain, packed]) {
      const before = received();
      subscribe(socket, 'äöü "id"');
      await eventually(() => heard.length > 1);
      bytes.push(received() - before);
    }
    const [text, unpacked] = [plain.heard[1]!, packed.heard[1]!];
    expect(text.length).toBeGreaterThan(16_384);
    expect(bytes[0]).toBeGreaterThan(text.length);
    expect(bytes[1]).toBeLessThan(text.length / 3);
    expect(usersIn(unpacked)).toEqual(usersIn(text));
    expect(usersIn(unpacked)).toHaveLength(USERS);
    expect(unpacked.startsWith('{"id":"äöü \\"id\\"","type":"next","payload":{')).toBe(true);
    // The connection goes on: what is small comes as it is, between large ones.
    packed.socket.send(JSON.stringify({ type: 'ping' }));
    subscribe(packed.socket, 'second');
    await eventually(() => packed.heard.length > 3);
    expect(
      packed.heard
        .slice(2)
        .map((one) => (JSON.parse(one) as { type: string }).type)
        .toSorted(),
    ).toEqual(['next', 'pong']);
    for (const { socket } of [plain, packed]) socket.terminate();
  });

  test.each([
    ['permessage-deflate; client_max_window_bits', 'permessage-deflate; client_max_window_bits'],
    ['permessage-deflate; server_max_window_bits=12; client_max_window_bits=12', 'all'],
    ['permessage-deflate;server_no_context_takeover;client_no_context_takeover', 'all'],
    ['permessage-deflate; server_max_window_bits=9, permessage-deflate', 'permessage-deflate'],
    ['x-webkit-deflate-frame,permessage-deflate', 'permessage-deflate'],
    ['permessage-deflate; server_max_window_bits=11', undefined],
    ['permessage-deflate; server_max_window_bits', undefined],
    ['permessage-deflate; client_max_window_bits=16', undefined],
    ['permessage-deflate; client_no_context_takeover; client_no_context_takeover', undefined],
    ['permessage-deflate; unknown', undefined],
    ['permessage-deflate; ', undefined],
    ['permessage-deflated', undefined],
    ['"', undefined],
    [undefined, undefined],
  ])('the offer %j is met with %j', (header, met) => {
    expect(offerToMeet(header)).toBe(met === 'all' ? header : met);
  });

  test.each([
    ['permessage-deflate; server_max_window_bits=9, foo;;=', undefined],
    ['permessage-deflate; server_max_window_bits=9, permessage-deflate', 'permessage-deflate; client_no_context'],
    [['x-webkit-deflate-frame', 'permessage-deflate; client_max_window_bits'], 'permessage-deflate; client_no_context'],
  ])('after the offer %j of its handshake, a client gets its messages', async (offers, told) => {
    const { hostname, port } = new URL(app.url);
    const lines = [offers].flat().map((offer) => `Sec-WebSocket-Extensions: ${offer}`);
    const connection = connect(Number(port), hostname);
    let text = '';
    connection.on('data', (data: Buffer) => (text += data.toString('latin1')));
    const head = ['GET /graphql HTTP/1.1', `Host: ${hostname}`, 'Upgrade: websocket', 'Connection: Upgrade', ...lines];
    const key13 = ['Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==', 'Sec-WebSocket-Version: 13'];
    connection.write([...head, ...key13, 'Sec-WebSocket-Protocol: graphql-transport-ws', '', ''].join('\r\n'));
    await eventually(() => text.includes('\r\n\r\n'));
    expect(text).toMatch(/^HTTP\/1.1 101 /);
    const answered = /^Sec-WebSocket-Extensions: (.*)$/m.exec(text)?.[1];
    if (told) expect(answered).toContain('server_no_context_takeover');
    else expect(answered).toBeUndefined();
    connection.destroy();
  });

  const INGEST = 'mutation ($events: [EventInput!]!) { ingestEvents(events: $events) { accepted } }';
  const subscribing = (id: string, query: string, variables = {}): string =>
    JSON.stringify({ id, type: 'subscribe', payload: { query, variables } });
  const closeOf = async (socket: WebSocket): Promise<[number, string]> => {
    const [code, reason] = (await once(socket, 'close')) as [number, Buffer];
    return [code, reason.toString()];
  };

  test('what clients compress is read: large messages one behind the other, and thousands of small ones', async () => {
    const { socket, heard } = await openSocket({ perMessageDeflate: { threshold: 0 } });
    const texts = Array.from({ length: 1_000 }, (_, at) => ({
      type: 'view',
      user: { identity: `user-${at % USERS}` },
      message: 'A message of some length, as it is sent again and again. '.repeat(20),
    }));
    // They become some 100 times as large, and arrive together.
    for (const id of ['first', 'second']) socket.send(subscribing(id, INGEST, { events: texts }));
    await eventually(() => heard.filter((text) => text.includes('{"accepted":1000}')).length === 2);
    for (let at = 0; at < 2_000; at += 1) socket.send(subscribing(`small ${at}`, '{ project { name } }'));
    await eventually(() => heard.filter((text) => text.includes('"project"')).length === 2_000);
    socket.terminate();
  });

  test('a message that is more than 250 times as large as what came closes the socket', async () => {
    const { socket } = await openSocket({ perMessageDeflate: { threshold: 0 } });
    socket.send(subscribing('long', `{ ${' '.repeat(4_000_000)} }`));
    expect(await closeOf(socket)).toEqual([1009, 'Compressed too much: send it as it is']);
    // As it is, it may be as long.
    const plain = await openSocket({ perMessageDeflate: false });
    plain.socket.send(subscribing('long', `{ project { name } ${' '.repeat(400_000)} }`));
    await eventually(() => plain.heard.length > 1);
    expect(plain.heard[1]).toContain('"project"');
    plain.socket.terminate();
  });

  /** Writes a frame of a client below the ws package: compressed, of a message that begins. */
  const writeFrame = (connection: Socket, payload: Buffer, { isLast = true, isFirst = true } = {}): void => {
    const opcode = (isLast ? 0x80 : 0) | (isFirst ? 0x41 : 0);
    const head = Buffer.from([opcode, 0xfe, payload.length >> 8, payload.length & 0xff, 0, 0, 0, 0]);
    connection.write(Buffer.concat([head, payload]));
  };

  test('data that cannot be inflated closes the socket', async () => {
    const { socket, connection } = await openSocket({});
    writeFrame(connection, Buffer.from('this is not deflate'));
    expect(await closeOf(socket)).toEqual([1007, 'Compressed data that cannot be read']);
  });

  test('pieces of a message wait as they came: nothing is inflated before the last', async () => {
    const { socket, connection, heard } = await openSocket({});
    const text = subscribing(
      'pieces',
      `{ project { name } ${' '.repeat(400_000)} } # ${randomBytes(10_000).toString('hex')}`,
    );
    const packed = deflateRawSync(text, { finishFlush: constants.Z_SYNC_FLUSH }).subarray(0, -4);
    const inflating = vi.spyOn(zlib, 'inflateRawSync');
    const size = 10;
    for (let from = 0; from < packed.length; from += size) {
      const isLast = from + size >= packed.length;
      if (isLast) {
        socket.ping();
        await once(socket, 'pong');
        expect(heard).toHaveLength(1);
        expect(inflating).not.toHaveBeenCalled();
      }
      writeFrame(connection, packed.subarray(from, from + size), { isLast, isFirst: from === 0 });
    }
    await eventually(() => heard.length > 1);
    expect(heard[1]).toContain('"project"');
    socket.terminate();
  });

  test('a client that is too fast waits: what came in one chunk is not inflated at once', async () => {
    const { socket, connection, heard } = await openSocket({});
    // 400 messages of 16 kB come in some 30 kB.
    const texts = Array.from({ length: 400 }, (_, at) =>
      subscribing(`${at}`, `{ project { name } ${' '.repeat(16_000)} }`),
    );
    connection.cork();
    for (const text of texts)
      writeFrame(connection, deflateRawSync(text, { finishFlush: constants.Z_SYNC_FLUSH }).subarray(0, -4));
    connection.uncork();
    await eventually(() => heard.filter((text) => text.includes('"project"')).length === 400);
    socket.terminate();
  });

  test('messages of one chunk are handed on in turns of their own, and what becomes large goes to the threads', async () => {
    type Hand = (error: Error | null, text?: Buffer) => void;
    const extension = {} as { decompress: (piece: Buffer, isLast: boolean, done: Hand) => void };
    const socket = { _extensions: { 'permessage-deflate': extension }, close: () => {} } as unknown as WebSocket;
    let inThreads = 0;
    class Counting extends ZlibTurns {
      override during<Result>(name: string, work: () => Promise<Result>): Promise<Result> {
        inThreads += 1;
        return super.during(name, work);
      }
    }
    inflateWithin(socket, {
      turns: new Counting(),
      project: () => 'one',
      most: () => 8_388_608,
      ready: (run) => run(),
    });
    let turns = 0;
    let isOver = false;
    const count = (): void => {
      turns += 1;
      if (!isOver) setImmediate(count);
    };
    count();
    const packed = (text: string) => deflateRawSync(text, { finishFlush: constants.Z_SYNC_FLUSH }).subarray(0, -4);
    const [small, large] = [
      packed('{"type":"ping"}'),
      packed(`{"type":"complete","id":"x","p":"${'0'.repeat(400_000)}"}`),
    ];
    expect(large.length).toBeLessThan(512);
    for (const [piece, length, threads] of [
      [small, 15, 0],
      [large, 400_035, 50],
    ] as const) {
      const before = turns;
      for (let at = 0; at < 50; at += 1) {
        const text = await new Promise<Buffer>((resolve, reject) =>
          extension.decompress(piece, true, (error, inflated) => (error ? reject(error) : resolve(inflated!))),
        );
        expect(text).toHaveLength(length);
      }
      expect(turns - before).toBeGreaterThanOrEqual(49);
      expect(inThreads).toBe(threads);
    }
    isOver = true;
  });

  test('before connection_ack nothing large comes out of little', async () => {
    const socket = new WebSocket(`${app.url.replace('http', 'ws')}/graphql`, 'graphql-transport-ws', {
      perMessageDeflate: { threshold: 0 },
    });
    await once(socket, 'open');
    socket.send(JSON.stringify({ type: 'connection_init', payload: { authorization: 'x'.repeat(5_000) } }));
    expect(await closeOf(socket)).toEqual([1009, 'Compressed too much: send it as it is']);
  });

  test('of everything that can stand before and in a message, the frame is what ws reads', async () => {
    const deflater = new Deflater(() => {});
    await fc.assert(
      fc.asyncProperty(
        fc.string({ unit: 'binary' }),
        fc.string({ unit: 'binary' }),
        fc.nat(3_000),
        async (before, text, times) => {
          const rest = Buffer.from(text.repeat(times));
          const [head, body] = deflatedFrame(before, (await deflater.deflate('one', rest))!);
          const frame = Buffer.concat([head, body]);
          expect(frame[0]).toBe(0xc1);
          const short = frame[1]!;
          const [from, length] =
            short < 126 ? [2, short] : short === 126 ? [4, frame.readUInt16BE(2)] : [10, frame.readUIntBE(4, 6)];
          expect(frame.length).toBe(from + length);
          const blocks = Buffer.concat([frame.subarray(from), Buffer.of(0, 0, 0xff, 0xff)]);
          const inflated = inflateRawSync(blocks, { finishFlush: constants.Z_SYNC_FLUSH, windowBits: 12 });
          expect(inflated.equals(Buffer.concat([Buffer.from(before), rest]))).toBe(true);
        },
      ),
      { numRuns: 50 },
    );
  });
});

describe('one compression for all', () => {
  class Counting extends Deflater {
    readonly texts: string[] = [];
    override deflate(project: string, text: Buffer): Promise<Buffer | null> {
      this.texts.push(text.toString());
      return super.deflate(project, text);
    }
  }

  test('a text that many wait for is compressed once', async () => {
    const deflater = new Counting(() => {});
    const shared = new SharedText(Buffer.from('x'.repeat(20_000)));
    await Promise.all(Array.from({ length: 100 }, () => shared.compress(deflater, 'one')));
    expect(deflater.texts).toHaveLength(1);
    expect(shared.compressed!.length).toBeLessThan(200);
  });

  test('texts of many projects wait their turn, and none is lost', async () => {
    const deflater = new Deflater(() => {});
    const done: string[] = [];
    const texts = Array.from({ length: 40 }, (_, at) => `${at < 38 ? 'one' : 'two'} ${at}`);
    await Promise.all(
      texts.map(async (text) => {
        const compressed = await deflater.deflate(text.split(' ')[0]!, Buffer.from(text));
        expect(inflateRawSync(compressed!, { finishFlush: constants.Z_SYNC_FLUSH }).toString()).toBe(text);
        done.push(text);
      }),
    );
    expect(done.toSorted()).toEqual(texts.toSorted());
    // The second project waits for a few of the first, not for all.
    expect(done.indexOf('two 39')).toBeLessThan(10);
  });
});

describe('event streams', () => {
  const streamed = async (headers: Record<string, string>) => {
    const ending = new AbortController();
    const response = await fetch(`${app.url}/graphql`, {
      method: 'POST',
      headers: {
        Authorization: `Bearer ${key}`,
        Accept: 'text/event-stream',
        'Content-Type': 'application/json',
        ...headers,
      },
      body: JSON.stringify({ query: PRESENCE }),
      signal: ending.signal,
    });
    let text = '';
    for await (const chunk of response.body!.pipeThrough(new TextDecoderStream())) {
      text += chunk;
      if (text.includes('SNAPSHOT') && text.endsWith('\n\n')) break;
    }
    ending.abort();
    return { response, text };
  };

  test('they come as gzip, or as they are, by Accept-Encoding', async () => {
    const packed = await streamed({ 'Accept-Encoding': 'gzip, deflate' });
    const plain = await streamed({ 'Accept-Encoding': 'identity' });
    const refused = await streamed({ 'Accept-Encoding': 'gzip;q=0' });
    const codings = [packed, plain, refused].map(({ response }) => response.headers.get('content-encoding'));
    expect(codings).toEqual(['gzip', null, null]);
    expect(packed.response.headers.get('vary')).toContain('Accept-Encoding');
    const data = [packed, plain, refused].map(({ text }) => `{"payload":${/data: (\{.*\})/.exec(text)![1]!}}`);
    expect(usersIn(data[0]!)).toHaveLength(USERS);
    expect(usersIn(data[0]!)).toEqual(usersIn(data[1]!));
    expect(usersIn(data[0]!)).toEqual(usersIn(data[2]!));
  });

  test('each text has an empty block behind it, so that every client hands it on at once', () => {
    const pushed: Buffer[] = [];
    const stream = textStream('gzip', (bytes) => pushed.push(Buffer.from(bytes)));
    for (const text of ['retry: 3000\n\n', ':\n\n', 'x'.repeat(70_000)]) {
      stream.write(Buffer.from(text));
      expect(pushed.at(-1)!.subarray(-5)).toEqual(Buffer.of(0, 0, 0, 0xff, 0xff));
    }
  });

  test('of all texts, a stream is a gzip file with the right sums', async () => {
    const deflater = new Deflater(() => {});
    const texts = fc.array(
      fc.record({ text: fc.string({ unit: 'binary' }), times: fc.nat(9_000), isShared: fc.boolean() }),
    );
    await fc.assert(
      fc.asyncProperty(texts, async (all) => {
        const pushed: Uint8Array[] = [];
        const stream = textStream('br, GZIP;q=0.5', (bytes) => pushed.push(bytes));
        const whole = [];
        for (const { text, times, isShared } of all) {
          const shared = new SharedText(Buffer.from(text.repeat(times)));
          if (isShared) await shared.compress(deflater, 'one');
          stream.writeShared(shared);
          whole.push(shared.text);
        }
        stream.end();
        // It checks the sums.
        expect(gunzipSync(Buffer.concat(pushed)).equals(Buffer.concat(whole))).toBe(true);
      }),
      { numRuns: 50 },
    );
  });
});
