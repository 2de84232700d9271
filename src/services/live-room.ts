import type { Bus, BusSubscription } from './bus.js';
import { LiveWatcher } from './live-watcher.js';

/** Messages are gathered for so long before their rows are read. Milliseconds. */
const GATHER = 20;

/** Watchers that want the same: they share one read. */
interface View<Message, Item> {
  readonly read: (messages: readonly Message[]) => Promise<Item[]>;
  readonly watchers: Set<LiveWatcher<Item>>;
}

/**
 * One bus channel's live watchers on this server. What is said in a moment is gathered, read once for each
 * different view, and handed to its watchers, in the order it was said.
 */
export class LiveRoom<Message, Item> {
  private readonly views = new Map<string, View<Message, Item>>();
  private gathered: Message[] = [];
  private timer: NodeJS.Timeout | null = null;
  private turn: Promise<void> = Promise.resolve();
  readonly subscription: Promise<BusSubscription>;

  constructor(bus: Bus, channel: string) {
    this.subscription = bus.subscribe(channel, {
      onMessage: (message) => this.gather(JSON.parse(message) as Message),
      // What was missed is not known; what comes is whole again. There is no state to restore.
      onGap: () => {},
    });
  }

  get isEmpty(): boolean {
    return this.views.size === 0;
  }

  /** `view` names what is read; the same name must mean the same `read`. */
  add(view: string, read: (messages: readonly Message[]) => Promise<Item[]>, onEnd: () => void): LiveWatcher<Item> {
    const known = this.views.get(view) ?? { read, watchers: new Set() };
    this.views.set(view, known);
    const watcher = new LiveWatcher<Item>(() => {
      known.watchers.delete(watcher);
      if (known.watchers.size === 0 && this.views.get(view) === known) this.views.delete(view);
      onEnd();
    });
    known.watchers.add(watcher);
    return watcher;
  }

  /** Ends every watch. */
  end(): void {
    if (this.timer) clearTimeout(this.timer);
    for (const { watchers } of this.views.values()) for (const watcher of watchers) watcher.end(null);
  }

  private gather(message: Message): void {
    this.gathered.push(message);
    this.timer ??= setTimeout(() => {
      this.timer = null;
      const messages = this.gathered;
      this.gathered = [];
      this.turn = this.turn.then(() => this.tell(messages));
    }, GATHER);
  }

  private async tell(messages: readonly Message[]): Promise<void> {
    for (const { read, watchers } of this.views.values()) {
      try {
        const items = await read(messages);
        for (const watcher of watchers) watcher.push(items);
      } catch (error) {
        // Without the rows there is nothing to tell: the client hears why and comes back.
        for (const watcher of watchers) watcher.end(error);
      }
    }
  }
}
