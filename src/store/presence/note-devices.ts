import type { PresenceCause } from '../../domain/presence.js';
import { tellPresence } from '../change-rows.js';
import type { Queryable } from '../database.js';
import { Prisma } from '../generated/prisma/client.js';
import type { UserKey } from '../lock-order.js';
import { Overtaken, OWN_NUMBER } from '../overtaken.js';
import { plainArray } from '../parameters.js';
import type { FlippedEdge } from './flip-presence.js';
import { CHANGE_AT, CHANGE_ID, nextPlace } from './presence-change.js';
import { EDGE, toEdge, type FoundEdge } from './presence-moments.js';

/** A user whose devices have changed without an edge. */
export interface DevicesNote extends UserKey {
  /** The session that took the place of another, and how. Null: a session shows something else. */
  readonly sessionId: string | null;
  readonly cause: PresenceCause | null;
}

/**
 * Notes in the rows of these users that their devices have changed without an edge: a session took the place of another, or
 * shows something else now. A viewer without devices has nothing to hear (rule 29). But a viewer with devices finds it by the
 * row, as it finds an edge: also if it was away, or if the bus has lost the message. The users must be locked, and the caller
 * publishes the result after the commit. The next edge removes the note, because whoever finds that edge needs no note. A
 * session that took the place of another is also kept in presence_changes, with the number of sessions that stayed the same, and
 * told in the feed. Throws Overtaken.
 */
export async function noteDevices(tx: Queryable, notes: readonly DevicesNote[], now: Date): Promise<FlippedEdge[]> {
  if (notes.length === 0) return [];
  const { text } = Prisma.sql`WITH x AS MATERIALIZED (
      SELECT k.*, ${Prisma.raw(nextPlace('k', '$5'))} AS place, k.session_id IS NOT NULL AND EXISTS (
               SELECT FROM users o WHERE o.project_id = k.project_id AND o.id = k.id
                 AND greatest(o.presence_transaction, o.devices_transaction) > ${Prisma.raw(OWN_NUMBER)}) AS is_overtaken
      FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::presence_cause[]) k (project_id, id, session_id, cause)
    ), noted AS (
      UPDATE users u SET devices_transaction = pg_current_xact_id()::text::bigint
      FROM (SELECT x.*, CASE WHEN x.session_id IS NOT NULL THEN ${Prisma.raw(CHANGE_ID)} END AS change_id FROM x) x
      WHERE u.project_id = x.project_id AND u.id = x.id
      RETURNING u.status_since, u.online_sessions, x.session_id, x.cause, x.place, x.change_id, x.is_overtaken, ${EDGE}
    ), kept AS (
      INSERT INTO presence_changes
        (project_id, id, user_id, session_id, at, previous_since, online_sessions, previous_sessions, cause, transaction)
      SELECT x."projectId", x.change_id, x."userId", x.session_id, ${Prisma.raw(CHANGE_AT)}, x.status_since, x.online_sessions,
             x.online_sessions, x.cause, ${Prisma.raw(OWN_NUMBER)}
      FROM noted x WHERE x.change_id IS NOT NULL
    ), told AS (
      ${Prisma.raw(tellPresence('SELECT "projectId" AS project_id, change_id FROM noted', '$5', 'devices'))}
    )
    SELECT *, change_id AS "changeId", is_overtaken AS "isOvertaken" FROM noted`;
  const rows = await tx.query<FoundEdge & { changeId: string | null; isOvertaken: boolean }>({
    name: 'presence.noteDevices',
    prepared: true,
    text,
    values: [
      plainArray(notes.map(({ projectId }) => projectId)),
      plainArray(notes.map(({ userId }) => userId)),
      plainArray(notes.map(({ sessionId }) => sessionId)),
      plainArray(notes.map(({ cause }) => cause)),
      now.getTime(),
    ],
  });
  if (rows.some(({ isOvertaken }) => isOvertaken)) throw new Overtaken();
  return rows.map((row) => ({ ...toEdge(row), changeId: row.changeId }));
}
