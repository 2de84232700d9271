import type { IngestOutcome } from './domain/event.js';

/**
 * Everything worth noticing, as plain facts. Decisions say what happened; observers (a logger, a
 * metrics registry, a test) decide how to show it. `request` is the id that every line of a request bears.
 */
export type Observation =
  | { kind: 'server.listening'; url: string }
  | { kind: 'server.draining'; reason: string }
  | { kind: 'server.closed'; milliseconds: number }
  | { kind: 'database.starting'; folder: string }
  | { kind: 'database.ready'; version: string; milliseconds: number }
  | { kind: 'database.lost'; message: string }
  | { kind: 'database.full'; message: string }
  | { kind: 'migration.applied'; name: string; milliseconds: number }
  | { kind: 'partition.created'; name: string }
  | { kind: 'statement'; name: string; milliseconds: number; rows: number }
  | { kind: 'request.finished'; request: string; door: string; outcome: string; milliseconds: number }
  | { kind: 'request.failed'; request: string; error: unknown }
  | { kind: 'events.taken'; outcomes: Readonly<Record<IngestOutcome['status'], number>> }
  | { kind: 'batch.committed'; requests: number; events: number; planned: number; milliseconds: number; waited: number }
  | { kind: 'batch.retried'; reason: string; attempt: number }
  | { kind: 'batch.poisoned'; events: number; error: unknown }
  | { kind: 'ingest.refused'; queued: number }
  | { kind: 'collector.dropped'; request: string; events: number; code: string; message: string }
  | { kind: 'closer.finished'; closed: number; lapsed: number; milliseconds: number; lag: number }
  | { kind: 'closer.failed'; error: unknown }
  | { kind: 'service.returned'; milliseconds: number }
  | { kind: 'edges.published'; count: number }
  | { kind: 'messages.delivered'; count: number }
  | { kind: 'bus.connected' }
  | { kind: 'bus.lost'; message: string }
  | { kind: 'bus.publishFailed'; channel: string; error: unknown }
  | { kind: 'watcher.opened'; what: 'presence' | 'sessions' | 'events' }
  | { kind: 'watcher.closed'; what: 'presence' | 'sessions' | 'events' }
  | { kind: 'watcher.resnapshotted'; why: 'gap' | 'slow' }
  | { kind: 'task.failed'; task: string; error: unknown };

export type Observer = (observation: Observation) => void;
