import { QueuesInTurn } from '../../services/queues-in-turn.js';

/** A message of at least so many bytes is large. */
export const LARGE = 16_384;
/** How long a turn of the event loop writes large messages. Milliseconds. */
const TURN = 15;
/** In a turn that has accepted a connection: the time from one message to the next. Milliseconds. */
const PAUSE = 5;

/**
 * Writes a message. `soon`: the message is written when the function has returned, but before the next turn. So the time that it
 * takes is not known, and nothing else is written in this turn.
 */
export type Send = () => void | 'soon';

/**
 * Large messages of subscriptions, until they are written. A part of a SNAPSHOT is due on all connections of a project at the
 * same moment, and to write its 1 MB takes 1 ms. So 1,000 connections would hold up the event loop for a second. Here each
 * turn of the loop writes for TURN, and the rest waits for the next turn.
 *
 * Node 20 accepts one connection in a turn. If many come while turns are long, the kernel's queue for them gets full, and
 * clients try again after 1, 3 and 7 seconds. So a turn that has accepted a connection writes at most one message, and only
 * if none was written within PAUSE: more connections may be waiting. (With 1 ms of writing in each such turn, all of 1,000
 * viewers were live 1.2 to 4 times as late.)
 *
 * Projects take turns, one message each. Within a project, the first to come is the first to be written. Small messages do
 * not come here. A subscription has at most one message here, and takes it back when it ends.
 */
export class LargeSends {
  private readonly waiting = new QueuesInTurn<Send>();
  private isConnectionNew = false;
  private isTurnPlanned = false;
  /** When the last message was written. */
  private writtenAt = -Infinity;

  constructor(
    /** Monotonic, in milliseconds. */
    private readonly now: () => number = () => performance.now(),
    /** Calls the function in the next turn of the event loop, after the connections that it accepts. */
    private readonly inNextTurn: (run: () => void) => void = setImmediate,
  ) {}

  /** The server has accepted a connection. */
  connectionCame(): void {
    this.isConnectionNew = true;
  }

  /**
   * Calls `send` when its turn has come. It must not throw. Returns a function that gives the send up, for example because
   * its connection closes.
   */
  add(project: string, send: Send): () => void {
    this.waiting.add(project, send);
    if (!this.isTurnPlanned) this.planTurn();
    return () => this.waiting.delete(project, send);
  }

  private planTurn(): void {
    this.isTurnPlanned = true;
    this.inNextTurn(() => this.runTurn());
  }

  private runTurn(): void {
    this.isTurnPlanned = false;
    const now = this.now();
    if (!this.isConnectionNew) this.writeUntil(now + TURN);
    else if (now - this.writtenAt >= PAUSE) this.writeUntil(now);
    this.isConnectionNew = false;
    if (this.waiting.size > 0 && !this.isTurnPlanned) this.planTurn();
  }

  /** Writes one message, and others until this time. */
  private writeUntil(end: number): void {
    do {
      const [send] = this.waiting.take();
      if (!send) return;
      const isWritten = send() !== 'soon';
      this.writtenAt = this.now();
      if (!isWritten) return;
    } while (this.writtenAt < end);
  }
}
