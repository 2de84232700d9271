import type { ReadyEvent } from '../../domain/planned-event.js';
import { column, instant, textArray, WRITERS } from '../parameters.js';

/** An event to store, with the id of its session. */
export interface EventWrite {
  readonly sessionId: string | null;
  readonly event: ReadyEvent;
}
type Write = Pick<EventWrite, 'event'>;

/**
 * One column of events: its name, the type in which its values are sent, the SQL that makes the column from the row `e`
 * of sent values, and a function that writes the values. A value that most events lack, or that is the same in most
 * events, is sent as NULL, because NULL is cheap to send and to read.
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

export const EVENT_COUNT = EVENT_COLUMNS.length;
/** The columns of an event without its project, user and session. */
export const EVENT_NAMES = EVENT_COLUMNS.map(([name]) => name).join(', ');
/** SQL that makes these columns from a row `e`. */
export const EVENT_VALUES = EVENT_COLUMNS.map(([, , sql]) => sql).join(', ');
/** The array parameters of these columns. `first` is the number of the first one ($`first`). */
export const eventParameters = (first: number): string =>
  EVENT_COLUMNS.map(([, type], at) => `$${first + at}::${type}[]`).join(', ');
/** The values of these parameters. */
export const eventArrays = (writes: readonly Write[]): string[] =>
  EVENT_COLUMNS.map(([, , , arrayOf]) => arrayOf(writes));
