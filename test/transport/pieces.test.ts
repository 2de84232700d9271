import type { Writable } from 'node:stream';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import * as ws from 'ws';
import { holdsFrames, joinPieces } from '../../src/transport/websocket/pieces.js';

/** What ws holds of a message that is not complete is joined; what it reads stays the same. */

type Receiver = Writable & { readonly _buffers: Buffer[]; readonly _fragments: Buffer[] };
/** The types of ws do not have it. */
const { Receiver } = ws as unknown as { Receiver: new (options: { isServer: boolean }) => Receiver };

function reader() {
  const receiver = new Receiver({ isServer: true });
  const socket = { _receiver: receiver } as unknown as ws.WebSocket;
  const messages: string[] = [];
  const chunks = () => (({ _buffers }) => _buffers)(receiver);
  const frames = () => (({ _fragments }) => _fragments)(receiver);
  receiver.on('message', (data: Buffer) => messages.push(data.toString()));
  return {
    socket,
    messages,
    held: () => Math.max(chunks().length, frames().length),
    take(chunk: Buffer) {
      receiver.write(chunk);
      joinPieces(socket);
    },
  };
}

/** A frame of a client, whose mask changes nothing. */
function frame(payload: Buffer, opcode: number): Buffer {
  const head = Buffer.from([opcode, 0xfe, payload.length >> 8, payload.length & 0xff, 0, 0, 0, 0]);
  return Buffer.concat([head, payload]);
}

test('a frame that comes byte by byte, and frames of a byte each, are held in few pieces', () => {
  const { take, held, socket, messages } = reader();
  const bytes = Buffer.alloc(30_000, 'a');
  let most = 0;
  for (const byte of frame(bytes, 0x81)) {
    take(Buffer.of(byte));
    most = Math.max(most, held());
  }
  expect(messages).toEqual([bytes.toString()]);
  expect(holdsFrames(socket)).toBe(false);
  for (let at = 0; at < 10_000; at += 1) {
    take(frame(Buffer.of(0x61), at === 0 ? 0x01 : 0x00));
    most = Math.max(most, held());
  }
  expect(holdsFrames(socket)).toBe(true);
  take(frame(Buffer.of(0x62), 0x80));
  expect(messages[1]).toBe(`${'a'.repeat(10_000)}b`);
  // 64, and one for each KiB.
  expect(most).toBeLessThanOrEqual(64 + 30);
});

test('any frames in any chunks are read as they were sent', () => {
  const texts = fc.array(fc.array(fc.string({ maxLength: 400 }), { minLength: 1, maxLength: 200 }), { maxLength: 4 });
  fc.assert(
    fc.property(texts, fc.array(fc.integer({ min: 1, max: 3_000 }), { minLength: 1 }), (sent, sizes) => {
      const { take, messages } = reader();
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
      }
      expect(messages).toEqual(sent.map((parts) => parts.join('')));
    }),
    { numRuns: 200 },
  );
});
