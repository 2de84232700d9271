import type { SessionEndReason } from './session.js';

/**
 * Filters and orders of lists. Conditions are joined with AND; a list matches any of its values; null or undefined: no
 * condition.
 */

/** A condition that matches where a column has one of the given texts. */
export interface TextCondition<Column extends string = string> {
  readonly column: Column;
  /** Its description in the schema. */
  readonly description: string;
  /** Turns a given text into the form that the column stores, where the two can differ. */
  readonly stored?: (text: string) => string;
}

/**
 * The text conditions of sessions, by their names in the filter. The filter's input type and its SQL are made from this
 * table.
 */
export const SESSION_TEXTS = {
  versions: { column: 'version', description: 'Sessions with any of these versions of the application.' },
  browsers: { column: 'browser_name', description: 'Sessions in any of these browsers, by name.' },
  operatingSystems: { column: 'os_name', description: 'Sessions on any of these operating systems, by name.' },
  devices: { column: 'device', description: 'Sessions on devices of any of these models or kinds.' },
  ipAddresses: { column: 'ip_address', description: 'Sessions from any of these IP addresses.' },
  countries: {
    column: 'country',
    description: 'Sessions from any of these countries, as ISO 3166-1 alpha-2 codes.',
    stored: (code: string) => code.toUpperCase(),
  },
  regions: {
    column: 'region',
    description: 'Sessions from any of these regions (states, provinces), by name.',
  },
  cities: { column: 'city', description: 'Sessions from any of these cities, by name.' },
  entrySources: {
    column: 'entry_source',
    description: 'Sessions that were entered by any of these sources (entrySource).',
  },
  exitSources: {
    column: 'exit_source',
    description: 'Sessions whose latest source is any of these (exitSource).',
  },
} as const;

/**
 * The text conditions of events. Live feeds compare the column of the same name of a FilteredEvent
 * (domain/event-predicate.ts).
 */
export const EVENT_TEXTS = {
  types: { column: 'type', description: 'Events of any of these types.' },
  sources: { column: 'source', description: 'Events from any of these sources.' },
} as const;

/** The members of a filter that hold such conditions. */
type TextsOf<Name extends string> = { readonly [N in Name]?: readonly string[] | null };

/** The conditions of `table` that the filter sets: each column, with the texts in the form that the column stores. */
export function askedTexts<Name extends string, Column extends string>(
  table: Readonly<Record<Name, TextCondition<Column>>>,
  filter: NoInfer<TextsOf<Name>>,
): { readonly column: Column; readonly texts: readonly string[] }[] {
  return (Object.keys(table) as Name[]).flatMap((name) => {
    const { column, stored } = table[name];
    const asked = filter[name];
    return asked ? [{ column, texts: stored ? asked.map((text) => stored(text)) : asked }] : [];
  });
}

/** The length of the intervals of a series. */
export type TimeInterval = 'MINUTE' | 'HOUR' | 'DAY' | 'WEEK' | 'MONTH';

/** `from` is included, `to` is not. */
export interface TimeRange {
  readonly from?: Date | null;
  readonly to?: Date | null;
}

interface FloatRange {
  readonly min?: number | null;
  readonly max?: number | null;
}

export interface SessionFilter extends TextsOf<keyof typeof SESSION_TEXTS> {
  readonly identities?: readonly string[] | null;
  readonly search?: string | null;
  readonly status?: 'ACTIVE' | 'ENDED' | null;
  readonly endReasons?: readonly SessionEndReason[] | null;
  readonly startedAt?: TimeRange | null;
  readonly activeDuring?: TimeRange | null;
  /** Seconds. */
  readonly duration?: FloatRange | null;
  readonly hasErrors?: boolean | null;
  readonly eventTypes?: readonly string[] | null;
  readonly deviceIds?: readonly string[] | null;
  readonly isBot?: boolean | null;
  readonly dataContains?: Readonly<Record<string, unknown>> | null;
  readonly userDataContains?: Readonly<Record<string, unknown>> | null;
}

export interface EventFilter extends TextsOf<keyof typeof EVENT_TEXTS> {
  readonly identities?: readonly string[] | null;
  /** UUIDs. */
  readonly sessionIds?: readonly string[] | null;
  readonly tags?: readonly string[] | null;
  readonly search?: string | null;
  readonly occurredAt?: TimeRange | null;
  readonly referenceId?: string | null;
  readonly hasSession?: boolean | null;
  readonly dataContains?: Readonly<Record<string, unknown>> | null;
}

export type SessionOrderField = 'STARTED_AT' | 'LAST_ACTIVITY_AT' | 'DURATION' | 'EVENT_COUNT';
export interface SessionOrder {
  readonly field: SessionOrderField;
  readonly direction: 'ASC' | 'DESC';
}

export interface UserFilter {
  readonly search?: string | null;
  readonly identities?: readonly string[] | null;
  readonly status?: 'ONLINE' | 'OFFLINE' | null;
  readonly firstSeenAt?: TimeRange | null;
  readonly lastSeenAt?: TimeRange | null;
  readonly dataContains?: Readonly<Record<string, unknown>> | null;
  readonly sessions?: SessionFilter | null;
}

export interface UserOrder {
  readonly field: 'FIRST_SEEN_AT' | 'LAST_SEEN_AT';
  readonly direction: 'ASC' | 'DESC';
}
