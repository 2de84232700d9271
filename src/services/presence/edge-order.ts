import type { PresenceEdge } from '../../domain/presence.js';

/** How long an edge waits for the user's previous edge, which another server publishes. Milliseconds. */
const PATIENCE = 250;
/** How long a user's latest version is kept. A repeat of an edge comes earlier than that. Milliseconds. */
const MEMORY = 60_000;

/**
 * Passes each edge on one time, and the edges of a user in their order (rule 29, rule 30). Several servers publish, and the
 * order of publishing may differ from the order of commits. So an edge waits a moment if its previous edge has not come yet.
 */
export class EdgeOrder {
  private readonly seen = new Map<string, { version: number; at: number }>();
  private readonly waiting = new Map<string, { edges: PresenceEdge[]; timer: NodeJS.Timeout }>();

  constructor(
    private readonly pass: (edge: PresenceEdge) => void,
    private readonly patience = PATIENCE,
  ) {}

  receive(edge: PresenceEdge): void {
    const last = this.seen.get(edge.userId)?.version;
    if (last !== undefined && edge.version <= last) return;
    const missing = last !== undefined && edge.previous !== null && edge.previous > last;
    if (!missing) {
      this.let(edge);
      return;
    }
    const waiting = this.waiting.get(edge.userId);
    if (waiting) {
      if (!waiting.edges.some(({ version }) => version === edge.version)) waiting.edges.push(edge);
      return;
    }
    const timer = setTimeout(() => this.giveUp(edge.userId), this.patience);
    this.waiting.set(edge.userId, { edges: [edge], timer });
  }

  /** The version of the user's edge that was passed on last. Undefined if none is kept. */
  latest(userId: string): number | undefined {
    return this.seen.get(userId)?.version;
  }

  /** Forgets versions that are older than MEMORY. `now` is monotonic (performance.now). */
  forget(now: number): void {
    for (const [userId, { at }] of this.seen) {
      if (now - at < MEMORY) return;
      this.seen.delete(userId);
    }
  }

  close(): void {
    for (const { timer } of this.waiting.values()) clearTimeout(timer);
    this.waiting.clear();
  }

  private let(edge: PresenceEdge): void {
    // The newest is last, so `forget` can stop at the first version that is young enough.
    this.seen.delete(edge.userId);
    this.seen.set(edge.userId, { version: edge.version, at: performance.now() });
    this.pass(edge);
    const waiting = this.waiting.get(edge.userId);
    if (!waiting) return;
    const next = waiting.edges.find(({ previous }) => previous === null || previous <= edge.version);
    if (!next) return;
    waiting.edges = waiting.edges.filter((one) => one !== next);
    if (waiting.edges.length === 0) this.stopWaiting(edge.userId);
    if (next.version > edge.version) this.let(next);
  }

  /** The previous edge was never published. Its state is skipped: only the latest state matters. */
  private giveUp(userId: string): void {
    const edges = this.waiting.get(userId)?.edges ?? [];
    this.stopWaiting(userId);
    for (const edge of edges.toSorted((a, b) => a.version - b.version)) {
      const last = this.seen.get(userId)?.version ?? 0;
      if (edge.version > last) this.let(edge);
    }
  }

  private stopWaiting(userId: string): void {
    clearTimeout(this.waiting.get(userId)?.timer);
    this.waiting.delete(userId);
  }
}
