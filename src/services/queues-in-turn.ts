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
