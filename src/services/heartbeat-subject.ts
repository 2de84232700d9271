import type { Reach } from '../domain/access.js';
import { wellFormed } from '../domain/well-formed.js';
import type { Database } from '../store/database.js';
import { findSubjects } from '../store/heartbeat-subject.js';

/**
 * Whose heartbeat it is where the client does not say whether it names a session or a user: `spellings` are
 * what it may have meant, the likeliest first. A session of that key comes before a user of that identity.
 * Where neither is known it is a user, who is here without an event so far (rule 18); but not where it looks
 * like an id that a client made for a session, whose start is still to come. Null: nobody's.
 */
export type FindHeartbeatSubject = (
  reach: Reach,
  spellings: readonly string[],
) => Promise<{ sessionKey: string } | { identity: string } | null>;

/** How Exceptionless clients make session ids: a UUID without its dashes. */
const MADE_BY_CLIENT = /^[0-9a-f]{32}$/i;
/** Neither a key nor an identity is longer. */
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
