import type { SessionEndReason, SessionFilter, SessionOrder, SessionOrderField } from './generated/graphql';

/** The parts of a filter that are lists of words, with their names in the address and for people. */
export const LISTS = [
  { param: 'user', field: 'identities', name: 'User', hint: 'ada@example.com' },
  { param: 'type', field: 'eventTypes', name: 'Event type', hint: 'error' },
  { param: 'browser', field: 'browsers', name: 'Browser', hint: 'Chrome' },
  { param: 'system', field: 'operatingSystems', name: 'System', hint: 'Windows' },
  { param: 'device', field: 'devices', name: 'Device', hint: 'desktop' },
  { param: 'version', field: 'versions', name: 'Version', hint: '1.4.2' },
  { param: 'country', field: 'countries', name: 'Country', hint: 'DE' },
  { param: 'address', field: 'ipAddresses', name: 'Address', hint: '203.0.113.7' },
] as const;

/** Why sessions end, for people. */
export const END_REASONS: Record<SessionEndReason, string> = {
  CLIENT: 'Left',
  INACTIVITY: 'Fell silent',
  SUPERSEDED: 'Started anew',
};

/** The orders that a reader can choose. */
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

const yesNo = (value: string | null): boolean | undefined =>
  value === 'yes' ? true : value === 'no' ? false : undefined;

function range(params: URLSearchParams, from: string, to: string): { from?: string; to?: string } | undefined {
  const read = (name: string): string | undefined => {
    const at = new Date(params.get(name) ?? '');
    return Number.isNaN(at.getTime()) ? undefined : at.toISOString();
  };
  const found = { from: read(from), to: read(to) };
  return found.from || found.to ? found : undefined;
}

function seconds(params: URLSearchParams, name: string): number | undefined {
  const text = params.get(name);
  const value = Number(text);
  return text && Number.isFinite(value) ? value : undefined;
}

/** A JSON object, of its text; null where it is none. */
export function jsonObject(text: string): Record<string, unknown> | null {
  try {
    const value: unknown = JSON.parse(text);
    return typeof value === 'object' && value !== null && !Array.isArray(value)
      ? (value as Record<string, unknown>)
      : null;
  } catch {
    return null;
  }
}

/** The filter that an address names. What it does not understand it leaves out. */
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
  filter.startedAt = range(params, 'from', 'to');
  filter.activeDuring = range(params, 'activeFrom', 'activeTo');
  const duration = { min: seconds(params, 'min'), max: seconds(params, 'max') };
  if (duration.min !== undefined || duration.max !== undefined) filter.duration = duration;
  filter.dataContains = jsonObject(params.get('data') ?? '') ?? undefined;
  return filter;
}

/** The order that an address names: `?sort=longest`. */
export function readOrder(params: URLSearchParams): SessionOrder {
  const { field, direction } = ORDERS.find(({ key }) => key === params.get('sort')) ?? ORDERS[0]!;
  return { field, direction };
}

/** The same address with some of its words changed: null removes one. */
export function withParams(
  params: URLSearchParams,
  changes: Readonly<Record<string, string | readonly string[] | null>>,
): string {
  const next = new URLSearchParams(params);
  for (const [name, value] of Object.entries(changes)) {
    next.delete(name);
    for (const one of typeof value === 'string' ? [value] : (value ?? [])) if (one !== '') next.append(name, one);
  }
  const text = next.toString();
  return text ? `/sessions?${text}` : '/sessions';
}
