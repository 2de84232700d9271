import {
  isVisible,
  type Beside,
  type PresenceAgain,
  type PresenceEdge,
  type DevicesChanged,
  type PresenceUpdate,
  type Snapshot,
  type UserPresence,
} from '../../domain/presence.js';
import type { PresencePlace } from '../../domain/presence-cursor.js';
import { createCounts } from '../counts.js';
import type { PresenceLimits } from './presence-limits.js';

/** The latest read of changes by this server. Everything that its snapshot sees has been handed to the audiences. */
export interface Look {
  /** The number of the look on this server, counted from 1. */
  readonly number: number;
  readonly place: PresencePlace;
  readonly snapshot: Snapshot;
  /** `place` as text of presence-cursor. */
  readonly cursor: string;
}

/** What the start of a watcher has seen. The watcher does not get the edges that its view sees. */
export interface View {
  readonly snapshot: Snapshot;
  /** How many looks had begun when the start had been read. The view has seen nothing that comes after a later look. */
  readonly looks: number;
  /** When the start had been read. Monotonic (performance.now). */
  readonly readAt: number;
}

/** A reader of an audience's frames. */
export interface Member {
  /** The position of the first frame that the member has not taken. */
  readonly position: number;
  /** The fields beside edges (`Beside`) whose changes the member gets. */
  readonly asks: ReadonlySet<Beside>;
  /** Called when a new frame has come, or frames were missed. `isEdge`: there are edges, or frames were missed. */
  wake(isEdge: boolean): void;
}

/** An entry of a frame: an edge, or a user's presence again, for the members that ask for its field. */
export type Told = PresenceEdge | PresenceAgain | DevicesChanged;

interface Frame {
  readonly edges: readonly Told[];
  readonly at: Date;
  readonly look: Look;
}

/** What a member takes: updates in their order, and the place of the last one. */
export interface Taken {
  readonly updates: readonly PresenceUpdate[];
  readonly place: PresencePlace;
  /** The position at which the member goes on. */
  readonly position: number;
}

export const isAgain = (told: Told): told is PresenceAgain | DevicesChanged => 'beside' in told;

/** Whether the view has seen the entry, or something newer. */
function isSeen(told: Told, { snapshot, readAt }: View): boolean {
  if ('readFrom' in told) return told.readFrom < readAt;
  return isVisible(Number('devicesTransaction' in told ? told.devicesTransaction : told.transaction), snapshot);
}

/** The entries for a member that asks for these fields. If an entry repeats an edge, the edge is left out. */
function askedBy(asks: ReadonlySet<Beside>, told: readonly Told[]): Told[] {
  const asked = told.filter((one) => !isAgain(one) || asks.has(one.beside));
  const again = new Map<string, number>();
  for (const one of asked) if (isAgain(one)) again.set(one.userId, one.version);
  return again.size === 0 ? asked : asked.filter((one) => isAgain(one) || again.get(one.userId) !== one.version);
}

/**
 * Frames of a block: about those of a second. A member that is a block or more behind takes frames up to the end of the last
 * whole block, not up to the latest frame. Many members then stand at the same position. So a thousand slow members take a few
 * different updates, and not a thousand.
 */
const BLOCK = 32;

/**
 * Updates of at most `part` users each; at least one. The last one has the cursor `after`. All others have the cursor
 * `before`, because a client that has seen one part has not seen the rest.
 */
export function inParts(
  users: readonly UserPresence[],
  part: number,
  { kind, at, before, after }: { kind: PresenceUpdate['kind']; at: Date; before: string; after: string },
): PresenceUpdate[] {
  const parts: PresenceUpdate[] = [];
  for (let from = 0; from === 0 || from < users.length; from += part) {
    const hasMore = from + part < users.length;
    const some = users.length > part ? users.slice(from, from + part) : users;
    parts.push({ kind, users: some, at, cursor: hasMore ? before : after, hasMore });
  }
  return parts;
}

/**
 * All members on this server that watch the same users, or everybody. The audience keeps each frame of edges only one time for
 * all members. A member keeps only its position. A slow member takes several frames as one update. Members at the same
 * position share this update, so a slow member costs no memory. The next frame wakes the members that wait.
 */
export class Audience {
  readonly members = new Set<Member>();
  private readonly waiting = new Set<Member>();
  private frames: Frame[] = [];
  private edges = 0;
  private first = 0;
  /** The frames before this position are gone because something was missed. */
  private broken = 0;
  /**
   * What members have taken up to the latest frame (`latest`), and up to the end of a block (`blocks`). The first key is the
   * position, the end and the fields asked for. The second is the view; null if the view cannot have seen any of the frames.
   */
  private readonly latest = new Map<string, Map<View | null, Taken>>();
  private readonly blocks = new Map<string, Map<View | null, Taken>>();
  /** How many members ask for each field. */
  private readonly asking = createCounts();

