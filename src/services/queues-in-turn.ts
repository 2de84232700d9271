/** Items that wait, in a queue for each name. Names take turns: the one that was served last comes last. */
export class QueuesInTurn<Item> {
  /** No queue is empty. The first one is the next. */
  private readonly queues = new Map<string, Set<Item>>();

  /** How many names have items that wait. */
  get size(): number {
    return this.queues.size;
  }

  has(name: string): boolean {
    return this.queues.has(name);
  }

  /** The item waits behind the others of its name. One that waits already keeps its place. */
  add(name: string, item: Item): void {
    const queue = this.queues.get(name);
    if (queue) queue.add(item);
    else this.queues.set(name, new Set([item]));
  }

  delete(name: string, item: Item): void {
    const queue = this.queues.get(name);
    if (queue?.delete(item) && queue.size === 0) this.queues.delete(name);
  }

  /**
   * Takes the first item of the next name, and those behind it up to the first that does not fit. `fits` is asked about each item
   * in their order, also about the first. Empty: nothing waits.
   */
  take(fits: (item: Item) => boolean = () => false): Item[] {
    for (const [name, queue] of this.queues) {
      const taken: Item[] = [];
      for (const item of queue) {
        if (!fits(item) && taken.length > 0) break;
        taken.push(item);
        queue.delete(item);
      }
      this.queues.delete(name);
      if (queue.size > 0) this.queues.set(name, queue);
      return taken;
    }
    return [];
  }
}

/** Works that wait for a place: at most `most` run at a time, and names take turns. */
export class WorksInTurn {
  private readonly waiting = new QueuesInTurn<() => void>();
  private running = 0;

  constructor(private readonly most: number) {}

  /** Does the work when its turn has come. Returns what it returns. */
  async during<Result>(name: string, work: () => Promise<Result>): Promise<Result> {
    if (this.running >= this.most) await new Promise<void>((resolve) => this.waiting.add(name, resolve));
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
