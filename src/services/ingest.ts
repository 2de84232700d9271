import type { ProjectCaller } from '../domain/access.js';
import type { IncomingEvent, IngestOutcome } from '../domain/event.js';

/** Takes events and heartbeats in, for every door alike; answers after the commit. */
export interface Ingest {
  /**
   * 1 to 1,000 events; one outcome for each, in their order. Throws TOO_MANY_EVENTS, BAD_USER_INPUT (no event),
   * OVERLOADED (the queue is full), UNAVAILABLE (no database): then nothing was stored.
   */
  ingestEvents(caller: ProjectCaller, events: readonly IncomingEvent[]): Promise<IngestOutcome[]>;
  /** Rule 18. Exactly one of sessionKey and identity; otherwise BAD_USER_INPUT. */
  recordHeartbeat(
    caller: ProjectCaller,
    heartbeat: { sessionKey?: string | null; identity?: string | null; close: boolean },
  ): Promise<{ acknowledged: boolean; sessionId: string | null }>;
  /** Takes nothing new, finishes what is queued. */
  close(): Promise<void>;
}
