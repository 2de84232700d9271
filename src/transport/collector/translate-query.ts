import { CREDENTIAL_PARAMETERS } from './credential.js';

const CREDENTIALS: ReadonlySet<string> = new Set(CREDENTIAL_PARAMETERS);
/** Query parameters, in lower case, and the field of the event that each becomes. */
const FIELDS: ReadonlyMap<string, string> = new Map([
  ['type', 'type'],
  ['source', 'source'],
  ['message', 'message'],
  ['reference', 'reference_id'],
  ['date', 'date'],
  ['geo', 'geo'],
  ['value', 'value'],
]);

/**
 * The event in the query of GET /events/submit, as a posted event for translateEvent. A parameter that is no field of an event
 * goes to its data; a repeated one becomes a list. `type` is the type in the path. Null if neither query nor path has a value.
 */
export function eventOfQuery(query: URLSearchParams, type: string | null): Record<string, unknown> | null {
  const fields: Record<string, unknown> = {};
  const user: Record<string, unknown> = {};
  const tags: string[] = [];
  const data = new Map<string, string[]>();
  for (const [name, value] of query) {
    const lower = name.toLowerCase();
    const field = FIELDS.get(lower);
    if (CREDENTIALS.has(lower) || value.trim() === '') continue;
    if (lower === 'tags') tags.push(...value.split(','));
    else if (lower === 'identity') user['identity'] = value;
    else if (lower === 'identity.name' || lower === 'identityname') user['name'] = value;
    else if (lower === 'count') fields['count'] = Number(value);
    else if (field !== undefined) fields[field] ??= value;
    else data.set(name, [...(data.get(name) ?? []), value]);
  }
  const isEmpty = Object.keys(fields).length + Object.keys(user).length + tags.length + data.size === 0;
  if (isEmpty && type === null) return null;
  const entries: [string, unknown][] = [...data].map(([name, values]) => [
    name,
    values.length === 1 ? values[0] : values,
  ]);
  if (Object.keys(user).length > 0) entries.push(['@user', user]);
  return { ...fields, type: type ?? fields['type'] ?? 'log', tags, data: Object.fromEntries(entries) };
}
