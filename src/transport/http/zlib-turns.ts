import { WorksInTurn } from '../../services/queues-in-turn.js';

/**
 * The most works at the same time: of those who compress, and of those who inflate. Node has four threads for them, and for files,
 * names and hashes; a work takes milliseconds, and up to some 150 kB beside its text.
 */
const AT_ONCE = 2;

/** Works for the threads in which Node compresses and inflates. */
export class ZlibTurns extends WorksInTurn {
  constructor() {
    super(AT_ONCE);
  }
}
