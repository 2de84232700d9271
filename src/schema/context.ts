import type { Caller } from '../domain/access.js';
import type { Clock } from '../domain/clock.js';
import type { Sender } from '../domain/sender.js';
import type { ClientSettingsService } from '../services/projects/client-settings.js';
import type { EraseUser } from '../services/projects/erase-user.js';
import type { FindHeartbeatSubject } from '../services/ingest/heartbeat-subject.js';
import type { Ingest } from '../services/ingest/ingest.js';
import type { Keys } from '../services/access/keys.js';
import type { Feed } from '../services/feed/watch-feed.js';
import type { Live } from '../services/live/watch-live.js';
import type { DeviceStates } from '../services/presence/device-states.js';
import type { ReadDevices } from '../services/presence/joined-devices.js';
import type { SetPresence } from '../services/presence/set-presence.js';
import type { Presence } from '../services/presence/watch-presence.js';
import type { Projects } from '../services/projects/projects.js';
import type { UserDescriptions } from '../services/ingest/user-descriptions.js';
import type { Webhooks } from '../services/webhooks/webhooks.js';
import type { CountingDatabase, PrismaDatabase } from '../store/database.js';

/** The services that resolvers use. src/app.ts makes them once. */
export interface Services {
  readonly database: PrismaDatabase;
  readonly clock: Clock;
  readonly ingest: Ingest;
  readonly presence: Presence;
  readonly deviceStates: DeviceStates;
  readonly readDevices: ReadDevices;
  readonly setPresence: SetPresence;
  readonly live: Live;
  readonly feed: Feed;
  readonly keys: Keys;
  readonly projects: Projects;
  readonly eraseUser: EraseUser;
  readonly clientSettings: ClientSettingsService;
  readonly userDescriptions: UserDescriptions;
  readonly findHeartbeatSubject: FindHeartbeatSubject;
  readonly webhooks: Webhooks;
}

/** What resolvers know of one request: its caller and the services. The transport makes it after authentication. */
export interface Context {
  readonly caller: Caller;
  readonly sender: Sender;
  readonly services: Services & { readonly database: CountingDatabase };
  /** The id of the request. Every log line about the request has it. */
  readonly requestId: string;
  /** Charges the caller for this many rows, in addition to the cost of the operation. Throws RATE_LIMITED. */
  readonly charge: (rows: number) => Promise<void>;
  /**
   * Contexts with the same object share their reads (loaders.ts) and the rows of a turn (pace.ts): those of an event that is
   * executed for different subscriptions. Left out: the context shares with no other.
   */
  readonly reads?: object | undefined;
}

/** The object by which contexts share their reads. */
export const sharedBy = (context: Context): object => context.reads ?? context;
