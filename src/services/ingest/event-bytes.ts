import type { CheckedEvent } from '../../domain/check-event.js';

/** For each user of a narrowed token, where an event has a key but no user: the batch looks for a session of each. */
const BYTES_A_USER = 200;

/** Roughly how many bytes an event takes in the queue and in a batch. */
export const bytesOf = ({ json, message, source, tags, user, sessionKey, allowedUsers }: CheckedEvent): number =>
  500 +
  (user === null && sessionKey !== null && allowedUsers !== null ? allowedUsers.length * BYTES_A_USER : 0) +
  json.length +
  (message?.length ?? 0) +
  (source?.length ?? 0) +
  (user?.data?.length ?? 0) +
  tags.reduce((sum, tag) => sum + tag.length, 0);
