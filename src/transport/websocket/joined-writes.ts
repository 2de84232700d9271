import type { Socket } from 'node:net';

/**
 * Returns a function to be called before a message is written to a connection. What is then written to it goes to the network
 * together, as soon as the works that are ready now are done. A subscriber who is behind gets hundreds of messages at once, and a
 * write for each would cost more than to make them.
 */
export function createJoinedWrites(): (connection: Socket) => void {
  const joined = new Set<Socket>();
  function write(): void {
    for (const connection of joined) connection.uncork();
    joined.clear();
  }
  return (connection) => {
    if (joined.has(connection)) return;
    if (joined.size === 0) process.nextTick(write);
    joined.add(connection);
    connection.cork();
  };
}
