import {
  isVisible,
  MOST_ERASURES,
  type Beside,
  type PresenceAgain,
  type PresenceEdge,
  type DevicesChanged,
} from '../../domain/presence.js';
import type { Clock } from '../../domain/clock.js';
import { addTo } from '../add-to.js';
import { Audience, isAgain, type Look, type Told } from './audience.js';
import { EdgeOrder } from './edge-order.js';
import type { PresenceLimits } from './presence-limits.js';

/** The shortest time between two frames while edges keep coming. So updates are fewer and larger. Milliseconds. */
const FRAME = 25;

/**
 * The presence of one project on this server. The hub takes the edges of the bus and of looks, each one time, and hands them in
 * frames to the audiences that watch their users. The hub finds the audiences of a user by the user's id. So an edge costs
 * nothing for an audience that does not watch the user.
 */
export class PresenceHub {
  /**
   * The latest look. Everything that its snapshot sees has been handed on. Null until the first look; no frame comes before it.
   */
  look: Look | null = null;
  /** By the name of what they watch. */
  private readonly audiences = new Map<string, Audience>();
  private readonly byUser = new Map<string, Set<Audience>>();
  private everybody: Audience | null = null;
  private readonly order = new EdgeOrder((edge) => this.collect(edge));
  private frame: (PresenceEdge | DevicesChanged)[] = [];
  private timer: NodeJS.Timeout | null = null;
  /** The erasures that came as edges since the look, by transaction. */
  private readonly erasures = new Map<number, PresenceEdge>();
  /** The changes of devices that came since the look, by user id: the transaction of the latest one. */
  private readonly devicesTold = new Map<string, string>();

  constructor(
    private readonly clock: Clock,
    private readonly limits: PresenceLimits,
    /** Called when the last audience is gone. */
    private readonly onEmpty: () => void,
    /** Called with the edges of each frame; not with what stands beside them. */
    private readonly onEdges: (edges: readonly PresenceEdge[]) => void = () => {},
  ) {}

  get isEmpty(): boolean {
    return this.audiences.size === 0;
  }

  /**
   * The audience of these users (null: everybody). `name` is the same for all members of the audience. The caller must join it
   * at once.
   */
  audience(name: string, userIds: readonly string[] | null): Audience {
    const known = this.audiences.get(name);
    if (known) return known;
    const audience = new Audience(userIds, this.limits, () => this.forgetAudience(name, audience));
    this.audiences.set(name, audience);
    if (!userIds) this.everybody = audience;
    for (const userId of userIds ?? []) {
      const others = this.byUser.get(userId);
      if (others) others.add(audience);
      else this.byUser.set(userId, new Set([audience]));
    }
    return audience;
  }

  all(): Iterable<Audience> {
    return this.audiences.values();
  }

  /** Takes edges from the bus or from a look. Repeats are dropped. */
  receive(edges: readonly PresenceEdge[]): void {
    for (const edge of edges) {
      if (edge.presence.since === null) this.erasures.set(Number(edge.transaction), edge);
      const { devicesTransaction, ...plain } = edge;
      this.order.receive(plain);
      if (devicesTransaction !== undefined) this.takeDevices(plain, devicesTransaction);
    }
  }

  isAsked(beside: Beside): boolean {
    for (const audience of this.audiences.values()) if (audience.isAsked(beside)) return true;
    return false;
  }

  /** The users for whom a member asks for this field. Null: everybody. */
  askedOf(beside: Beside): readonly string[] | null {
    const asking = [...this.audiences.values()].filter((audience) => audience.isAsked(beside));
    if (asking.some(({ userIds }) => !userIds)) return null;
    return [...new Set(asking.flatMap(({ userIds }) => userIds!))];
  }

  /**
   * Hands users on again whose field beside the edges has changed. All of them have the same `beside`; the members that ask for
   * it get them. A user is left out if a newer edge has been handed on, because that edge had the new value too. If the
   * row has an edge that has not come yet, all members get that edge.
   */
  tellAgain(users: readonly PresenceAgain[]): void {
    if (!this.look) return;
    const { snapshot } = this.look;
    const again: PresenceAgain[] = [];
    for (const user of users) {
      const { beside: _beside, readFrom: _readFrom, ...edge } = user;
      const latest = this.order.latest(user.userId);
      const isNews = latest === undefined ? !isVisible(Number(user.transaction), snapshot) : latest < user.version;
      if (isNews) this.order.receive({ ...edge, previous: null, sessionId: null });
      // A member that has already seen that edge still has to get the changed field.
      if (isNews || latest === undefined || latest === user.version) again.push(user);
    }
    // The edges that came before have to be in an earlier frame.
    if (this.frame.length > 0) this.flush();
    if (again.length > 0) this.hand(again);
  }

