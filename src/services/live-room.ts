import { AppError } from '../errors.js';
import type { Bus, BusSubscription } from './bus.js';
import { LiveWatcher } from './live-watcher.js';

/** What is said within so long is read at once. Milliseconds. */
const GATHER = 20;
/** Changes at most that one read takes, so that what follows it never holds up the server for long. */
const MOST_AT_ONCE = 250;
/** Changes that wait to be read; beyond, the watches end and say so: nothing is left out in silence. */
const MOST_GATHERED = 20_000;

const AGAIN = 'read what it may have missed with a query, then subscribe again.';

/** The end of a watch that may have missed something. */
const gap = (why: string, cause?: unknown): AppError =>
  new AppError('UNAVAILABLE', `${why}; ${AGAIN}`, { reason: 'GAP', retryAfter: 1 }, cause ? { cause } : undefined);

/** Watchers that want the same. */
interface Group<View, Item> {
  readonly view: View;
  readonly watchers: Set<LiveWatcher<Item>>;
}

/**
 * One bus channel's live watchers on this server. What is said in a moment is gathered, read once for all of the views, and
 * handed to their watchers. What is said while a read is under way waits for it, and is then read in one, as far as
 * MOST_AT_ONCE goes: the lag is that of two reads, and of more only where more was said. Where a change may have been missed
 * every watch ends with the reason.
 */
export class LiveRoom<Change, View, Item> {
  private readonly groups = new Map<string, Group<View, Item>>();
  private gathered: Change[] = [];
  private isReading = false;
  readonly subscription: Promise<BusSubscription>;

  constructor(
    bus: Bus,
    channel: string,
    private readonly options: {
      /** The changes that a message of the bus tells. */
      changesIn: (message: string) => readonly Change[];
      /** What these changes are to each of the views, in the views' order. */
      read: (changes: readonly Change[], views: readonly View[]) => Promise<readonly (readonly Item[])[]>;
    },
  ) {
    this.subscription = bus.subscribe(channel, {
      onMessage: (message) => this.gather(options.changesIn(message)),
      onLoss: () => this.end(gap('Changes may have been lost on their way between the servers')),
      // Whoever missed something has been told; there is no state to restore.
      onGap: () => {},
    });
  }

  get isEmpty(): boolean {
    return this.groups.size === 0;
  }

  /** `name` names what is watched; the same name must mean the same `view`. */
  add(name: string, view: View, onEnd: () => void): LiveWatcher<Item> {
    const group = this.groups.get(name) ?? { view, watchers: new Set() };
    this.groups.set(name, group);
    const watcher = new LiveWatcher<Item>(() => {
      group.watchers.delete(watcher);
      if (group.watchers.size === 0 && this.groups.get(name) === group) this.groups.delete(name);
      onEnd();
    });
    group.watchers.add(watcher);
    return watcher;
  }

  /** Ends every watch; with an error, their consumers are told. */
  end(error: AppError | null): void {
    for (const { watchers } of this.groups.values()) for (const watcher of watchers) watcher.end(error);
  }

  private gather(changes: readonly Change[]): void {
    if (this.isEmpty) return;
    for (const change of changes) this.gathered.push(change);
    if (this.gathered.length > MOST_GATHERED) {
      this.gathered = [];
      this.end(new AppError('OVERLOADED', `More is stored than this subscription can be told of; ${AGAIN}`));
    }
    if (this.isReading) return;
    this.isReading = true;
    setTimeout(() => void this.readAll(), GATHER);
  }

  private async readAll(): Promise<void> {
    while (this.gathered.length > 0) await this.tell(this.gathered.splice(0, MOST_AT_ONCE));
    this.isReading = false;
  }

  private async tell(changes: readonly Change[]): Promise<void> {
    const groups = [...this.groups.values()];
    if (groups.length === 0) return;
    const views = groups.map(({ view }) => view);
    try {
      const items = await this.options.read(changes, views);
      for (const [at, { watchers }] of groups.entries()) for (const watcher of watchers) watcher.push(items[at]!);
    } catch (error) {
      const told = gap('What has changed could not be read', error);
      for (const { watchers } of groups) for (const watcher of watchers) watcher.end(told);
    }
  }
}
