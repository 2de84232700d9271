import type { Server } from 'node:http';
import type { Socket } from 'node:net';

/**
 * How long, in milliseconds, a socket may take none of the data that waits for it. A steady but slow reader can look idle for
 * most of this time: the kernel asks for more only when a third of its buffer is free. On this machine's own network that is
 * 1.4 of 4 MB, which a reader of 24 kB a second takes in a minute.
 */
const STUCK_AFTER = 60_000;

interface Seen {
  readonly taken: string;
  readonly since: number;
}

/**
 * A text that changes whenever the kernel takes written data. `bytesWritten` also counts waiting data, and `writableLength`
 * counts a whole write although a part of it is gone: a SNAPSHOT of 12 MB is one write. So the function also reads the size
 * from the handle, as Node's own socket timeout does.
 */
function takenOf(socket: Socket): string {
  const { _handle: handle } = socket as unknown as { _handle: { writeQueueSize?: number } | null };
  return `${socket.bytesWritten - socket.writableLength} ${handle?.writeQueueSize}`;
}

/**
 * Cuts each connection whose client has read nothing for `patience` milliseconds while data waits. The waiting data takes
 * memory, and a subscription of such a client never ends by itself. A client that reads slowly keeps its connection.
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
    if (sockets.has(socket)) return;
    sockets.set(socket, { taken: '', since: performance.now() });
    socket.once('close', () => sockets.delete(socket));
  });
  const timer = setInterval(look, patience / 4).unref();
  return { close: () => clearInterval(timer) };
}
