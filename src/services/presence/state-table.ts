import type { DeviceState } from '../messages.js';

/** What a device said last, and what this server keeps with it. */
export interface KnownState extends DeviceState {
  /** Whether this server received it from the client. If so, this server sends it to other servers that ask. */
  readonly isOwn: boolean;
  /** When this server got it, from the client or from the bus. Monotonic (performance.now). */
  readonly heard: number;
}

/** The states of one project's sessions, the oldest first. */
export class StateTable {
  private readonly states = new Map<string, KnownState>();
  /** The user id of each session whose user has been read. */
  private readonly owners = new Map<string, string>();
  private readonly byUser = new Map<string, Set<string>>();
  private own = 0;
  private taken = 0;

  /** `all`: the bytes of the tables of all projects together. This table keeps it up to date. */
  constructor(private readonly all: { bytes: number }) {}

  /** The bytes of memory that the states of this table take, roughly. */
  get bytes(): number {
    return this.taken;
  }

  get size(): number {
    return this.states.size;
  }

  get hasOwn(): boolean {
    return this.own > 0;
  }

  get(sessionId: string): KnownState | null {
    return this.states.get(sessionId) ?? null;
  }

  sessionIds(): string[] {
    return [...this.states.keys()];
  }

  put(state: KnownState): void {
    this.takeOut(state.sessionId);
    this.states.set(state.sessionId, state);
    this.count(state, 1);
  }

  delete(sessionId: string): void {
    this.takeOut(sessionId);
    const userId = this.owners.get(sessionId);
    if (userId === undefined) return;
    this.owners.delete(sessionId);
    const sessions = this.byUser.get(userId)!;
    sessions.delete(sessionId);
    if (sessions.size === 0) this.byUser.delete(userId);
  }

  deleteOldest(): void {
    for (const sessionId of this.states.keys()) {
      this.delete(sessionId);
      return;
    }
  }

  /** The user id of a session. Null if it has not been read. */
  userOf(sessionId: string): string | null {
    return this.owners.get(sessionId) ?? null;
  }

  /** Notes the user of a session. The user of a session never changes. */
  belongsTo(sessionId: string, userId: string): void {
    if (this.owners.has(sessionId) || !this.states.has(sessionId)) return;
    this.owners.set(sessionId, userId);
    const sessions = this.byUser.get(userId);
    if (sessions) sessions.add(sessionId);
    else this.byUser.set(userId, new Set([sessionId]));
  }

  clear(): void {
    for (const sessionId of this.sessionIds()) this.delete(sessionId);
  }

  ofUser(userId: string): Iterable<string> {
    return this.byUser.get(userId) ?? [];
  }

  private takeOut(sessionId: string): void {
    const state = this.states.get(sessionId);
    if (!state) return;
    this.states.delete(sessionId);
    this.count(state, -1);
  }

  private count(state: KnownState, by: 1 | -1): void {
    const bytes = by * bytesOf(state);
    this.taken += bytes;
    this.all.bytes += bytes;
    if (state.isOwn) this.own += by;
  }
}

/** The memory of a state, roughly: with its ids and its entries in the maps. */
const bytesOf = ({ state }: DeviceState): number => 400 + 2 * (state?.length ?? 0);
