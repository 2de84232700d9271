import { AppError } from '../../errors.js';

/**
 * The maximum number of items that wait for a slow consumer when more arrive. One push may bring any number. If more wait,
 * the watch ends with an error, so that no item is left out without notice.
 */
const MOST_PENDING = 1_000;

/** The items of one subscription that its consumer has not taken yet, in order. */
export class LiveWatcher<Item> implements AsyncIterableIterator<Item> {
  private queue: Item[] = [];
  private pull: { resolve: (result: IteratorResult<Item>) => void; reject: (error: unknown) => void } | null = null;
  private done = false;
  private failure: unknown = null;

  constructor(private readonly onEnd: () => void) {}

  push(items: readonly Item[]): void {
    if (this.done) return;
    // Many items in one push do not mean that the consumer is slow. Earlier items that still wait do.
    if (this.queue.length > MOST_PENDING) {
      this.queue = [];
      this.end(
        new AppError(
          'OVERLOADED',
          'This subscription was read too slowly and has ended. Subscribe again, then read what it missed with a query.',
        ),
      );
      return;
    }
    this.queue.push(...items);
    if (!this.pull || this.queue.length === 0) return;
    const { pull } = this;
    this.pull = null;
    pull.resolve({ value: this.queue.shift()!, done: false });
  }

  next(): Promise<IteratorResult<Item>> {
    const item = this.queue.shift();
    if (item !== undefined) return Promise.resolve({ value: item, done: false });
    if (this.done) {
      const { failure } = this;
      this.failure = null;
      return failure ? Promise.reject(failure) : Promise.resolve({ value: undefined, done: true });
    }
    return new Promise((resolve, reject) => {
      this.pull = { resolve, reject };
    });
  }

  return(): Promise<IteratorResult<Item>> {
    this.queue = [];
    this.end(null);
    return Promise.resolve({ value: undefined, done: true });
  }

  throw(error: unknown): Promise<IteratorResult<Item>> {
    this.end(null);
    return Promise.reject(error);
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  /** Ends the watch. The consumer first gets the items that wait, then the error, if there is one. */
  end(error: unknown): void {
    if (this.done) return;
    this.done = true;
    this.onEnd();
    const { pull } = this;
    this.pull = null;
    if (!pull) this.failure = error;
    else if (error) pull.reject(error);
    else pull.resolve({ value: undefined, done: true });
  }
}
