import type { Writable } from 'node:stream';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import * as ws from 'ws';
import { bytesBehind, ignoreRest, tidyPieces } from '../../src/transport/websocket/pieces.js';

/** What ws holds of a message that is not complete is joined, and keeps no chunk that is much larger; what it reads stays the same. */

type Receiver = Writable & {
  readonly _buffers: Buffer[];
  readonly _fragments: Buffer[];
  readonly _mask: Buffer | undefined;
};
/** The types of ws do not have it. */
const { Receiver } = ws as unknown as {
  Receiver: new (options: { isServer: boolean; extensions?: object }) => Receiver;
};

function reader(extensions?: object) {
  const receiver = new Receiver({ isServer: true, ...(extensions && { extensions }) });
  const socket = { _receiver: receiver } as unknown as ws.WebSocket;
  const messages: string[] = [];
  const chunks = () => (({ _buffers }) => _buffers)(receiver);
  const frames = () => (({ _fragments }) => _fragments)(receiver);
  receiver.on('message', (data: Buffer) => messages.push(data.toString()));
  const pieces = (): Buffer[] => [...chunks(), ...frames(), ...(({ _mask }) => (_mask ? [_mask] : []))(receiver)];
  return {
    socket,
    messages,
    receiver,
    held: () => Math.max(chunks().length, frames().length),
    bytes: () => pieces().reduce((sum, { length }) => sum + length, 0),
    /** The memory that the pieces keep. */
    memory: () =>
      [...new Set(pieces().map(({ buffer }) => buffer))].reduce((sum, { byteLength }) => sum + byteLength, 0),
    /** A chunk, in memory of its own as the chunks of a connection. */
    take(chunk: Buffer) {
      const own = Buffer.allocUnsafeSlow(chunk.length);
      chunk.copy(own);
      receiver.write(own);
      tidyPieces(socket);
    },
  };
}

/** A frame of a client, whose mask changes nothing. */
function frame(payload: Buffer, opcode: number): Buffer {
  const head = Buffer.from([opcode, 0xfe, payload.length >> 8, payload.length & 0xff, 0, 0, 0, 0]);
  return Buffer.concat([head, payload]);
}

test('a frame that comes byte by byte, and frames of a byte each, are held in few pieces', () => {
  const { take, held, messages } = reader();
  const bytes = Buffer.alloc(30_000, 'a');
  let most = 0;
  for (const byte of frame(bytes, 0x81)) {
    take(Buffer.of(byte));
    most = Math.max(most, held());
  }
  expect(messages).toEqual([bytes.toString()]);
  for (let at = 0; at < 10_000; at += 1) {
    take(frame(Buffer.of(0x61), at === 0 ? 0x01 : 0x00));
    most = Math.max(most, held());
  }
  take(frame(Buffer.of(0x62), 0x80));
  expect(messages[1]).toBe(`${'a'.repeat(10_000)}b`);
  // 64, and one for each KiB.
  expect(most).toBeLessThanOrEqual(64 + 30);
});

test('what is left of a large chunk does not keep it', () => {
  const message = frame(Buffer.alloc(60_000, 'a'), 0x81);
  const begun = frame(Buffer.of(0x61), 0x01);
  const pong = Buffer.concat([Buffer.of(0x8a, 0x80 | 100), Buffer.alloc(4 + 100)]);
  const pongs = Buffer.concat(Array.from({ length: 300 }, () => pong));
  const chunks = [
    [message, begun.subarray(0, 1)],
    // The mask that has been read keeps its chunk, too.
    [message, begun.subarray(0, 8)],
    [message, begun],
    [pongs, begun],
    [begun, pongs],
    [message, begun, pong, pong.subarray(0, 50)],
  ];
  expect(
    chunks.map((parts) => {
      const { take, memory } = reader();
      take(Buffer.concat(parts));
      return memory() < 200;
    }),
  ).toEqual(chunks.map(() => true));
});

test('what has been copied of a chunk does not change what is read', () => {
  const { take, messages, bytes } = reader();
  const masked = frame(Buffer.from('abcd').map((byte, at) => byte ^ (at + 1)) as Buffer, 0x81);
  masked.set([1, 2, 3, 4], 4);
  take(Buffer.concat([frame(Buffer.alloc(60_000, 'a'), 0x81), masked.subarray(0, 9)]));
  expect(bytes()).toBe(5);
  take(masked.subarray(9));
  expect(messages[1]).toBe('abcd');
});

test('it is known how many bytes came behind a message; nothing is kept or read after the rest is ignored', () => {
  const { take, socket, receiver, messages, memory } = reader();
  const behind: number[] = [];
  receiver.on('message', () => behind.push(bytesBehind(socket)));
  const message = frame(Buffer.alloc(500, 'a'), 0x81);
  take(Buffer.concat([message, message, message.subarray(0, 100)]));
  expect(behind).toEqual([message.length + 100, 100]);
  ignoreRest(socket);
  for (const chunk of [message.subarray(100), message, Buffer.alloc(1_000, 0xff)]) take(chunk);
  expect([memory(), messages.length]).toEqual([0, 2]);
});

test('chunks that waited while a message was inflated are behind it, too', () => {
  const inflating: ((error: null, text: Buffer) => void)[] = [];
  const { take, socket, receiver, bytes } = reader({
    'permessage-deflate': { decompress: (_data: Buffer, _isLast: boolean, done: () => void) => inflating.push(done) },
  });
  const behind: number[] = [];
  receiver.on('message', () => behind.push(bytesBehind(socket)));
  const begun = frame(Buffer.alloc(9_000, 'a'), 0x81).subarray(0, 8_000);
  take(Buffer.concat([frame(Buffer.alloc(300), 0xc1), begun.subarray(0, 10)]));
  take(begun.subarray(10, 1_000));
  take(begun.subarray(1_000));
  inflating[0]!(null, Buffer.from('a'));
  expect(behind).toEqual([8_000]);
  // Its header has been read.
  expect(bytes()).toBe(8_000 - 4);
});

test('any frames in any chunks are read as they were sent', () => {
  const texts = fc.array(fc.array(fc.string({ maxLength: 400 }), { minLength: 1, maxLength: 200 }), { maxLength: 4 });
  fc.assert(
    fc.property(texts, fc.array(fc.integer({ min: 1, max: 3_000 }), { minLength: 1 }), (sent, sizes) => {
      const { take, messages, memory, bytes: held } = reader();
      const bytes = Buffer.concat(
        sent.flatMap((parts) =>
          parts.map((part, at) =>
            frame(Buffer.from(part), (at === parts.length - 1 ? 0x80 : 0) | (at === 0 ? 0x01 : 0x00)),
          ),
        ),
      );
      for (let at = 0, turn = 0; at < bytes.length; turn += 1) {
        const size = sizes[turn % sizes.length]!;
        take(bytes.subarray(at, at + size));
        at += size;
        expect(memory()).toBeLessThanOrEqual(2 * held());
      }
      expect(messages).toEqual(sent.map((parts) => parts.join('')));
    }),
    { numRuns: 200 },
  );
});
