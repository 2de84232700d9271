// A WebSocket that keeps nothing of what it reads: a thousand of them in one process take less of the machine than the
// server that they measure. What comes is handed on in the pieces in which it comes.
import { createConnection } from 'node:net';
import { constants, inflateRawSync } from 'node:zlib';

const TEXT = 1;
const PING = 9;
const PONG = 10;
const CLOSE = 8;
/** In a frame: its message is compressed. */
const RSV1 = 0x40;
/** What compressed messages leave out at their end. */
const FLUSH = Buffer.from([0, 0, 0xff, 0xff]);
const END_OF_HEAD = Buffer.from('\r\n\r\n');

/** A frame as clients send it. Its mask is nothing, so that it need not be applied. */
function frameOf(opcode, payload) {
  const { length } = payload;
  const header =
    length < 126
      ? Buffer.from([0x80 | opcode, 0x80 | length, 0, 0, 0, 0])
      : Buffer.from([0x80 | opcode, 0x80 | 126, length >> 8, length & 0xff, 0, 0, 0, 0]);
  return Buffer.concat([header, payload]);
}

/** Bytes of the header that begins at `at`, or 0 where not all of it is there. */
function headerSize(data, at) {
  if (data.length < at + 2) return 0;
  const length = data[at + 1] & 0x7f;
  const size = length < 126 ? 2 : length === 126 ? 4 : 10;
  return data.length < at + size ? 0 : size;
}

/**
 * Connects to `url` (http://host:port) and speaks graphql-transport-ws. `on.piece(bytes)` is called with each piece of a message,
 * `on.end()` at the message's end, `on.open()` once, `on.close()` once, `on.received(count)` with the bytes of messages as they come.
 * With `inflates` it takes compressed messages; such a one is handed on in one piece. Answers how to send a text and how to drop
 * the connection.
 */
export function openRawWebSocket(url, on, { inflates = false } = {}) {
  const { hostname, port } = new URL(url);
  const socket = createConnection(Number(port), hostname);
  socket.setNoDelay(true);
  let isOpen = false;
  /** What was read of a header so far. */
  let rest = null;
  /** Of the frame that is being read. */
  let opcode = 0;
  let isLast = false;
  let left = 0;
  const control = [];
  /** The pieces of the compressed message that is being read. Null: it is not compressed. */
  let compressed = null;

  socket.on('connect', () =>
    socket.write(
      `GET /graphql HTTP/1.1\r\nHost: ${hostname}:${port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n` +
        'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: graphql-transport-ws\r\n' +
        `${inflates ? 'Sec-WebSocket-Extensions: permessage-deflate\r\n' : ''}\r\n`,
    ),
  );
  socket.on('error', () => {});
  socket.on('close', () => on.close());

  function endFrame() {
    if (opcode === PING) socket.write(frameOf(PONG, Buffer.concat(control)));
    if (opcode === CLOSE) socket.end(frameOf(CLOSE, Buffer.concat(control)));
    control.length = 0;
    if (compressed && opcode < CLOSE && isLast) {
      on.piece(inflateRawSync(Buffer.concat([...compressed, FLUSH]), { finishFlush: constants.Z_SYNC_FLUSH }));
      compressed = null;
    }
    if (opcode < CLOSE && isLast) on.end();
  }

  function readFrames(data) {
    let at = 0;
    while (at < data.length) {
      if (left === 0) {
        const size = headerSize(data, at);
        if (size === 0) break;
        opcode = data[at] & 0x0f;
        isLast = (data[at] & 0x80) !== 0;
        if ((data[at] & RSV1) !== 0) compressed = [];
        const short = data[at + 1] & 0x7f;
        left = short < 126 ? short : short === 126 ? data.readUInt16BE(at + 2) : Number(data.readBigUInt64BE(at + 2));
        at += size;
        if (left === 0) {
          endFrame();
          continue;
        }
        if (at === data.length) return;
      }
      const piece = data.subarray(at, at + left);
      if (opcode >= CLOSE) control.push(piece);
      else {
        on.received(piece.length);
        if (compressed) compressed.push(piece);
        else on.piece(piece);
      }
      at += piece.length;
      left -= piece.length;
      if (left === 0) endFrame();
    }
    rest = at < data.length ? data.subarray(at) : null;
  }

  socket.on('data', (data) => {
    const all = rest ? Buffer.concat([rest, data]) : data;
    rest = null;
    if (isOpen) {
      readFrames(all);
      return;
    }
    const head = all.indexOf(END_OF_HEAD);
    if (head === -1) {
      rest = all;
      return;
    }
    if (!all.subarray(0, 12).equals(Buffer.from('HTTP/1.1 101'))) {
      socket.destroy();
      return;
    }
    isOpen = true;
    on.open();
    if (head + 4 < all.length) readFrames(all.subarray(head + 4));
  });

  return {
    send: (text) => void socket.write(frameOf(TEXT, Buffer.from(text))),
    drop: () => void socket.destroy(),
  };
}
