import type { Socket } from 'node:net';
import type { WebSocket } from 'ws';

/**
 * The time between two pings of a WebSocket. The README tells clients to take 18 s of silence for a dead network. That leaves
 * 6 s for a slow connection or a busy server. Milliseconds.
 */
const PING_EVERY = 12_000;
/**
 * If a beat comes after more than LATE times `pingEvery`, this process was busy. A pong may have come but not been read,
 * because timers run first.
 */
const LATE = 1.5;
/** The fewest bytes a second that a client reads: see cutStuckSockets. */
const SLOWEST = 24_000;
/**
 * The most bytes that can be under way outside this process: with Linux 4 MB in the kernel's buffer here and 6 MB in the
 * client's.
 */
const MOST_UNDER_WAY = 10_000_000;

/**
 * Pings a WebSocket, and ends it when its client does not answer any more. Each beat without an open ping sends two pings. The
 * answer to WebSocket's own ping shows that the client is there: every client sends it, even a browser whose page is frozen.
 * But a page cannot see that ping. So the beat also sends the ping of graphql-transport-ws (`sayPing`). It shows the page that
 * the network is alive. The server does not wait for the answer to this one, because some clients send none.
 *
 * The client answers when it has read everything that was sent before the ping. While bytes wait in this process, only
 * cutStuckSockets watches the connection. For the bytes outside this process, the client has as much time as a slow client
 * needs. So a slow reader stays. If little was sent, a client that has gone is noticed at the next beat.
 */
export function watchPulse(
  socket: WebSocket,
  connection: Socket,
  sayPing: () => void,
  pingEvery = PING_EVERY,
): { stop(): void } {
  /** The bytes that were written before the last answered ping. The client has read them. */
  let read = connection.bytesWritten;
  let asked: { readonly written: number; since: number } | null = null;
  let beatAt = performance.now();

  function beat(): void {
    const now = performance.now();
    const isLate = now - beatAt > LATE * pingEvery;
    beatAt = now;
    if (!asked) {
      if (socket.readyState === socket.OPEN) {
        socket.ping();
        sayPing();
      }
      asked = { written: connection.bytesWritten, since: now };
      return;
    }
    // A pong may be there and not be read, because SocketPace has paused the socket, because the messages before it wait for their
    // turns, or because this process was busy.
    if (connection.writableLength > 0 || socket.isPaused || connection.isPaused() || isLate) {
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
