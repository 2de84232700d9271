import { once } from 'node:events';
import type { IncomingMessage } from 'node:http';
import type { Socket } from 'node:net';
import { constants, gunzipSync, inflateRawSync } from 'node:zlib';
import fc from 'fast-check';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { WebSocket, type ClientOptions } from 'ws';
import { Deflater, SharedText } from '../../src/transport/graphql/deflate.js';
import { textStream } from '../../src/transport/graphql/text-stream.js';
import { deflatedFrame, offerToMeet } from '../../src/transport/websocket/compression.js';
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
  return { socket, heard, received: () => connection.bytesRead };
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
    ['permessage-deflate; server_max_window_bits=9, permessage-deflate', ' permessage-deflate'],
    ['x-webkit-deflate-frame, permessage-deflate', ' permessage-deflate'],
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

  test('a client whose offer cannot be met goes without compression', async () => {
    const { socket, heard } = await openSocket({
      perMessageDeflate: false,
      headers: { 'Sec-WebSocket-Extensions': 'permessage-deflate; server_max_window_bits=9, foo;;=' },
    });
    expect(socket.extensions).toBe('');
    subscribe(socket, '1');
    await eventually(() => heard.length > 1);
    expect(usersIn(heard[1]!)).toHaveLength(USERS);
    socket.terminate();
  });

  test('what clients compress is read, and may not be many times as large as what they sent', async () => {
    const { socket, heard } = await openSocket({ perMessageDeflate: { threshold: 0 } });
    const events = Array.from({ length: 500 }, (_, at) => ({ type: 'view', user: { identity: `user-${at % USERS}` } }));
    const query = 'mutation ($events: [EventInput!]!) { ingestEvents(events: $events) { accepted } }';
    socket.send(JSON.stringify({ id: 'events', type: 'subscribe', payload: { query, variables: { events } } }));
    await eventually(() => heard.some((text) => text.includes('"complete"')));
    expect(heard.find((text) => text.includes('"events"'))).toContain('{"accepted":500}');
    socket.send(JSON.stringify({ id: 'long', type: 'subscribe', payload: { query: `{ ${' '.repeat(4_000_000)} }` } }));
    const [code, reason] = (await once(socket, 'close')) as [number, Buffer];
    expect([code, reason.toString()]).toEqual([1009, 'Compressed too much: send it as it is']);
  });

  test('before connection_ack nothing large comes out of little', async () => {
    const socket = new WebSocket(`${app.url.replace('http', 'ws')}/graphql`, 'graphql-transport-ws', {
      perMessageDeflate: { threshold: 0 },
    });
    await once(socket, 'open');
    socket.send(JSON.stringify({ type: 'connection_init', payload: { authorization: 'x'.repeat(5_000) } }));
    expect((await once(socket, 'close'))[0]).toBe(1009);
  });

  test('of everything that can stand before and in a message, the frame is what ws reads', async () => {
    const deflater = new Deflater();
    await fc.assert(
      fc.asyncProperty(
        fc.string({ unit: 'binary' }),
        fc.string({ unit: 'binary' }),
        fc.nat(3_000),
        async (before, text, times) => {
          const rest = Buffer.from(text.repeat(times));
          const [head, body] = deflatedFrame(before, await deflater.deflate('one', rest));
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
    override deflate(project: string, text: Buffer): Promise<Buffer> {
      this.texts.push(text.toString());
      return super.deflate(project, text);
    }
  }

  test('a text that many wait for is compressed once', async () => {
    const deflater = new Counting();
    const shared = new SharedText(Buffer.from('x'.repeat(20_000)));
    await Promise.all(Array.from({ length: 100 }, () => shared.compress(deflater, 'one')));
    expect(deflater.texts).toHaveLength(1);
    expect(shared.compressed!.length).toBeLessThan(200);
  });

  test('texts of many projects wait their turn, and none is lost', async () => {
    const deflater = new Deflater();
    const done: string[] = [];
    const texts = Array.from({ length: 40 }, (_, at) => `${at < 38 ? 'one' : 'two'} ${at}`);
    await Promise.all(
      texts.map(async (text) => {
        const compressed = await deflater.deflate(text.split(' ')[0]!, Buffer.from(text));
        expect(inflateRawSync(compressed, { finishFlush: constants.Z_SYNC_FLUSH }).toString()).toBe(text);
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

  test('of all texts, a stream is a gzip file with the right sums', async () => {
    const deflater = new Deflater();
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
