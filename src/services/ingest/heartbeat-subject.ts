import type { Reach } from '../../domain/access.js';
import { wellFormed } from '../../domain/well-formed.js';
import type { Database } from '../../store/database.js';
import { findSubjects } from '../../store/ingest/heartbeat-subject.js';

/**
 * Finds whether a heartbeat means a session or a user, for clients that do not say which. `spellings` are the texts that
 * the client may have meant, the likeliest first. For each text a session of that key comes before a user of that identity.
 * If none is known, the heartbeat means a user who is here without an event so far (rule 18). But if the first text looks
 * like a session id that a client made, the session's start is still to come, and the answer is null: the heartbeat has no
 * subject.
 */
export type FindHeartbeatSubject = (
  reach: Reach,
  spellings: readonly string[],
) => Promise<{ sessionKey: string } | { identity: string } | null>;

/** The form of session ids that Exceptionless clients make: a UUID without its dashes. */
const MADE_BY_CLIENT = /^[0-9a-f]{32}$/i;
/** The most characters that a key or an identity may have. */
const LONGEST = 255;

export const createFindHeartbeatSubject =
  ({ database }: { database: Database }): FindHeartbeatSubject =>
  async (reach, spellings) => {
    const texts = [...new Set(spellings.map((text) => wellFormed(text.trim())))].filter(
      (text) => text.length >= 1 && text.length <= LONGEST,
    );
    const [first] = texts;
    if (first === undefined) return null;
    const { keys, identities } = await findSubjects(database, reach, texts);
    for (const text of texts) {
      if (keys.has(text)) return { sessionKey: text };
      if (identities.has(text)) return { identity: text };
    }
    return MADE_BY_CLIENT.test(first) ? null : { identity: first };
  };
