import type { Socket } from 'node:net';

/**
 * The maximum number of requests that one connection may begin in one turn of the event loop. A client that waits for
 * answers begins one.
 */
const MOST_AT_ONCE = 100;

/**
 * Returns a function that counts a request of a connection, and tells whether the connection has sent too many requests at
 * once. Node's parser handles all received requests in one turn, a thousand small ones for each chunk, and the server does
 * nothing else in that time.
 */
export function createRushedSockets(): (socket: Socket) => boolean {
  /** The number of requests in this turn, by connection. */
  const begun = new Map<Socket, number>();
  return (socket) => {
    if (begun.size === 0) setImmediate(() => begun.clear());
    const count = (begun.get(socket) ?? 0) + 1;
    begun.set(socket, count);
    return count > MOST_AT_ONCE;
  };
}