  /**
   * Whether each of these erasures (the latest of the project) is seen by the look, or has come as an edge since. Then the
   * edge, or a newer one of the user, was handed on.
   */
  hasHeard(erasures: readonly string[]): boolean {
    const { snapshot } = this.look!;
    // The project may have forgotten older ones that the look has not seen either.
    if (erasures.length >= MOST_ERASURES && !isVisible(Number(erasures[0]), snapshot)) return false;
    return erasures.map(Number).every((transaction) => {
      if (isVisible(transaction, snapshot)) return true;
      const edge = this.erasures.get(transaction);
      return edge !== undefined && (this.order.latest(edge.userId) ?? -1) >= edge.version;
    });
  }

  /** Something was missed that no look can find. Every member of every audience reads a new start. */
  breakOff(): void {
    for (const audience of this.audiences.values()) audience.breakOff();
  }

  /** Makes `look` the latest look. Everything that it sees has been received. */
  moveOn(look: Look): void {
    // Frames after the new look must hold only edges that it has not seen. So the open frame is handed on first.
    if (this.frame.length > 0) this.flush();
    this.look = look;
    for (const transaction of this.erasures.keys())
      if (isVisible(transaction, look.snapshot)) this.erasures.delete(transaction);
    for (const [userId, transaction] of this.devicesTold)
      if (isVisible(Number(transaction), look.snapshot)) this.devicesTold.delete(userId);
    this.order.forget(performance.now());
  }

  close(): void {
    this.order.close();
    if (this.timer) clearTimeout(this.timer);
  }

  private forgetAudience(name: string, audience: Audience): void {
    this.audiences.delete(name);
    if (!audience.userIds) this.everybody = null;
    for (const userId of audience.userIds ?? []) {
      const others = this.byUser.get(userId)!;
      others.delete(audience);
      if (others.size === 0) this.byUser.delete(userId);
    }
    if (this.isEmpty) this.onEmpty();
  }

  private collect(edge: PresenceEdge): void {
    // The look has seen the edge: each start sees it too, or the look itself has handed it on.
    if (!this.look || isVisible(Number(edge.transaction), this.look.snapshot)) return;
    this.put(edge);
  }

  /**
   * The user's devices have changed since the edge. Only the members that ask for devices get it. It is left out if a newer edge
   * has been handed on: whoever got that edge read the devices with it.
   */
  private takeDevices({ previous: _previous, sessionId: _sessionId, ...edge }: PresenceEdge, by: string): void {
    if (!this.look || isVisible(Number(by), this.look.snapshot)) return;
    if (this.devicesTold.get(edge.userId) === by) return;
    this.devicesTold.set(edge.userId, by);
    if ((this.order.latest(edge.userId) ?? 0) <= edge.version)
      this.put({ ...edge, beside: 'devices', devicesTransaction: by });
  }

  private put(told: PresenceEdge | DevicesChanged): void {
    this.frame.push(told);
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
    const told = this.frame;
    this.frame = [];
    this.onEdges(told.filter((one): one is PresenceEdge => !isAgain(one)));
    this.hand(told);
  }

  /**
   * Hands a frame to the audiences that watch its users. A repeat goes only to audiences with a member that asks for its field.
   */
  private hand(told: readonly Told[]): void {
    const at = this.clock.now();
    const look = this.look!;
    const isFor = (audience: Audience, one: Told): boolean => !isAgain(one) || audience.isAsked(one.beside);
    const concerned = new Map<Audience, Told[]>();
    for (const one of told) {
      if (this.everybody && isFor(this.everybody, one)) addTo(concerned, this.everybody, one);
      for (const audience of this.byUser.get(one.userId) ?? [])
        if (isFor(audience, one)) addTo(concerned, audience, one);
    }
    for (const [audience, some] of concerned) audience.add({ edges: some, at, look });
  }
}
