import type { Server } from 'node:http';
import type { Socket } from 'node:net';

/** How long a socket may take nothing of what waits for it. A large SNAPSHOT on a slow line needs its time. Milliseconds. */
const STUCK_AFTER = 30_000;

interface Seen {
  /** Bytes that the socket had taken. */
  taken: number;
  since: number;
}

/**
 * Cuts the connections of a server whose clients hold them open and do not read: what waits for such a client
 * takes memory, and a subscription of it never ends by itself. Whoever reads, however slowly, stays.
 */
export function cutStuckSockets(http: Server, patience = STUCK_AFTER): { close(): void } {
  const sockets = new Map<Socket, Seen>();

  function look(): void {
    const now = performance.now();
    for (const [socket, seen] of sockets) {
      // `bytesWritten` counts what waits too.
      const taken = socket.bytesWritten - socket.writableLength;
      if (socket.writableLength === 0 || taken !== seen.taken) sockets.set(socket, { taken, since: now });
      else if (now - seen.since >= patience) socket.destroy();
    }
  }

  http.on('connection', (socket) => {
    sockets.set(socket, { taken: 0, since: performance.now() });
    socket.once('close', () => sockets.delete(socket));
  });
  const timer = setInterval(look, patience / 4).unref();
  return { close: () => clearInterval(timer) };
}
