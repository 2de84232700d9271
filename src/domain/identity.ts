import { hash } from 'node:crypto';
import { detached } from './well-formed.js';

/**
 * The first 128 bits of SHA-256 of the parts, as a UUID's text. Each part carries its length, so parts cannot run into each
 * other.
 */
function hashToUuid(...parts: readonly string[]): string {
  let text = '';
  for (const part of parts) text += `${Buffer.byteLength(part)}:${part}`;
  const hex = hash('sha256', text);
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20, 32)}`;
}

/** User ids that were computed lately, by project, then identity: a site sees the same users all day. */
const known = new Map<string, Map<string, string>>();
/** Each takes up to about 600 bytes. */
const MOST_KNOWN = { ids: 50_000, characters: 255 };
let count = 0;

/**
 * The id of a user in a project: a hash of (project, identity). Two spellings are two users. The identity is used as it is
 * given; the caller has trimmed it.
 */
export function userIdOf(projectId: string, identity: string): string {
  let ids = known.get(projectId);
  const found = ids?.get(identity);
  if (found !== undefined) return found;
  const id = hashToUuid('user', projectId, identity);
  // A longer text is no user's identity; only a filter can ask for it.
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

/**
 * Rule 24: an unchanged name is confirmed at most this often, so that not every event with a name costs a write.
 * Milliseconds.
 */
export const NAME_CONFIRMED = 60_000;

/**
 * The hash under which a client's own event id is remembered (rule 25). Ids are separate by owner, so one owner's id never
 * blocks another's. The owner is the user (`userId`, from userIdOf); else the device; else the session key; else the project.
 * Where the user is not named, the users that a narrowed token means (`allowedUsers`; null: every user) are part of the
 * owner.
 */
export function eventKeyOf(
  clientId: string,
  {
    userId,
    deviceId,
    sessionKey,
  }: { readonly userId: string | null; readonly deviceId: string | null; readonly sessionKey: string | null },
  allowedUsers: readonly string[] | null,
): string {
  if (userId !== null) return hashToUuid('event of user', userId, clientId);
  const allowed = (): string => allowedUsers?.toSorted().join(' ') ?? '';
  if (deviceId !== null) return hashToUuid('event of device', deviceId, allowed(), clientId);
  if (sessionKey === null) return hashToUuid('event', clientId);
  return hashToUuid('event of key', sessionKey, allowed(), clientId);
}
