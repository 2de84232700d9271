import type { Observation, Observer } from '../observation.js';
import { sqlStateOf, type Database } from '../store/database.js';
import { tryDiskSpace } from '../store/disk-space.js';
import type { Bus } from './bus.js';

const DISK_FULL = '53100';

/** What keeps a server from working just now. */
export interface Readiness {
  /** Hears of a full disk: reading goes on there, so that asking anything would not show it. */
  readonly observe: Observer;
  /** `database`, `disk` (it is full) and `redis`; empty where nothing is missing. */
  missing(database: Database, bus: Bus): Promise<readonly string[]>;
}

export function createReadiness(): Readiness {
  /** From the first write that found no room until there is some. */
  let full = false;

  async function ask(database: Database): Promise<readonly string[]> {
    try {
      if (full) await tryDiskSpace(database);
      else await database.query({ name: 'health', text: 'SELECT 1' });
      full = false;
      return [];
    } catch (error) {
      return sqlStateOf(error) === DISK_FULL ? ['disk'] : ['database'];
    }
  }

  return {
    observe({ kind }: Observation) {
      if (kind === 'database.full') full = true;
    },
    missing: async (database, bus) => [...(await ask(database)), ...(bus.connected ? [] : ['redis'])],
  };
}
