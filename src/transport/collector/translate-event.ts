import type { IncomingEvent } from '../../domain/event.js';
import { SESSION_KEY } from '../../domain/session.js';

/**
 * An event as Exceptionless clients write it, as one of ours. What is too long is cut as their server cuts it,
 * so that no event is lost for a long message; what is of a wrong type is left for ingest to refuse by name.
 */

type Fields = Record<string, unknown>;

const LIMITS = { source: 2_000, message: 2_000, version: 100, name: 255, tag: 100, tags: 50 } as const;

/** What stands in the place of a reference that is none; the original is in the data. */
const INVALID_REFERENCE = 'invalid-reference-id';
const REFERENCE = /^[\p{L}\p{Nd}-]{8,100}$/u;

/** Objects that some clients send as JSON in a string. */
const OBJECTS = new Set([
  '@error',
  '@simple_error',
  '@environment',
  '@location',
  '@request',
  '@submission_client',
  '@user',
  '@user_description',
  '@stack',
]);
/** Of these the server reads fields, so their names are brought to one spelling. */
const READ_HERE = new Set(['@user', '@request', '@environment', '@location', '@user_description']);

/** Set by the server alone. */
const SERVERS_OWN = new Set([
  'stackid',
  'organizationid',
  'projectid',
  'isfirstoccurrence',
  'createdutc',
  '@submission_client',
]);

/** Fields of an event, by their name without case and underscores. */
const KNOWN = new Set(['id', 'type', 'source', 'date', 'tags', 'message', 'geo', 'value', 'count', 'referenceid']);
const bare = (name: string): string => name.replaceAll('_', '').toLowerCase();

export const isObject = (value: unknown): value is Fields =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

/** UserAgent, OSName: user_agent, o_s_name. */
const snakeCase = (name: string): string =>
  /^[A-Z]/.test(name) ? name.replace(/[A-Z]/g, (letter, at) => `${at === 0 ? '' : '_'}${letter.toLowerCase()}`) : name;

const withSnakeCase = (fields: Fields): Fields =>
  Object.fromEntries(Object.entries(fields).map(([name, value]) => [snakeCase(name), value]));

/** An object, or the object that a string holds as JSON; null where it is neither. */
function objectIn(value: unknown): Fields | null {
  if (isObject(value)) return value;
  if (typeof value !== 'string') return null;
  try {
    const parsed: unknown = JSON.parse(value);
    return isObject(parsed) ? parsed : null;
  } catch {
    return null;
  }
}

/** At most `length` UTF-16 units, never half a character; null for what is empty or no text. */
export function cut(value: unknown, length: number): string | null {
  if (typeof value !== 'string' || value.trim() === '') return null;
  if (value.length <= length) return value;
  const end = /[\uD800-\uDBFF]/.test(value[length - 1]!) ? length - 1 : length;
  return value.slice(0, end);
}

/** A map that keeps what comes first; later ones of the same name get another. */
class Data {
  private readonly entries = new Map<string, unknown>();

  add(name: string, value: unknown): void {
    let free = name;
    if (this.entries.has(name) && name.startsWith('@')) free = `_${name}`;
    for (let at = 1; this.entries.has(free); at += 1) free = `${name}${at}`;
    this.entries.set(free, value);
  }

  take(name: string): unknown {
    return this.entries.get(name);
  }

  set(name: string, value: unknown): void {
    this.entries.set(name, value);
  }

  toObject(): Fields {
    return Object.fromEntries(this.entries);
  }
}

/** Puts a value of the event's data in its place: known objects as objects, whatever they came as. */
function addToData(data: Data, name: string, value: unknown): void {
  if (SERVERS_OWN.has(name)) return;
  if (!OBJECTS.has(name) || value === null) {
    if (value !== null) data.add(name, value);
    return;
  }
  const fields = objectIn(value);
  if (fields === null) data.add(`_${name}`, value);
  else data.add(name, READ_HERE.has(name) ? withSnakeCase(fields) : fields);
}

/** Tags without blanks, repeats (whatever their case) and what is too long; Critical and Internal survive the limit. */
function tagsOf(value: unknown): string[] {
  if (!Array.isArray(value)) return [];
  const unique = new Map<string, string>();
  for (const one of value) {
    const tag = typeof one === 'string' ? one.trim() : '';
    if (tag === '' || tag.length > LIMITS.tag || unique.has(tag.toLowerCase())) continue;
    unique.set(tag.toLowerCase(), tag);
  }
  const tags = [...unique.values()];
  if (tags.length <= LIMITS.tags) return tags;
  const important = tags.filter((tag) => /^(critical|internal)$/i.test(tag));
  const others = tags.filter((tag) => !important.includes(tag));
  return [...important, ...others.slice(0, LIMITS.tags - important.length)];
}

