import type { IngestOutcome } from './domain/event.js';

/**
 * Facts that the log, the metrics and the traces show. The code says what happened; an observer (the log, the metrics, a test)
 * decides how to show it. `request` is the id of the request. Times and `lag` are in milliseconds.
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
  | { kind: 'migration.waits'; name: string; message: string }
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
  | { kind: 'bus.junk'; channel: string; characters: number }
  | { kind: 'watcher.opened'; what: 'presence' | 'events' | 'changes' }
  | { kind: 'watcher.closed'; what: 'presence' | 'events' | 'changes' }
  | { kind: 'watcher.resnapshotted'; why: 'gap' | 'slow' }
  | { kind: 'webhook.sent'; outcome: string; changes: number; milliseconds: number; detail?: string }
  | { kind: 'webhook.disabled'; project: string; webhook: string; reason: string }
  | { kind: 'task.failed'; task: string; error: unknown };

export type Observer = (observation: Observation) => void;
