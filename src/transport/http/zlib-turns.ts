import { QueuesInTurn } from '../../services/queues-in-turn.js';

/**
 * The most works at the same time: of those who compress, and of those who inflate. Node has four threads for them, and for files,
 * names and hashes; a work takes milliseconds, and up to some 150 kB beside its text.
 */
const AT_ONCE = 2;

/** Works for the threads in which Node compresses and inflates. Few run at a time, and those who ask take turns by name. */
export class ZlibTurns {
  private readonly waiting = new QueuesInTurn<() => void>();
  private running = 0;

  async during<Result>(name: string, work: () => Promise<Result>): Promise<Result> {
    if (this.running >= AT_ONCE) await new Promise<void>((resolve) => this.waiting.add(name, resolve));
    else this.running += 1;
    try {
      return await work();
    } finally {
      // The place goes to the next one.
      const [begin] = this.waiting.take();
      if (begin) begin();
      else this.running -= 1;
    }
  }
}
