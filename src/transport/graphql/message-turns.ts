import { setImmediate as nextTurn } from 'node:timers/promises';
import { QueuesInTurn } from '../../services/queues-in-turn.js';

/**
 * How long works are done in one turn of the event loop: `usual`, and in a turn that has accepted a connection. Then other work gets
 * its turn. Milliseconds.
 */
interface TurnLimits {
  readonly usual: number;
  readonly whileConnecting: number;
}

/** Executions: each takes some 0.2 ms, and what it begins takes time in later turns. */
export const EXECUTING: TurnLimits = { usual: 5, whileConnecting: 5 };
/**
 * Sends of small messages. So an edge reaches 1,000 subscribers in one turn, but not while clients connect: Node 20 accepts one
 * connection in a turn, and those that wait for it would wait for ever longer turns.
 */
export const SENDING: TurnLimits = { usual: 15, whileConnecting: 5 };
/**
 * What a send takes, about. Sends are counted and not timed: on a busy machine the time that passes is that of others, and a send
 * that waits costs more than one that does not. Milliseconds.
 */
export const SEND = 0.01;

/**
 * Works for subscriptions, which are executions of messages or sends of small ones, for so long in each turn of the event loop. The
 * others wait; projects take turns. So a project for which much is executed, or that has many subscribers, delays neither other
 * work nor the messages of other projects for long.
 *
 * A message waits in three places, in this order: for room in its connection (`connection-line.ts`), for a place among the
 * executions of its event for the same reader (`shared-executions.ts`), and here for a turn of its project. When it is made, it
 * waits for a turn to be sent: here again, or in `large-sends.ts` if it is large. Where nobody waits, all of this is done at once.
 */
export class MessageTurns {
  private readonly waiting = new QueuesInTurn<() => void>();
  /** When the first work of the current turn has begun. Null: none has. */
  private begunAt: number | null = null;
  private isConnectionNew = false;
  private isServing = false;

  constructor(
    private readonly limits: TurnLimits,
    /** Monotonic, in milliseconds. */
    private readonly now: () => number = () => performance.now(),
  ) {}

  /** The server has accepted a connection. */
  connectionCame(): void {
    this.isConnectionNew = true;
  }

  /** Calls `work` now, or in a later turn; then it returns a promise. Returns what `work` returns. */
  begin<Result>(project: string, work: () => Result | Promise<Result>): Result | Promise<Result> {
    if (!this.isServing && this.hasTime()) return work();
    return new Promise<Result>((resolve, reject) => {
      this.waiting.add(project, () => {
        try {
          resolve(work());
        } catch (error) {
          reject(error);
        }
      });
      if (!this.isServing) void this.serve();
    });
  }

  private hasTime(): boolean {
    if (this.begunAt === null) {
      this.begunAt = this.now();
      setImmediate(() => {
        this.begunAt = null;
        this.isConnectionNew = false;
      });
    }
    return this.isTimeLeft(this.begunAt);
  }

  private isTimeLeft(begunAt: number): boolean {
    const { usual, whileConnecting } = this.limits;
    return this.now() - begunAt < (this.isConnectionNew ? whileConnecting : usual);
  }

  private async serve(): Promise<void> {
    this.isServing = true;
    while (this.waiting.size > 0) {
      await nextTurn();
      const begunAt = this.now();
      do {
        for (const begin of this.waiting.take()) begin();
        // What earlier work still has to do in this turn counts too, for example putting results into words.
        await Promise.resolve();
      } while (this.waiting.size > 0 && this.isTimeLeft(begunAt));
      this.isConnectionNew = false;
    }
    this.isServing = false;
  }
}
