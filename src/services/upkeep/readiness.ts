import type { Observation, Observer } from '../../observation.js';
import { sqlStateOf, type Database } from '../../store/database.js';
import { tryDiskSpace } from '../../store/upkeep/disk-space.js';
import type { Bus } from '../bus.js';

const DISK_FULL = '53100';
/** How long an answer of the database is shared by all callers: anyone may ask, without a key. Milliseconds. */
const SHARED_FOR = 1_000;

/** What keeps this server from working at the moment. */
export interface Readiness {
  /** Takes note of a full disk. Reads go on when the disk is full, so a read would not show it. */
  readonly observe: Observer;
  /**
   * Answers `database`, `disk` (it is full) and `redis`; empty if nothing is missing. The database is asked at most once a
   * second, and never twice at the same time.
   */
  missing(database: Database, bus: Bus): Promise<readonly string[]>;
}

/** `now` answers milliseconds, and never goes back. */
export function createReadiness(now: () => number = () => performance.now()): Readiness {
  /** True from the first write that finds no room until there is room again. */
  let full = false;
  let last: { readonly answer: Promise<readonly string[]>; until: number } | null = null;

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

  function askShared(database: Database): Promise<readonly string[]> {
    if (last && now() < last.until) return last.answer;
    const asked = { answer: ask(database), until: Infinity };
    void asked.answer.then(() => (asked.until = now() + SHARED_FOR));
    last = asked;
    return asked.answer;
  }

  return {
    observe({ kind }: Observation) {
      if (kind === 'database.full') full = true;
    },
    missing: async (database, bus) => [...(await askShared(database)), ...(bus.connected ? [] : ['redis'])],
  };
}
