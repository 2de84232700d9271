import type { IncomingEvent } from '../../domain/event.js';
import { SESSION_KEY } from '../../domain/session.js';

/**
 * Translates an event of an Exceptionless client to an IncomingEvent. A text that is too long is cut, as the Exceptionless
 * server does, so that a long message loses no event. A value of a wrong type stays: ingest refuses it with its own code.
 */

type Fields = Record<string, unknown>;

const LIMITS = { source: 2_000, message: 2_000, version: 100, name: 255, tag: 100, tags: 50 } as const;

/** The referenceId of an event with an invalid reference. The original text is in the event's data. */
const INVALID_REFERENCE = 'invalid-reference-id';
const REFERENCE = /^[\p{L}\p{Nd}-]{8,100}$/u;

/** Keys of data with an object. Some clients send the object as JSON in a string. */
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
/** Objects whose fields the server reads. The names of these fields become snake_case. */
const READ_HERE = new Set(['@user', '@request', '@environment', '@location', '@user_description']);

/** Fields that only the server sets. The server ignores them in a posted event. */
const SERVERS_OWN = new Set([
  'stackid',
  'organizationid',
  'projectid',
  'isfirstoccurrence',
  'createdutc',
  '@submission_client',
]);

/** The fields of an event. Names are in lower case and without underscores. */
const KNOWN = new Set(['id', 'type', 'source', 'date', 'tags', 'message', 'geo', 'value', 'count', 'referenceid']);
const bare = (name: string): string => name.replaceAll('_', '').toLowerCase();

export const isObject = (value: unknown): value is Fields =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

/** UserAgent becomes user_agent, OSName becomes o_s_name. */
const snakeCase = (name: string): string =>
  /^[A-Z]/.test(name) ? name.replace(/[A-Z]/g, (letter, at) => `${at === 0 ? '' : '_'}${letter.toLowerCase()}`) : name;

const withSnakeCase = (fields: Fields): Fields =>
  Object.fromEntries(Object.entries(fields).map(([name, value]) => [snakeCase(name), value]));

/** The value itself if it is an object, or the object that it has as JSON text. Null for any other value. */
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

/**
 * The first `length` UTF-16 units of a text, without half a surrogate pair at its end. Null if the value is no text or is
 * blank.
 */
export function cut(value: unknown, length: number): string | null {
  if (typeof value !== 'string' || value.trim() === '') return null;
  if (value.length <= length) return value;
  const end = /[\uD800-\uDBFF]/.test(value[length - 1]!) ? length - 1 : length;
  return value.slice(0, end);
}

/** The maximum number of fields of an event's data. Further fields are left out, except for those that the server reads. */
const MOST_FIELDS = 1_000;
const NEVER_LEFT_OUT = new Set([...OBJECTS, '@version', '@ref:session']);

/** The data of an event. The first value of a name keeps the name; a later one gets a new name (`_@name` or `name1`). */
class Data {
  private readonly entries = new Map<string, unknown>();
  /** For each name, the number that its next repeat tries first. So no number is tried twice. */
  private readonly numbers = new Map<string, number>();

  add(name: string, value: unknown): void {
    const isKnown = NEVER_LEFT_OUT.has(name) && !this.entries.has(name);
    if (this.entries.size >= MOST_FIELDS && !isKnown) return;
    let free = name;
    if (this.entries.has(name) && name.startsWith('@')) free = `_${name}`;
    for (let at = this.numbers.get(name) ?? 1; this.entries.has(free); at += 1) {
      free = `${name}${at}`;
      this.numbers.set(name, at + 1);
    }
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

/** Adds a value to the event's data. A known object that came as JSON text becomes an object. */
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

/**
 * The tags, trimmed, without empty ones, repeats (in any case) and tags of more than 100 characters. At most 50; Critical and
 * Internal are always kept.
 */
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

/** The time of an event. A text without an offset is UTC. Undefined: now. Ingest refuses an invalid Date. */
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

/** The reference of an event, if it is valid. An invalid reference goes to data.InvalidReferenceId and names nothing. */
function referenceOf(reference: unknown, data: Data, isStart: boolean): string | null {
  if (reference === null || reference === undefined) return null;
  const good = typeof reference === 'string' && (isStart ? SESSION_KEY : REFERENCE).test(reference);
  if (good) return reference;
  data.add('InvalidReferenceId', reference);
  return isStart ? null : INVALID_REFERENCE;
}

/** The fields of a posted event, and its data. Every field that is not a field of an event goes to the data. */
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
  // These come after the fields of data, which keep their names.
  for (const [name, value] of strangers) addToData(data, name, value);
  return { fields, data };
}

/** The event that was posted, as an IncomingEvent. `client`: what the server knows of the sender (`@submission_client`). */
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
    // The reference is the idempotency key: a client that sends a batch again repeats it.
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
    // Rule 12: clients send a start each time a tab is shown.
    startPolicy: 'RESUME',
  };
}

/** A line of text as an event of type log. */
export const translateLine = (line: string, client: Fields): IncomingEvent => ({
  type: 'log',
  message: cut(line, LIMITS.message),
  data: { '@submission_client': client },
});
