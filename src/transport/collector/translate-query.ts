import { CREDENTIAL_PARAMETERS } from './credential.js';

const CREDENTIALS: ReadonlySet<string> = new Set(CREDENTIAL_PARAMETERS);
/** Parameters that become a field of the event as they are, in lower case. */
const FIELDS: Readonly<Record<string, string>> = {
  type: 'type',
  source: 'source',
  message: 'message',
  reference: 'reference_id',
  date: 'date',
  geo: 'geo',
  value: 'value',
};

/**
 * An event in the query of a link or a script (GET /events/submit), as it would stand in a body; parameters
 * that are no field go into its data, repeated ones as a list. Null where there is nothing to say.
 */
export function eventOfQuery(query: URLSearchParams, type: string | null): Record<string, unknown> | null {
  const fields: Record<string, unknown> = {};
  const user: Record<string, unknown> = {};
  const tags: string[] = [];
  const data = new Map<string, string[]>();
  for (const [name, value] of query) {
    const lower = name.toLowerCase();
    if (CREDENTIALS.has(lower) || value.trim() === '') continue;
    if (lower === 'tags') tags.push(...value.split(','));
    else if (lower === 'identity') user['identity'] = value;
    else if (lower === 'identity.name' || lower === 'identityname') user['name'] = value;
    else if (lower === 'count') fields['count'] = Number(value);
    else if (lower in FIELDS) fields[FIELDS[lower]!] ??= value;
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
