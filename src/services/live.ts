import type { Reach } from '../domain/access.js';
import type { EventFilter } from '../domain/filters.js';
import type { EventRow, SessionRow } from '../store/rows.js';
import type { SessionChangeKind } from './messages.js';

export interface SessionChange {
  readonly kind: SessionChangeKind;
  readonly session: SessionRow;
  readonly at: Date;
}

/** Watches sessions and events as they are stored, from the moment the watch is confirmed; no snapshot. */
export interface Live {
  watchSessions(
    reach: Reach,
    only: {
      identities?: readonly string[] | null;
      /** UUIDs. */
      sessionIds?: readonly string[] | null;
      kinds?: readonly SessionChangeKind[] | null;
    },
  ): AsyncIterableIterator<SessionChange>;
  watchEvents(reach: Reach, filter: EventFilter | null): AsyncIterableIterator<EventRow>;
  close(): Promise<void>;
}
