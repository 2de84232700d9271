import { hash } from 'node:crypto';
import { detached } from './well-formed.js';

/** The first 128 bits of SHA-256 over the parts, as a UUID's text; parts cannot run into each other. */
function hashToUuid(...parts: readonly string[]): string {
  let text = '';
  for (const part of parts) text += `${Buffer.byteLength(part)}:${part}`;
  const hex = hash('sha256', text);
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20, 32)}`;
}

/** Ids that were worked out lately, by project, then identity: a site sees the same users all day. */
const known = new Map<string, Map<string, string>>();
/** Up to some 600 bytes each. */
const MOST_KNOWN = { ids: 50_000, characters: 255 };
let count = 0;

/**
 * The id under which a project knows a user: a hash of (project, identity). Two spellings are two users;
 * the identity is taken as it stands, after trimming at the door.
 */
export function userIdOf(projectId: string, identity: string): string {
  let ids = known.get(projectId);
  const found = ids?.get(identity);
  if (found !== undefined) return found;
  const id = hashToUuid('user', projectId, identity);
  // What is longer is no user's: a filter may ask for anything.
  if (identity.length > MOST_KNOWN.characters) return id;
  if (count >= MOST_KNOWN.ids) {
    known.clear();
    count = 0;
    ids = undefined;
  }
  if (!ids) known.set(projectId, (ids = new Map()));
  ids.set(detached(identity), id);
  count += 1;
  return id;
}

/** Rule 24: a name that has not changed is confirmed at most this often, so that naming the user costs no write an event. Milliseconds. */
export const NAME_CONFIRMED = 60_000;

/**
 * The hash under which a client's own event id is remembered (rule 25). Ids are told apart by whose they are: of the user, as
 * userIdOf says; else of the session key, and of the users that a narrowed token means by it (`allowedUsers`; null: anybody's);
 * else of the project. So nobody's id stands in another's way.
 */
export function eventKeyOf(
  clientId: string,
  userId: string | null,
  sessionKey: string | null,
  allowedUsers: readonly string[] | null,
): string {
  if (userId !== null) return hashToUuid('event of user', userId, clientId);
  if (sessionKey === null) return hashToUuid('event', clientId);
  return hashToUuid('event of key', sessionKey, allowedUsers?.toSorted().join(' ') ?? '', clientId);
}
