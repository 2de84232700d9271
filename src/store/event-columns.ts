import type { CheckedEvent } from '../domain/check-event.js';
import { plainArray, textArray, timestamp } from './parameters.js';

/** An event as it is stored. */
export interface EventWrite {
  readonly id: string;
  readonly sessionId: string | null;
  readonly event: CheckedEvent;
}

/** The columns of an event but for its session, and their types: tags travel as text. */
export const EVENT_COLUMNS = [
  'project_id',
  'id',
  'type',
  'source',
  'message',
  'occurred_at',
  'received_at',
  'value',
  'tags',
  'reference_id',
  'version',
  'user_id',
  'data',
] as const;
export const EVENT_TYPES = [
  'uuid',
  'uuid',
  'text',
  'text',
  'text',
  'timestamptz',
  'timestamptz',
  'float8',
  'text',
  'text',
  'text',
  'uuid',
  'jsonb',
] as const;

/** Array parameters, in the order of EVENT_COLUMNS. */
export const toEventColumns = (writes: readonly Pick<EventWrite, 'id' | 'event'>[]): string[] => [
  plainArray(writes.map(({ event }) => event.projectId)),
  plainArray(writes.map(({ id }) => id)),
  textArray(writes.map(({ event }) => event.type)),
  textArray(writes.map(({ event }) => event.source)),
  textArray(writes.map(({ event }) => event.message)),
  plainArray(writes.map(({ event }) => timestamp(event.time))),
  plainArray(writes.map(({ event }) => timestamp(event.receivedAt))),
  plainArray(writes.map(({ event }) => event.value)),
  textArray(writes.map(({ event }) => textArray(event.tags))),
  textArray(writes.map(({ event }) => event.referenceId)),
  textArray(writes.map(({ event }) => event.version)),
  plainArray(writes.map(({ event }) => event.user?.id ?? null)),
  textArray(writes.map(({ event }) => event.json)),
];
