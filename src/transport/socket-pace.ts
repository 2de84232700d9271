import type { Socket } from 'node:net';
import type { WebSocket } from 'ws';

/** Beyond either, no more is read from a socket: operations under way, and bytes of answers that it has not taken. */
const MOST = { underWay: 100, unread: 1024 * 1024 };

/** Reads a WebSocket no faster than its operations are answered, and the answers taken. */
export class SocketPace {
  private underWay = 0;

  constructor(
    private readonly socket: WebSocket,
    connection: Socket,
  ) {
    connection.on('drain', () => this.look());
  }

  /** Counts an operation, or a part of one, until it is done. */
  async during<Result>(work: Promise<Result>): Promise<Result> {
    this.underWay += 1;
    this.look();
    try {
      return await work;
    } finally {
      this.underWay -= 1;
      this.look();
    }
  }

  private look(): void {
    if (this.underWay >= MOST.underWay || this.socket.bufferedAmount >= MOST.unread) this.socket.pause();
    else if (this.socket.isPaused) this.socket.resume();
  }
}