/** A date with an offset, or, without one, of UTC. Undefined: now. An invalid Date is refused by ingest. */
function dateOf(value: unknown): Date | undefined {
  if (value === null || value === undefined || value === '') return undefined;
  if (typeof value !== 'string') return new Date(Number.NaN);
  const hasZone = /(z|[+-]\d\d:?\d\d)$/i.test(value.trim());
  return new Date(hasZone || !value.includes('T') ? value : `${value}Z`);
}

function numberOf(value: unknown): number | null {
  if (value === null || value === undefined || value === '') return null;
  return typeof value === 'number' || typeof value === 'string' ? Number(value) : Number.NaN;
}

function userOf(user: unknown): IncomingEvent['user'] {
  if (!isObject(user)) return null;
  const { identity, name, data } = user;
  const given = typeof identity === 'number' ? String(identity) : identity;
  if (typeof given !== 'string' || given.trim() === '') return null;
  return {
    identity: given,
    name: cut(name, LIMITS.name),
    data: isObject(data) && Object.keys(data).length > 0 ? data : null,
  };
}

function typeOf(value: unknown, data: Data): string {
  if (typeof value === 'string' && value.trim() !== '') return value;
  return data.take('@error') || data.take('@simple_error') ? 'error' : 'log';
}

/** A reference where it is one; what is none is kept in the data, and names nothing. */
function referenceOf(reference: unknown, data: Data, isStart: boolean): string | null {
  if (reference === null || reference === undefined) return null;
  const good = typeof reference === 'string' && (isStart ? SESSION_KEY : REFERENCE).test(reference);
  if (good) return reference;
  data.add('InvalidReferenceId', reference);
  return isStart ? null : INVALID_REFERENCE;
}

/** The fields of one posted event, and its data with everything that is no field of an event. */
function unpack(posted: Fields): { fields: Fields; data: Data } {
  const data = new Data();
  const fields: Fields = {};
  const strangers: [string, unknown][] = [];
  for (const [name, value] of Object.entries(posted)) {
    const known = bare(name);
    if (known === 'data') {
      for (const [key, inner] of Object.entries(objectIn(value) ?? {})) addToData(data, key, inner);
    } else if (KNOWN.has(known)) fields[known] ??= value;
    else if (!SERVERS_OWN.has(known)) strangers.push([name, value]);
  }
  // After the data, which keeps its names.
  for (const [name, value] of strangers) addToData(data, name, value);
  return { fields, data };
}

/** `client` is what the server notes of whoever sent it (`@submission_client`). */
export function translateEvent(posted: Fields, client: Fields): IncomingEvent {
  const { fields, data } = unpack(posted);
  const type = typeOf(fields['type'], data);
  const isStart = type === 'session';
  const reference = referenceOf(fields['referenceid'] ?? fields['id'], data, isStart);
  const session = data.take('@ref:session');
  if (fields['geo']) data.add('@geo', fields['geo']);
  if (typeof fields['count'] === 'number' && fields['count'] > 1) data.add('@count', fields['count']);
  data.set('@submission_client', client);
  const named = reference !== null && reference !== INVALID_REFERENCE;
  return {
    // A reference is seen once: clients that send a batch again repeat it.
    id: named && type !== 'heartbeat' ? reference : null,
    type,
    source: cut(fields['source'], LIMITS.source),
    message: cut(fields['message'], LIMITS.message),
    ...(dateOf(fields['date']) && { occurredAt: dateOf(fields['date'])! }),
    value: numberOf(fields['value']),
    tags: tagsOf(fields['tags']),
    referenceId: reference,
    sessionKey: !(isStart && named) && typeof session === 'string' && SESSION_KEY.test(session) ? session : null,
    user: userOf(data.take('@user')),
    version: cut(data.take('@version'), LIMITS.version),
    data: data.toObject(),
    // Rule 12: clients send a start whenever a tab is shown.
    startPolicy: 'RESUME',
  };
}

/** A line of text as an event. */
export const translateLine = (line: string, client: Fields): IncomingEvent => ({
  type: 'log',
  message: cut(line, LIMITS.message),
  data: { '@submission_client': client },
});
