import type { Clock } from '../../domain/clock.js';
import { readSnapshot } from '../../domain/presence.js';
import { writePresenceCursor } from '../../domain/presence-cursor.js';
import type { Database } from '../../store/database.js';
import type { Naming } from '../../store/database-name.js';
import { edgesSince, type Moment } from '../../store/presence/presence-moments.js';
import { addTo } from '../add-to.js';
import type { Look } from './audience.js';
import type { PresenceHub } from './presence-hub.js';

/**
 * Reads from Postgres what has changed for the hubs of a server. A look finds exactly the changes that the bus did not bring.
 */
export interface Looks {
  /** How many looks have begun on this server. */
  readonly begun: number;
  /** Gives a hub its first look. Rejects if Postgres cannot be asked. */
  begin(hub: PresenceHub): Promise<void>;
  /**
   * Reads what has changed since the latest look of each hub, hands it to the hub and gives the hub a new look. Takes mostly
   * one round trip to Postgres. `hubs` is by project id. If the read fails, the hubs keep their looks, and the promise rejects.
   */
  look(hubs: ReadonlyMap<string, PresenceHub>): Promise<void>;
}

export function createLooks(deps: { database: Database; clock: Clock; naming: Naming }): Looks {
  const { database, clock, naming } = deps;
  let begun = 0;
  /** The latest look, for new hubs. Null while there are no hubs: otherwise the look could be old. */
  let latest: Look | null = null;
  /** Hubs that kept their look one time, because an erasure has not come as an edge yet: the edge may be on its way. */
  const waiting = new WeakMap<PresenceHub, Look>();

  async function read(work: (naming: string) => Promise<Moment>): Promise<{ look: Look; moment: Moment }> {
    begun += 1;
    const number = begun;
    const at = clock.now().getTime();
    const moment = await work(await naming());
    const place = { database: moment.database, snapshot: moment.snapshot, at };
    const look = { number, place, snapshot: readSnapshot(moment.snapshot), cursor: writePresenceCursor(place) };
    return { look, moment };
  }

  function moveOn(hub: PresenceHub, look: Look, erasures: readonly string[]): void {
    const { place, snapshot } = hub.look!;
    const isOther = place.database !== look.place.database || snapshot.xmax > look.snapshot.xmax;
    const isHeard = hub.hasHeard(erasures.filter((erasure) => Number(erasure) < look.snapshot.xmax));
    if (!isHeard && !isOther && waiting.get(hub) !== hub.look) {
      waiting.set(hub, hub.look!);
      return;
    }
    hub.moveOn(look);
    // Changes in another database, and users whose rows are gone, are found only by reading all users again.
    if (isOther || !isHeard) hub.breakOff();
  }

  return {
    get begun() {
      return begun;
    },
    async begin(hub) {
      latest ??= (await read((name) => edgesSince(database, [], { naming: name, since: NOTHING }, () => {}))).look;
      hub.look ??= latest;
    },
    async look(hubs) {
      if (hubs.size === 0) latest = null;
      const groups = new Map<Look, string[]>();
      for (const [projectId, { look }] of hubs) if (look) addTo(groups, look, projectId);
      for (const [{ snapshot: since }, projectIds] of groups) {
        const reaches = projectIds.map((projectId) => ({ projectId, userIds: null }));
        const { look, moment } = await read((name) =>
          edgesSince(database, reaches, { naming: name, since }, (edges) => {
            for (const { projectId, edge } of edges) hubs.get(projectId)?.receive([edge]);
          }),
        );
        latest = look;
        for (const projectId of projectIds) {
          const hub = hubs.get(projectId);
          const erasures = moment.erasures.find((one) => one.projectId === projectId)?.transactions ?? [];
          if (hub?.look) moveOn(hub, look, erasures);
        }
      }
    },
  };
}

/** Any snapshot will do for a read of no projects: it returns only the moment. */
const NOTHING = readSnapshot('1:1:');
