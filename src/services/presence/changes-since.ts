import type { Clock } from '../../domain/clock.js';
import { isVisible, readSnapshot, type PresenceAgain, type UserPresence } from '../../domain/presence.js';
import type { Database } from '../../store/database.js';
import type { Naming } from '../../store/database-name.js';
import { presenceSince, type Pay } from '../../store/presence/presence-moments.js';
import type { Audience } from './audience.js';
import type { DeviceStates } from './device-states.js';
import { Bill, PlaceLine, type Answer, type GoOn } from './place-line.js';
import type { PresenceLimits } from './presence-limits.js';
import { toStart, type Start } from './presence-start.js';

/** Reads what has changed since the places of watchers. */
export interface ChangesSince {
  /** Whether the request may wait for a read: there are not too many other places that wait. */
  hasRoom(ask: GoOn): boolean;
  /**
   * The changes as a DIFF; null: the caller needs a SNAPSHOT. Requests with the same place share a read. A place is what a client
   * sends, so it may have been made up to read much. Therefore what a read takes is paid before it is read: by the first of the
   * requests that can. The others pay for the users of their start. Rejects if the read fails, and with the error of `pay`.
   */
  read(ask: GoOn): Promise<Start | null>;
}

const idsOf = (asks: readonly GoOn[]): string[] | null =>
  asks.some(({ watched }) => watched === null)
    ? null
    : [...new Set(asks.flatMap(({ watched }) => [...watched!.keys()]))];

export function createChangesSince(deps: {
  database: Database;
  clock: Clock;
  projectId: string;
  naming: Naming;
  looks: () => number;
  limits: PresenceLimits;
  deviceStates: Pick<DeviceStates, 'since'> | undefined;
  /** The most users that one read takes for watchers of some users. */
  mostUsers: number;
}): ChangesSince {
  const { database, clock, projectId, naming, looks, limits, deviceStates, mostUsers } = deps;

  /**
   * Reads for requests with the same place. No row holds what devices have said, so that is read after the rows. A user with a
   * later edge than the rows is left out there: the edge follows the DIFF, and whoever gets it reads the devices with it.
   */
  async function readPlace(asks: readonly GoOn[], bill: Bill): Promise<Answer[]> {
    const [{ after, devices }] = asks as readonly [GoOn, ...GoOn[]];
    const at = clock.now();
    const positions = asks.map(({ audience }) => audience.head);
    const since = readSnapshot(after.snapshot);
    const userIds = idsOf(asks);
    const most = Math.max(...asks.map((ask) => ask.most));
    const how = { naming: await naming(), since, most, devices, pay: bill.pay };
    const { users, ...moment } = await presenceSince(database, { projectId, userIds }, how);
    const read = { looks: looks(), readAt: performance.now() };
    const now = readSnapshot(moment.snapshot);
    const isKnown =
      moment.database === after.database &&
      since.xmax <= now.xmax &&
      moment.erasures.every(({ transactions }) =>
        transactions.map(Number).every((erasure) => isVisible(erasure, since) || erasure >= now.xmax),
      );
    let said: readonly PresenceAgain[] | null = [];
    if (users && isKnown && devices && deviceStates) {
      // More may be paid than have changed.
      const left = bill.total - users.size;
      const pay: Pay = async (sessions) => (sessions > left ? bill.pay(sessions - left) : undefined);
      said = await deviceStates.since(projectId, after.at, { watched: userIds && new Set(userIds), most, pay });
    }
    if (!users || !isKnown || !said) return asks.map((ask) => bill.answer(ask, null));
    const changed = new Map<string, UserPresence>(users);
    for (const { userId, presence, transaction } of said)
      if (!changed.has(userId) && isVisible(Number(transaction), now)) changed.set(userId, presence);
    const starts = new Map<Audience, Start>();
    return asks.map((ask, index) => {
      const { audience, watched } = ask;
      let start = starts.get(audience);
      if (!start) {
        const ids = watched ? [...watched.keys()] : [...changed.keys()];
        const own = ids.map((id) => changed.get(id)).filter((user) => user !== undefined);
        const part = limits.part;
        start = toStart('DIFF', own, moment, { ...read, position: positions[index]!, at, from: after, part });
        starts.set(audience, start);
      }
      return bill.answer(ask, start.users > ask.most ? null : start);
    });
  }

  async function readFor(asks: readonly GoOn[]): Promise<Answer[]> {
    const bill = new Bill(asks);
    try {
      return await readPlace(asks, bill);
    } catch (error) {
      if (!bill.isUnpaid) throw error;
      return asks.map((ask) => bill.answer(ask, null));
    }
  }

  const ofAll = new PlaceLine(readFor, Infinity);
  const ofSome = new PlaceLine(readFor, mostUsers);
  const lineOf = ({ watched }: GoOn): PlaceLine => (watched ? ofSome : ofAll);

  return {
    hasRoom: (ask) => lineOf(ask).hasRoom(ask),
    async read(ask) {
      const { start, paid, refusal } = await lineOf(ask).join(ask);
      if (refusal !== undefined) throw refusal;
      if (start && (paid === 0 || start.users > paid)) await ask.pay(start.users - paid);
      return start;
    },
  };
}
