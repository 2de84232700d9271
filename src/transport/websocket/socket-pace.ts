import type { Socket } from 'node:net';
import type { WebSocket } from 'ws';

/**
 * Above any of these limits, the server reads no more from a socket: operations under way, bytes of their messages, and bytes
 * of answers that the client has not read.
 */
const MOST = { underWay: 100, bytes: 1024 * 1024, unread: 1024 * 1024 };

/** Reads a WebSocket only as fast as its operations are answered and the client reads the answers. */
export class SocketPace {
  private underWay = 0;
  private bytes = 0;

  constructor(
    private readonly socket: WebSocket,
    connection: Socket,
  ) {
    connection.on('drain', () => this.look());
  }

  /** Counts an operation of `bytes` bytes, or a part of one, until its work has ended. Returns what the work returns. */
  async during<Result>(work: Promise<Result>, bytes: number): Promise<Result> {
    this.underWay += 1;
    this.bytes += bytes;
    this.look();
    try {
      return await work;
    } finally {
      this.underWay -= 1;
      this.bytes -= bytes;
      this.look();
    }
  }

  /** Pauses or resumes the socket. To be called whenever the client may have read an answer. */
  look(): void {
    const { underWay, bytes, socket } = this;
    if (underWay >= MOST.underWay || bytes >= MOST.bytes || socket.bufferedAmount >= MOST.unread) socket.pause();
    else if (this.socket.isPaused) this.socket.resume();
  }
}
