import { hash } from 'node:crypto';

/** The first 128 bits of SHA-256 over the parts, as a UUID's text; parts cannot run into each other. */
function hashToUuid(...parts: readonly string[]): string {
  let text = '';
  for (const part of parts) text += `${Buffer.byteLength(part)}:${part}`;
  const hex = hash('sha256', text);
  return `${hex.slice(0, 8)}-${hex.slice(8, 12)}-${hex.slice(12, 16)}-${hex.slice(16, 20)}-${hex.slice(20, 32)}`;
}

/**
 * The id under which a project knows a user: a hash of (project, identity). Two spellings are two users;
 * the identity is taken as it stands, after trimming at the door.
 */
export function userIdOf(projectId: string, identity: string): string {
  return hashToUuid('user', projectId, identity);
}

/** The hash under which a client's own event id is remembered (rule 25). */
export function eventKeyOf(clientId: string): string {
  return hashToUuid('event', clientId);
}
