/** What sessions and events are grouped by. The schema's enums and the SQL are made from these tables. */

export interface Dimension {
  readonly column: string;
  /** Its description in the schema. */
  readonly description: string;
}

export const SESSION_DIMENSIONS = {
  BROWSER: { column: 'browser_name', description: 'The name of the browser.' },
  OPERATING_SYSTEM: { column: 'os_name', description: 'The name of the operating system.' },
  DEVICE: { column: 'device', description: 'The model of the device or, if that is not known, its kind.' },
  COUNTRY: { column: 'country', description: 'The country as an ISO 3166-1 alpha-2 code.' },
  REGION: { column: 'region', description: 'The state, the province or another part of the country.' },
  CITY: { column: 'city', description: 'The city.' },
  VERSION: { column: 'version', description: 'The version of the application.' },
  ENTRY_SOURCE: {
    column: 'entry_source',
    description: 'The source of its first event, e.g. the page it was entered by.',
  },
  EXIT_SOURCE: { column: 'exit_source', description: 'The source of its latest event.' },
  END_REASON: {
    column: 'end_reason',
    description: 'Why the session ended, as a value of SessionEndReason. Open sessions have none.',
  },
} as const satisfies Record<string, Dimension>;

export const EVENT_DIMENSIONS = {
  TYPE: { column: 'type', description: 'The type of the event.' },
  SOURCE: { column: 'source', description: 'Where the event comes from: a page, a logger, a feature.' },
  MESSAGE: { column: 'message', description: 'The text of the event.' },
  TAG: {
    column: 'tags',
    description: 'A tag of the event. An event with several tags counts once in the group of each.',
  },
  VERSION: { column: 'version', description: 'The version of the application.' },
} as const satisfies Record<string, Dimension>;

export type SessionDimension = keyof typeof SESSION_DIMENSIONS;
export type EventDimension = keyof typeof EVENT_DIMENSIONS;
