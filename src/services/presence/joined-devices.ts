import { readerName, type ProjectCaller, type Reach } from '../../domain/access.js';
import type { CountingDatabase } from '../../store/database.js';
import { devicesOf, MOST_DEVICES, type PresenceDevice } from '../../store/presence/read-devices.js';
import { joinReads } from '../joined-reads.js';

/** The most users of a joined read: so many are shown with all the devices that each of them may have. */
const MOST_JOINED = Math.floor(MOST_DEVICES.inAll / MOST_DEVICES.ofUser);

type Devices = ReadonlyMap<string, readonly PresenceDevice[]>;
type Ask = { readonly database: CountingDatabase; readonly identities: readonly string[] };
type Answer = { readonly devices: Devices; readonly by: CountingDatabase };

/**
 * Reads the devices of users, by identity, with the caller's database. Reads of a few users that the same reader asks for at the
 * same moment are joined: subscriptions to different lists of users get a change of a user each for itself, and would each read
 * the same. What is read together is counted for each of them. Throws ANSWER_TOO_LARGE.
 */
export type ReadDevices = (
  caller: ProjectCaller,
  database: CountingDatabase,
  identities: readonly string[],
) => Promise<Devices>;

export function createReadDevices(): ReadDevices {
  /** By reader, while it has reads under way. */
  const readers = new Map<string, { underWay: number; readonly read: (ask: Ask) => Promise<Answer> }>();

  const joinFor = (reach: Reach) =>
    joinReads<Ask, Answer>(
      async (asks) => {
        const by = asks[0]!.database.forShared();
        const devices = await devicesOf(by, reach, [...new Set(asks.flatMap(({ identities }) => identities))]);
        return asks.map(() => ({ devices, by }));
      },
      { most: MOST_JOINED, weightOf: ({ identities }) => identities.length },
    );

  return async (caller, database, identities) => {
    const { reach } = caller;
    if (identities.length > MOST_JOINED) return devicesOf(database, reach, identities);
    const name = readerName(caller);
    const reader = readers.get(name) ?? { underWay: 0, read: joinFor(reach) };
    readers.set(name, reader);
    reader.underWay += 1;
    try {
      const { devices, by } = await reader.read({ database, identities });
      database.countAlso(by);
      return devices;
    } finally {
      reader.underWay -= 1;
      if (reader.underWay === 0) readers.delete(name);
    }
  };
}
