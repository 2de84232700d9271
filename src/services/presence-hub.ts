import type { PresenceEdge, PresenceUpdate } from '../domain/presence.js';
import type { Clock } from '../domain/clock.js';
import { EdgeOrder } from './edge-order.js';
import type { PresenceWatcher } from './presence-watcher.js';

/** While edges keep coming, at most one frame so often: diffs become fewer and larger. Milliseconds. */
const FRAME = 25;

/**
 * One project's presence on this server: takes the edges of the bus, and hands them in frames to the
 * watchers whom they concern. Watchers of everybody share one update; a watcher of some users is found by
 * user, so that an edge costs nothing to those it does not concern.
 */
export class PresenceHub {
  readonly watchers = new Set<PresenceWatcher>();
  private readonly everybody = new Set<PresenceWatcher>();
  private readonly byUser = new Map<string, Set<PresenceWatcher>>();
  private readonly order = new EdgeOrder((edge) => this.collect(edge));
  private frame: PresenceEdge[] = [];
  private timer: NodeJS.Timeout | null = null;

  constructor(private readonly clock: Clock) {}

  get isEmpty(): boolean {
    return this.watchers.size === 0;
  }

  add(watcher: PresenceWatcher): void {
    this.watchers.add(watcher);
    if (watcher.userIds === null) {
      this.everybody.add(watcher);
      return;
    }
    for (const userId of watcher.userIds) {
      const watchers = this.byUser.get(userId);
      if (watchers) watchers.add(watcher);
      else this.byUser.set(userId, new Set([watcher]));
    }
  }

  remove(watcher: PresenceWatcher): void {
    this.watchers.delete(watcher);
    this.everybody.delete(watcher);
    for (const userId of watcher.userIds ?? []) {
      const watchers = this.byUser.get(userId);
      watchers?.delete(watcher);
      if (watchers?.size === 0) this.byUser.delete(userId);
    }
  }

  /** Edges from the bus or from repair: repeats are dropped. */
  receive(edges: readonly PresenceEdge[]): void {
    for (const edge of edges) this.order.receive(edge);
  }

  forget(now: number): void {
    this.order.forget(now);
  }

  close(): void {
    this.order.close();
    if (this.timer) clearTimeout(this.timer);
  }

  private collect(edge: PresenceEdge): void {
    this.frame.push(edge);
    if (this.timer) return;
    this.flush();
    this.timer = setTimeout(() => this.nextFrame(), FRAME);
  }

  private nextFrame(): void {
    this.timer = null;
    if (this.frame.length === 0) return;
    this.flush();
    this.timer = setTimeout(() => this.nextFrame(), FRAME);
  }

  private flush(): void {
    const edges = this.frame;
    this.frame = [];
    const shared: PresenceUpdate = { kind: 'DIFF', users: edges.map(({ presence }) => presence), at: this.clock.now() };
    for (const watcher of this.everybody) watcher.receive(edges, shared);
    const concerned = new Set(edges.flatMap(({ userId }) => [...(this.byUser.get(userId) ?? [])]));
    for (const watcher of concerned) watcher.receive(edges, shared);
  }
}
