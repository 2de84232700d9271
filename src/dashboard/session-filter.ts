import {
  conflictsIn,
  isBackwards,
  jsonObject,
  listConditions,
  singleConditions,
  timeRange,
  without,
  yesNo,
  type Condition,
  type Offered,
  type RangeParams,
} from './conditions';
import { formatMoment } from './format';
import type { SessionEndReason, SessionFilter, SessionOrder, SessionOrderField } from './generated/graphql';

/** The conditions that are lists of words: name in the address, field of SessionFilter, label, example, what is offered. */
export const LISTS = [
  { param: 'user', field: 'identities', name: 'User', hint: 'ada@example.com', offered: null },
  { param: 'type', field: 'eventTypes', name: 'Event type', hint: 'error', offered: { events: 'TYPE' } },
  { param: 'browser', field: 'browsers', name: 'Browser', hint: 'Chrome', offered: { sessions: 'BROWSER' } },
  {
    param: 'system',
    field: 'operatingSystems',
    name: 'Operating system',
    hint: 'Windows',
    offered: { sessions: 'OPERATING_SYSTEM' },
  },
  { param: 'device', field: 'devices', name: 'Device', hint: 'desktop', offered: { sessions: 'DEVICE' } },
  { param: 'version', field: 'versions', name: 'Version', hint: '1.4.2', offered: { sessions: 'VERSION' } },
  { param: 'country', field: 'countries', name: 'Country', hint: 'DE', offered: { sessions: 'COUNTRY' } },
  { param: 'region', field: 'regions', name: 'Region', hint: 'Bavaria', offered: { sessions: 'REGION' } },
  { param: 'city', field: 'cities', name: 'City', hint: 'Berlin', offered: { sessions: 'CITY' } },
  {
    param: 'entry',
    field: 'entrySources',
    name: 'Entry page',
    hint: '/pricing',
    offered: { sessions: 'ENTRY_SOURCE' },
  },
  {
    param: 'exit',
    field: 'exitSources',
    name: 'Exit page',
    hint: '/checkout',
    offered: { sessions: 'EXIT_SOURCE' },
  },
  { param: 'machine', field: 'deviceIds', name: 'Device ID', hint: '0197a2…', offered: null },
  { param: 'address', field: 'ipAddresses', name: 'IP address', hint: '203.0.113.7', offered: null },
] as const satisfies readonly { offered: Offered | null; [more: string]: unknown }[];

/** The labels of the reasons why a session ended. */
export const END_REASONS: Record<SessionEndReason, string> = {
  CLIENT: 'Left',
  INACTIVITY: 'Timed out',
  SUPERSEDED: 'Restarted',
};

/** The orders that the user can choose. `key` is the value in the address. */
export const ORDERS: readonly { key: string; name: string; field: SessionOrderField; direction: 'ASC' | 'DESC' }[] = [
  { key: 'newest', name: 'Newest first', field: 'STARTED_AT', direction: 'DESC' },
  { key: 'oldest', name: 'Oldest first', field: 'STARTED_AT', direction: 'ASC' },
  { key: 'active', name: 'Latest activity', field: 'LAST_ACTIVITY_AT', direction: 'DESC' },
  { key: 'quiet', name: 'Earliest activity', field: 'LAST_ACTIVITY_AT', direction: 'ASC' },
  { key: 'longest', name: 'Longest', field: 'DURATION', direction: 'DESC' },
  { key: 'shortest', name: 'Shortest', field: 'DURATION', direction: 'ASC' },
  { key: 'most', name: 'Most events', field: 'EVENT_COUNT', direction: 'DESC' },
  { key: 'fewest', name: 'Fewest events', field: 'EVENT_COUNT', direction: 'ASC' },
];

function seconds(params: URLSearchParams, name: string): number | undefined {
  const text = params.get(name);
  const value = Number(text);
  return text && Number.isFinite(value) ? value : undefined;
}

/** The filter in the address. Values that are not valid are left out. */
export function readFilter(params: URLSearchParams): SessionFilter {
  const filter: SessionFilter = {};
  for (const { param, field } of LISTS) {
    const values = params.getAll(param).filter(Boolean);
    if (values.length > 0) filter[field] = values;
  }
  const reasons = params.getAll('end').filter((one): one is SessionEndReason => one in END_REASONS);
  if (reasons.length > 0) filter.endReasons = reasons;
  const search = params.get('q')?.trim();
  if (search) filter.search = search;
  const status = params.get('status');
  if (status === 'ACTIVE' || status === 'ENDED') filter.status = status;
  filter.hasErrors = yesNo(params.get('errors'));
  filter.isBot = yesNo(params.get('bot'));
  filter.startedAt = timeRange(params, 'from', 'to');
  filter.activeDuring = timeRange(params, 'activeFrom', 'activeTo');
  const duration = { min: seconds(params, 'min'), max: seconds(params, 'max') };
  if (duration.min !== undefined || duration.max !== undefined) filter.duration = duration;
  filter.dataContains = jsonObject(params.get('data') ?? '') ?? undefined;
  filter.userDataContains = jsonObject(params.get('userData') ?? '') ?? undefined;
  return filter;
}

const RANGES: readonly RangeParams[] = [
  {
    low: 'min',
    high: 'max',
    isEmpty: (min, max) => Number(min) > Number(max),
    told: 'The minimum duration is larger than the maximum.',
  },
  { low: 'from', high: 'to', isEmpty: isBackwards, told: '“Started from” is not before “Started before”.' },
  { low: 'activeFrom', high: 'activeTo', isEmpty: isBackwards, told: '“Active from” is not before “Active until”.' },
];

/** Why no session can match the filter in the address (conflictsIn). */
export const conflictsOf = (params: URLSearchParams): ReadonlyMap<string, string> => conflictsIn(params, RANGES);

/** The order in the address (`?sort=longest`); newest first if there is none. */
export function readOrder(params: URLSearchParams): SessionOrder {
  const { field, direction } = ORDERS.find(({ key }) => key === params.get('sort')) ?? ORDERS[0]!;
  return { field, direction };
}

/** The conditions in the address. */
export function sessionConditions(params: URLSearchParams): Condition[] {
  const moment = (value: string): string => formatMoment(new Date(value), Date.now());
  return [
    ...listConditions(params, LISTS),
    ...params.getAll('end').map((value) => ({
      text: END_REASONS[value as SessionEndReason] ?? value,
      remove: without(params, 'end', value),
    })),
    ...singleConditions(params, {
      errors: (value) => (value === 'yes' ? 'With errors' : 'Without errors'),
      bot: (value) => (value === 'yes' ? 'Bots only' : 'People only'),
      from: (value) => `Started from ${moment(value)}`,
      to: (value) => `Started before ${moment(value)}`,
      activeFrom: (value) => `Active from ${moment(value)}`,
      activeTo: (value) => `Active until ${moment(value)}`,
      min: (value) => `Duration at least ${value} s`,
      max: (value) => `Duration at most ${value} s`,
      data: (value) => `Data: ${value}`,
      userData: (value) => `User’s data: ${value}`,
    }),
  ];
}
