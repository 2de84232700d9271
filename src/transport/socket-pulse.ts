import type { Socket } from 'node:net';
import type { WebSocket } from 'ws';

/** So often a WebSocket is asked whether its client is there. Milliseconds. */
const PING_EVERY = 12_000;
/** Bytes a second that whoever reads takes at least: see cutStuckSockets. */
const SLOWEST = 24_000;
/** What can be under way outside this process at most: 4 MB in the kernel's buffer here and 6 MB in the other one, as Linux has them. */
const MOST_UNDER_WAY = 10_000_000;

/**
 * Pings a WebSocket, and ends it when its client answers no more. The answer comes when all that was sent before the
 * ping has been read. What of it waits in this process is watched by cutStuckSockets; for the rest the client has the
 * time that a slow one takes. So a slow reader stays, and who has gone is noticed at the next ping where little was sent.
 */
export function watchPulse(socket: WebSocket, connection: Socket, pingEvery = PING_EVERY): { stop(): void } {
  /** Bytes written by the last ping that was answered. */
  let read = connection.bytesWritten;
  let asked: { readonly written: number; since: number } | null = null;

  function beat(): void {
    const now = performance.now();
    if (!asked) {
      if (socket.readyState === socket.OPEN) socket.ping();
      asked = { written: connection.bytesWritten, since: now };
      return;
    }
    // A pong is not read either while operations hold up the socket (SocketPace).
    if (connection.writableLength > 0 || socket.isPaused) {
      asked.since = now;
      return;
    }
    const patience = (Math.min(asked.written - read, MOST_UNDER_WAY) / SLOWEST) * 1000;
    if (now - asked.since >= patience) socket.terminate();
  }

  socket.on('pong', () => {
    if (asked) read = asked.written;
    asked = null;
  });
  const timer = setInterval(beat, pingEvery);
  return { stop: () => clearInterval(timer) };
}
