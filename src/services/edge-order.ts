import type { PresenceEdge } from '../domain/presence.js';

/** How long an edge waits for the one before it, which another server published. Milliseconds. */
const PATIENCE = 250;
/** How long a user's latest version is remembered: longer than any repeat can take. Milliseconds. */
const MEMORY = 60_000;

/**
 * Lets each edge through once, and each user's edges in their order. Several servers publish, and one may be
 * slower than its commit: an edge that names a predecessor not seen yet waits for it a moment.
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

  /** Forgets versions that nothing can repeat any more; `now` is monotonic (performance.now). */
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
    // Newest last, so that forgetting need not look at all of them.
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

  /** The predecessor was never published: its state was passed over, but the latest one counts. */
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
