import {
  isVisible,
  type PresenceEdge,
  type PresenceUpdate,
  type Snapshot,
  type UserPresence,
} from '../domain/presence.js';

/** What a watcher reads when it begins, and again after a gap. */
export interface WatchStart {
  readonly users: readonly UserPresence[];
  readonly snapshot: Snapshot;
  readonly at: Date;
}

/** Users waiting for a slow consumer; beyond, they are dropped and it starts again with a snapshot. */
const MOST_PENDING = 1_000;

/**
 * One subscription's view: a SNAPSHOT, then a DIFF for each frame, nothing lost or repeated between the two
 * (rule 30). Edges that come while the snapshot is read wait; those the snapshot sees are left out. What a
 * slow consumer has not pulled is joined into one DIFF, and when that grows too long, into a new SNAPSHOT.
 */
export class PresenceWatcher implements AsyncIterableIterator<PresenceUpdate> {
  private queue: PresenceUpdate[] = [];
  private pull: { resolve: (result: IteratorResult<PresenceUpdate>) => void; reject: (error: unknown) => void } | null =
    null;
  /** Edges held back while the snapshot is read; null once it is there. */
  private held: { edges: readonly PresenceEdge[]; at: Date }[] | null = [];
  private snapshot: Snapshot | null = null;
  private pending = 0;
  private state: 'new' | 'live' | 'stale' | 'done' = 'new';
  private failure: unknown = null;

  constructor(
    /** The users it is narrowed to, by id; null: everybody within reach. */
    readonly userIds: ReadonlySet<string> | null,
    private readonly options: {
      /** Reads the start. Called one at a time. */
      start: () => Promise<WatchStart>;
      /** Called once, when the watcher has ended. */
      onEnd: () => void;
      onResnapshot: (why: 'gap' | 'slow') => void;
      /** Called where a new snapshot cannot be had now: it is to be restarted later. */
      onBehind: () => void;
    },
  ) {}

  /** Reads the first snapshot. Rejects where it cannot be had. */
  async open(): Promise<void> {
    try {
      await this.begin();
    } catch (error) {
      this.end(error);
      throw error;
    }
  }

  /** Messages may have been missed: starts again with a snapshot. Where it cannot be had now, what is shown stays, and `onBehind` is told. */
  async restart(why: 'gap' | 'slow'): Promise<void> {
    if (this.state === 'done') return;
    this.options.onResnapshot(why);
    this.queue = [];
    this.pending = 0;
    const held: typeof this.held = [];
    this.held = held;
    this.state = 'new';
    try {
      await this.begin();
    } catch {
      // Whoever could not be asked is asked again: to end the subscription would tell the client no more.
      if (this.held === held) this.options.onBehind();
    }
  }

  /** A frame of edges. `shared` is the update that watchers of everybody have in common. */
  receive(edges: readonly PresenceEdge[], shared: PresenceUpdate): void {
    if (this.state === 'done' || this.state === 'stale') return;
    if (this.held) {
      this.held.push({ edges, at: shared.at });
      return;
    }
    this.deliver(edges, shared);
  }

  next(): Promise<IteratorResult<PresenceUpdate>> {
    const update = this.queue.shift();
    if (update) {
      this.pending -= update.users.length;
      return Promise.resolve({ value: update, done: false });
    }
    if (this.state === 'done') {
      const { failure } = this;
      this.failure = null;
      return failure ? Promise.reject(failure) : Promise.resolve({ value: undefined, done: true });
    }
    return new Promise((resolve, reject) => {
      this.pull = { resolve, reject };
      if (this.state === 'stale') void this.restart('slow');
    });
  }

  return(): Promise<IteratorResult<PresenceUpdate>> {
    this.end(null);
    return Promise.resolve({ value: undefined, done: true });
  }

  throw(error: unknown): Promise<IteratorResult<PresenceUpdate>> {
    this.end(null);
    return Promise.reject(error);
  }

  [Symbol.asyncIterator](): this {
    return this;
  }

  /** Ends it: whoever waits is answered with the end, or with the error. */
  end(error: unknown): void {
    if (this.state === 'done') return;
    this.state = 'done';
    this.queue = [];
    this.held = null;
    this.options.onEnd();
    const { pull } = this;
    this.pull = null;
    if (!pull) this.failure = error;
    else if (error) pull.reject(error);
    else pull.resolve({ value: undefined, done: true });
  }

  private async begin(): Promise<void> {
    const { held } = this;
    const { users, snapshot, at } = await this.options.start();
    // A newer restart, or the end, has overtaken this one.
    if (this.held !== held || held === null) return;
    this.snapshot = snapshot;
    this.held = null;
    this.state = 'live';
    this.push({ kind: 'SNAPSHOT', users, at });
    for (const frame of held) this.deliver(frame.edges, null, frame.at);
  }

  private deliver(edges: readonly PresenceEdge[], shared: PresenceUpdate | null, at = shared!.at): void {
    const snapshot = this.snapshot!;
    const unseen = (edge: PresenceEdge): boolean => !isVisible(Number(edge.transaction), snapshot);
    if (shared && this.userIds === null && edges.every(unseen)) {
      this.push(shared);
      return;
    }
    const users = edges
      .filter((edge) => unseen(edge) && (this.userIds === null || this.userIds.has(edge.userId)))
      .map(({ presence }) => presence);
    if (users.length > 0) this.push({ kind: 'DIFF', users, at });
  }

  private push(update: PresenceUpdate): void {
    const { pull } = this;
    if (pull && this.queue.length === 0) {
      this.pull = null;
      pull.resolve({ value: update, done: false });
      return;
    }
    const last = this.queue.at(-1);
    if (last?.kind === 'DIFF')
      this.queue[this.queue.length - 1] = { ...update, users: [...last.users, ...update.users] };
    else this.queue.push(update);
    this.pending += update.users.length;
    if (update.kind === 'SNAPSHOT' || this.pending <= MOST_PENDING) return;
    // A snapshot that was not pulled yet counts too, or two of them would wait.
    this.queue = [];
    this.pending = 0;
    this.state = 'stale';
  }
}
