import type { Server } from 'node:http';
import type { Socket } from 'node:net';

/**
 * How long a socket may take nothing of what waits for it. Who reads steadily is not seen to all that time: the kernel
 * asks for more when a third of its buffer is free, 1.4 of 4 MB on this machine's own network, which a reader of 24 kB
 * a second takes in a minute. Milliseconds.
 */
const STUCK_AFTER = 60_000;

interface Seen {
  readonly taken: string;
  readonly since: number;
}

/**
 * How much of what was written the kernel has taken, as a text that changes with it. `bytesWritten` counts what waits
 * too, and `writableLength` the whole of a write of which a part is gone: a SNAPSHOT of 12 MB is one write. So the
 * handle is asked as well, as Node's own socket timeout does.
 */
function takenOf(socket: Socket): string {
  const { _handle: handle } = socket as unknown as { _handle: { writeQueueSize?: number } | null };
  return `${socket.bytesWritten - socket.writableLength} ${handle?.writeQueueSize}`;
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
      const taken = takenOf(socket);
      if (socket.writableLength === 0 || taken !== seen.taken) sockets.set(socket, { taken, since: now });
      else if (now - seen.since >= patience) socket.destroy();
    }
  }

  http.on('connection', (socket) => {
    sockets.set(socket, { taken: '', since: performance.now() });
    socket.once('close', () => sockets.delete(socket));
  });
  const timer = setInterval(look, patience / 4).unref();
  return { close: () => clearInterval(timer) };
}
