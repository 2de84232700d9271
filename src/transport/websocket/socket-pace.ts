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
  /** What is to be done when the socket is read again: at most the next message, if it came compressed. */
  private next: (() => void) | null = null;

  constructor(
    private readonly socket: WebSocket,
    private readonly connection: Socket,
  ) {
    connection.on('drain', () => this.look());
    connection.on('close', () => this.begin());
  }

  /**
   * Calls the function when the socket is read, or has closed: with it a compressed message is inflated. To pause a socket does not hold
   * back the messages of the chunk that has been read already, and those can become many times as large as the chunk. One function
   * can wait.
   */
  whenReading(run: () => void): void {
    this.next = run;
    if (!this.socket.isPaused || this.connection.destroyed) this.begin();
  }

  private begin(): void {
    const { next } = this;
    this.next = null;
    next?.();
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
    else if (this.socket.isPaused) {
      this.socket.resume();
      this.begin();
    }
  }
}
