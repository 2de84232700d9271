import { reachName, type Reach } from '../../domain/access.js';
import { AppError } from '../../errors.js';
import type { Bus, BusSubscription } from '../bus.js';
import { createCounts } from '../counts.js';
import { LiveWatcher } from './live-watcher.js';

/** Changes that arrive within this time are read together. Milliseconds. */
const GATHER = 20;
/** The maximum number of changes in one read, so that the work after it never blocks the server for long. */
const MOST_AT_ONCE = 250;
/** The maximum number of changes that wait to be read. If more wait, the watches end with an error. */
const MOST_GATHERED = 20_000;

const AGAIN = 'Subscribe again, then read with a query what this subscription may have missed.';

/** The error of a watch that may have missed a change. */
const gap = (why: string, cause?: unknown): AppError =>
  new AppError('UNAVAILABLE', `${why} ${AGAIN}`, { reason: 'GAP', retryAfter: 1 }, cause ? { cause } : undefined);

const unread = (cause: unknown): AppError => gap('The server could not read what has changed.', cause);
const overloaded = (): AppError =>
  new AppError('OVERLOADED', `Changes are stored faster than this subscription can report them. ${AGAIN}`);

/**
 * The maximum number of different views with the same rights: with the users of a token (`narrowed`), and with the whole
 * project.
 */
const MOST_VIEWS = { narrowed: 100, whole: 5_000 };
/** The maximum number of reads whose answers a slow view still waits for. If there are more, its watches end. */
const MOST_BEHIND = 80;

/**
 * The items that a view gets from some changes. A view that must wait for the database gives a promise. Its items come after
 * the items of earlier reads.
 */
export type Told<Item> = readonly Item[] | Promise<readonly Item[]>;

/** All watchers with the same view. */
interface Group<View, Item> {
  readonly view: View;
  readonly watchers: Set<LiveWatcher<Item>>;
  /** The number of answers that this group waits for. `last` resolves after the last of them. */
  behind: number;
  last: Promise<void>;
}

/**
 * All live watchers of one bus channel on this server. The room gathers the changes of a moment, reads them once for all
 * views, and gives each view's items to its watchers. Changes that arrive during a read wait for its end; then the next read
 * takes up to MOST_AT_ONCE of them. So a change waits for two reads, and for more only if more changes arrived. A view whose
 * answer comes later delays only itself. If the room may have missed a change, every watch ends with the reason.
 */
export class LiveRoom<Change, View extends { readonly reach: Reach }, Item> {
  private readonly groups = new Map<string, Group<View, Item>>();
  /** The number of different views by reach. All tokens with the same users share one limit. */
  private readonly views = createCounts();
  private gathered: Change[] = [];
  private isReading = false;
  readonly subscription: Promise<BusSubscription>;

  constructor(
    bus: Bus,
    channel: string,
    private readonly options: {
      /** Makes the listener of the channel's messages. It gives the changes of each message to `gather`. */
      onMessage: (channel: string, gather: (changes: readonly Change[]) => void) => (message: string) => void;
      /** Reads these changes. Returns what each view gets from them, in the order of the views. */
      read: (changes: readonly Change[], views: readonly View[]) => Promise<readonly Told<Item>[]>;
    },
  ) {
    this.subscription = bus.subscribe(channel, {
      onMessage: options.onMessage(channel, (changes) => this.gather(changes)),
      onLoss: () => this.end(gap('Changes may have been lost between the servers.')),
      // onLoss has already ended the watches that may have missed a change. There is no state to restore.
      onGap: () => {},
    });
  }

  get isEmpty(): boolean {
    return this.groups.size === 0;
  }

  /**
   * Adds a watcher of `view`. `name` names the view; the same name must always mean the same view. `onEnd` is called once,
   * when the watcher has ended. Throws RATE_LIMITED if there are too many different views with the same rights.
   */
  add(name: string, view: View, onEnd: () => void): LiveWatcher<Item> {
    const group = this.groups.get(name) ?? this.addGroup(name, view);
    const watcher = new LiveWatcher<Item>(() => {
      group.watchers.delete(watcher);
      if (group.watchers.size === 0 && this.groups.get(name) === group) this.removeGroup(name, view);
      onEnd();
    });
    group.watchers.add(watcher);
    return watcher;
  }

  private addGroup(name: string, view: View): Group<View, Item> {
    const reach = reachName(view.reach);
    const most = view.reach.userIds ? MOST_VIEWS.narrowed : MOST_VIEWS.whole;
    if (this.views.of(reach) >= most) {
      const limit = `Callers with these rights already watch ${most.toLocaleString('en')} different things, the limit.`;
      const message = `${limit} End a subscription first.`;
      throw new AppError('RATE_LIMITED', message, { retryAfter: 60 });
    }
    this.views.add(reach, 1);
    const group: Group<View, Item> = { view, watchers: new Set(), behind: 0, last: Promise.resolve() };
    this.groups.set(name, group);
    return group;
  }

  private removeGroup(name: string, { reach }: View): void {
    this.groups.delete(name);
    this.views.add(reachName(reach), -1);
  }

  /** Ends every watch. Their consumers get the error, if there is one. */
  end(error: AppError | null): void {
    for (const { watchers } of this.groups.values()) for (const watcher of watchers) watcher.end(error);
  }

  private gather(changes: readonly Change[]): void {
    if (this.isEmpty) return;
    for (const change of changes) this.gathered.push(change);
    if (this.gathered.length > MOST_GATHERED) {
      this.gathered = [];
      this.end(overloaded());
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
      const told = await this.options.read(changes, views);
      for (const [at, group] of groups.entries()) this.hand(group, told[at]!);
    } catch (error) {
      for (const group of groups) this.endGroup(group, unread(error));
    }
  }

  private hand(group: Group<View, Item>, told: Told<Item>): void {
    if (!(told instanceof Promise)) {
      for (const watcher of group.watchers) watcher.push(told);
      return;
    }
    group.behind += 1;
    if (group.behind > MOST_BEHIND) this.endGroup(group, overloaded());
    group.last = this.handLater(group, told, group.last);
  }

  private async handLater(
    group: Group<View, Item>,
    told: Promise<readonly Item[]>,
    before: Promise<void>,
  ): Promise<void> {
    try {
      // Waits for both together. Otherwise an answer that fails before its turn would be an unhandled rejection.
      const [items] = await Promise.all([told, before]);
      for (const watcher of group.watchers) watcher.push(items);
    } catch (error) {
      this.endGroup(group, unread(error));
    } finally {
      group.behind -= 1;
    }
  }

  private endGroup({ watchers }: Group<View, Item>, error: AppError): void {
    for (const watcher of watchers) watcher.end(error);
  }
}
