import type { PresencePlace } from '../../domain/presence-cursor.js';
import type { Pay } from '../../store/presence/presence-moments.js';
import { QueuesInTurn } from '../queues-in-turn.js';
import type { Audience } from './audience.js';
import type { Start, Watched } from './presence-start.js';

/** A request for the changes after the place `after`. If more than `most` users have changed, a SNAPSHOT is shorter. */
export interface GoOn {
  readonly audience: Audience;
  readonly watched: Watched | null;
  readonly after: PresencePlace;
  readonly most: number;
  /** Whether the watcher asks for devices. Then users whose devices are others, or have said something, have changed too. */
  readonly devices: boolean;
  readonly pay: Pay;
}

/**
 * The most different places of a project that wait for a read, with watchers of everybody and with others. They are read one
 * after another, some 2 ms each if little has changed. Whoever comes with one more gets a SNAPSHOT, which many share. Clients
 * that lose their server together have few different places: the server makes a new one every 2 seconds.
 */
const MOST_PLACES = 100;

/** Requests that share a read have the same. */
const placeOf = ({ after, devices }: GoOn): string => `${after.snapshot} ${devices ? after.at : ''}`;

export interface Answer {
  readonly start: Start | null;
  /** The users that the request has paid already. */
  readonly paid: number;
  /** Set if the request cannot pay. */
  readonly refusal?: unknown;
}

/** Has the first request pay that can. If it cannot pay any more, the next one goes on. */
export class Bill {
  /** The rows that are paid, by all requests together. */
  total = 0;
  private readonly refused = new Map<GoOn, unknown>();
  private readonly paid = new Map<GoOn, number>();

  constructor(private readonly asks: readonly GoOn[]) {}

  readonly pay: Pay = async (rows) => {
    for (const ask of this.asks) {
      if (this.refused.has(ask)) continue;
      try {
        await ask.pay(rows);
        this.paid.set(ask, (this.paid.get(ask) ?? 0) + rows);
        this.total += rows;
        return;
      } catch (error) {
        this.refused.set(ask, error);
      }
    }
    throw new Error('Nobody can pay for what is read.');
  };

  get isUnpaid(): boolean {
    return this.refused.size === this.asks.length;
  }

  answer(ask: GoOn, start: Start | null): Answer {
    const paid = this.paid.get(ask) ?? 0;
    return this.refused.has(ask) ? { start: null, paid, refusal: this.refused.get(ask) } : { start, paid };
  }
}

interface Waiting {
  readonly ask: GoOn;
  readonly resolve: (answer: Answer) => void;
  readonly reject: (error: unknown) => void;
}

/**
 * Requests that wait for their reads, by place. One read runs at a time, for the requests of one place, at most `most` users
 * together. It begins after all of them have come.
 */
export class PlaceLine {
  private readonly places = new QueuesInTurn<Waiting>();
  private running = false;

  constructor(
    private readonly read: (asks: readonly GoOn[]) => Promise<Answer[]>,
    private readonly most: number,
  ) {}

  hasRoom(ask: GoOn): boolean {
    return this.places.size < MOST_PLACES || this.places.has(placeOf(ask));
  }

  join(ask: GoOn): Promise<Answer> {
    return new Promise((resolve, reject) => {
      this.places.add(placeOf(ask), { ask, resolve, reject });
      if (this.running) return;
      this.running = true;
      // One turn of the event loop later, together with all that was read from the sockets in this turn.
      setImmediate(() => void this.run());
    });
  }

  /** Takes requests of the place that came first. A place that has more of them waits behind the others. */
  private take(): Waiting[] {
    let users = 0;
    return this.places.take(({ ask }) => (users += ask.watched?.size ?? 0) <= this.most);
  }

  private async run(): Promise<void> {
    while (this.places.size > 0) {
      const taken = this.take();
      try {
        const answers = await this.read(taken.map(({ ask }) => ask));
        for (const [at, { resolve }] of taken.entries()) resolve(answers[at]!);
      } catch (error) {
        for (const { reject } of taken) reject(error);
      }
    }
    this.running = false;
  }
}
