import type { Caller } from '../domain/access.js';
import type { Clock } from '../domain/clock.js';
import type { Sender } from '../domain/sender.js';
import type { ClientSettingsService } from '../services/client-settings.js';
import type { EraseUser } from '../services/erase-user.js';
import type { FindHeartbeatSubject } from '../services/heartbeat-subject.js';
import type { Ingest } from '../services/ingest.js';
import type { Keys } from '../services/keys.js';
import type { Live } from '../services/live.js';
import type { Presence } from '../services/presence.js';
import type { Projects } from '../services/projects.js';
import type { UserDescriptions } from '../services/user-descriptions.js';
import type { Database } from '../store/database.js';

/** What the schema's fields work with; made once by src/app.ts. */
export interface Services {
  readonly database: Database;
  readonly clock: Clock;
  readonly ingest: Ingest;
  readonly presence: Presence;
  readonly live: Live;
  readonly keys: Keys;
  readonly projects: Projects;
  readonly eraseUser: EraseUser;
  readonly clientSettings: ClientSettingsService;
  readonly userDescriptions: UserDescriptions;
  readonly findHeartbeatSubject: FindHeartbeatSubject;
}

/** One request's view: who asks, and the services. Doors make it after authentication. */
export interface Context {
  readonly caller: Caller;
  readonly sender: Sender;
  readonly services: Services;
  /** The request's id, in every line logged of it. */
  readonly requestId: string;
}
