import type { ReadyEvent } from '../domain/planned-event.js';
import { column, instant, textArray, WRITERS } from './parameters.js';

/** An event as it is stored. */
export interface EventWrite {
  readonly sessionId: string | null;
  readonly event: ReadyEvent;
}
type Write = Pick<EventWrite, 'event'>;

/**
 * A column, the type its values travel as, how it is made of the row `e` of them, and the value of an event. What most
 * events have not, or have alike, costs little to send and to read.
 */
type EventColumn = readonly [name: string, type: string, sql: string, arrayOf: (writes: readonly Write[]) => string];

const { plain, text, json } = WRITERS;

const EVENT_COLUMNS: readonly EventColumn[] = [
  ['id', 'uuid', 'e.id', (writes) => column(writes, ({ event }) => event.id, plain)],
  ['type', 'text', 'e.type', (writes) => column(writes, ({ event }) => event.type, text)],
  ['source', 'text', 'e.source', (writes) => column(writes, ({ event }) => event.source, text)],
  ['message', 'text', 'e.message', (writes) => column(writes, ({ event }) => event.message, text)],
  ['occurred_at', 'bigint', instant('e.occurred_at'), (writes) => column(writes, ({ event }) => event.time, plain)],
  [
    'received_at',
    'bigint',
    instant('coalesce(e.received_at, e.occurred_at)'),
    (writes) => column(writes, ({ event }) => (event.receivedAt === event.time ? null : event.receivedAt), plain),
  ],
  ['value', 'float8', 'e.value', (writes) => column(writes, ({ event }) => event.value, plain)],
  [
    'tags',
    'text',
    `coalesce(e.tags::text[], '{}')`,
    (writes) => column(writes, ({ event }) => (event.tags.length === 0 ? null : textArray(event.tags)), text),
  ],
  ['reference_id', 'text', 'e.reference_id', (writes) => column(writes, ({ event }) => event.referenceId, text)],
  ['version', 'text', 'e.version', (writes) => column(writes, ({ event }) => event.version, text)],
  ['data', 'jsonb', 'e.data', (writes) => column(writes, ({ event }) => event.json, json)],
];

/** The columns of an event but for whose it is, and their values of a row `e`. */
export const EVENT_NAMES = EVENT_COLUMNS.map(([name]) => name).join(', ');
export const EVENT_VALUES = EVENT_COLUMNS.map(([, , sql]) => sql).join(', ');
/** Their parameters, the first of which is $`first`. */
export const eventParameters = (first: number): string =>
  EVENT_COLUMNS.map(([, type], at) => `$${first + at}::${type}[]`).join(', ');
/** What those hold. */
export const eventArrays = (writes: readonly Write[]): string[] =>
  EVENT_COLUMNS.map(([, , , arrayOf]) => arrayOf(writes));
