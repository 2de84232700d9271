import {
  conflictsIn,
  isBackwards,
  jsonObject,
  listConditions,
  singleConditions,
  timeRange,
  yesNo,
  type Condition,
  type Offered,
} from './conditions';
import { formatMoment } from './format';
import type { EventFilter } from './generated/graphql';

/** The conditions that are lists of words: name in the address, field of EventFilter, label, example. */
export const EVENT_LISTS = [
  { param: 'type', field: 'types', name: 'Type', hint: 'error', offered: { events: 'TYPE' } },
  { param: 'source', field: 'sources', name: 'Source', hint: '/checkout', offered: { events: 'SOURCE' } },
  { param: 'tag', field: 'tags', name: 'Tag', hint: 'beta', offered: { events: 'TAG' } },
  { param: 'user', field: 'identities', name: 'User', hint: 'ada@example.com', offered: null },
] as const satisfies readonly { offered: Offered | null; [more: string]: unknown }[];

/** The filter of events in the address. Values that are not valid are left out. */
export function readEventFilter(params: URLSearchParams): EventFilter {
  const filter: EventFilter = {};
  for (const { param, field } of EVENT_LISTS) {
    const values = params.getAll(param).filter(Boolean);
    if (values.length > 0) filter[field] = values;
  }
  const search = params.get('q')?.trim();
  if (search) filter.search = search;
  const reference = params.get('ref')?.trim();
  if (reference) filter.referenceId = reference;
  filter.occurredAt = timeRange(params, 'from', 'to');
  filter.hasSession = yesNo(params.get('session'));
  filter.dataContains = jsonObject(params.get('data') ?? '') ?? undefined;
  return filter;
}

/** Why no event can match the filter in the address (conflictsIn). */
export const eventConflicts = (params: URLSearchParams): ReadonlyMap<string, string> =>
  conflictsIn(params, [
    { low: 'from', high: 'to', isEmpty: isBackwards, told: 'The time of “From” is not before that of “Before”.' },
  ]);

/** The conditions in the address. */
export function eventConditions(params: URLSearchParams): Condition[] {
  const moment = (value: string): string => formatMoment(new Date(value), Date.now());
  return [
    ...listConditions(params, EVENT_LISTS),
    ...singleConditions(params, {
      ref: (value) => `Reference ID: ${value}`,
      session: (value) => (value === 'yes' ? 'With a session' : 'Without a session'),
      from: (value) => `From ${moment(value)}`,
      to: (value) => `Before ${moment(value)}`,
      data: (value) => `Data: ${value}`,
    }),
  ];
}