  constructor(
    /** The watched users. Null: everybody. */
    readonly userIds: readonly string[] | null,
    private readonly limits: PresenceLimits,
    /** Called when the last member has left. */
    private readonly onEmpty: () => void,
  ) {}

  /** The position of the next frame. */
  get head(): number {
    return this.first + this.frames.length;
  }

  join(member: Member): void {
    this.members.add(member);
    for (const beside of member.asks) this.asking.add(beside, 1);
  }

  leave(member: Member): void {
    if (this.members.delete(member)) for (const beside of member.asks) this.askNoMore(beside);
    this.waiting.delete(member);
    if (this.members.size === 0) this.onEmpty();
  }

  /** Whether a member asks for this field, or did so lately. */
  isAsked(beside: Beside): boolean {
    return this.asking.of(beside) > 0;
  }

  /** The next frame wakes the member, one time. */
  wait(member: Member): void {
    this.waiting.add(member);
  }

  add(frame: Frame): void {
    this.latest.clear();
    this.frames.push(frame);
    this.edges += frame.edges.length;
    this.wakeAll(frame.edges.some((told) => !isAgain(told)));
    while (this.edges > this.limits.kept) this.drop();
  }

  /** Drops all frames, because something was missed that the server cannot find. Every member has to read a new start. */
  breakOff(): void {
    this.latest.clear();
    this.blocks.clear();
    this.first = this.head + 1;
    this.broken = this.first;
    this.frames = [];
    this.edges = 0;
    this.wakeAll(true);
  }

  /** Whether the audience still has all frames from this position on. */
  reaches(position: number): boolean {
    return position >= this.first;
  }

  hasMore(position: number): boolean {
    return this.reaches(position) && position < this.head;
  }

  /** Why frames from this position on are gone: something was missed, or the member was too slow. */
  lossAt(position: number): 'gap' | 'slow' {
    return position < this.broken ? 'gap' : 'slow';
  }

  /**
   * The frames from `position` on as updates, for a member that asks for the fields `asks`. Entries that `view` has seen are
   * left out; so there may be no update at all. Only call it if `hasMore(position)`.
   */
  take(position: number, view: View, asks: ReadonlySet<Beside>): Taken {
    const mayBeSeen = this.frames[position - this.first]!.look.number <= view.looks;
    const key = mayBeSeen ? view : null;
    const { head } = this;
    const end = head - position < BLOCK ? head : head - (head % BLOCK);
    const known = end === head ? this.latest : this.blocks;
    const name = `${position} ${end} ${[...asks].toSorted().join()}`;
    let byView = known.get(name);
    if (!byView) known.set(name, (byView = new Map()));
    let taken = byView.get(key);
    if (!taken) byView.set(key, (taken = this.joinFrames(position, end, key, asks)));
    return taken;
  }

  /** Drops the frames that nobody needs any more: those before the positions of all members and before `needed`. */
  trim(needed: number): void {
    this.latest.clear();
    this.blocks.clear();
    let position = needed;
    for (const member of this.members) position = Math.min(position, member.position);
    while (this.first < position && this.frames.length > 0) this.drop();
  }

  private joinFrames(position: number, end: number, view: View | null, asks: ReadonlySet<Beside>): Taken {
    const frames = this.frames.slice(position - this.first, end - this.first);
    const { at, look } = frames.at(-1)!;
    let edges: readonly Told[] = frames.flatMap((frame) => frame.edges);
    if (view) edges = edges.filter((edge) => !isSeen(edge, view));
    if (edges.some(isAgain)) edges = askedBy(asks, edges);
    if (frames.length > 1 && edges.length > this.limits.told) {
      // Only the latest entry of each user, in the order of these entries.
      const latest = new Map<string, Told>();
      for (const edge of edges) {
        latest.delete(edge.userId);
        latest.set(edge.userId, edge);
      }
      edges = [...latest.values()];
    }
    const users = edges.map(({ presence }) => presence);
    const updates =
      users.length === 0
        ? []
        : inParts(users, this.limits.part, { kind: 'DIFF', at, before: frames[0]!.look.cursor, after: look.cursor });
    return { updates, place: look.place, position: end };
  }

  /**
   * A member that asked for the field has left. Whoever comes soon may get the same SNAPSHOT of everybody, with the text that was
   * made for that member. So the changes of the field since then have to follow.
   */
  private askNoMore(beside: Beside): void {
    const done = (): void => this.asking.add(beside, -1);
    if (this.userIds) done();
    else setTimeout(done, this.limits.reuse).unref();
  }

  private drop(): void {
    this.edges -= this.frames.shift()!.edges.length;
    this.first += 1;
  }

  private wakeAll(isEdge: boolean): void {
    const waiting = [...this.waiting];
    this.waiting.clear();
    for (const member of waiting) member.wake(isEdge);
  }
}
