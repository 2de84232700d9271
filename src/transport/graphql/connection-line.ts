import { Line } from './line.js';

/** While at least so many bytes wait in a connection, no message of its subscriptions is made. */
const MOST_WAITING = 65_536;
/**
 * The most messages of a connection's subscriptions that are made at a time. So a connection whose client does not read holds at
 * most MOST_WAITING bytes and these messages, and a large one does not hold up the small ones beside it.
 */
const AT_ONCE = 2;

/** The stream below a connection: a socket, or a response. */
interface Outlet {
  readonly writableLength: number;
  readonly destroyed: boolean;
  on(event: 'drain' | 'close', listener: () => void): unknown;
}

/**
 * The line in which the messages of a connection's subscriptions are made and sent, when the connection has room for them.
 * Subscriptions that wait join the changes that come meanwhile.
 */
export function connectionLine(outlet: Outlet): Line {
  const line = new Line(AT_ONCE, () => outlet.writableLength < MOST_WAITING || outlet.destroyed);
  const look = (): void => line.look();
  outlet.on('drain', look);
  outlet.on('close', look);
  return line;
}
