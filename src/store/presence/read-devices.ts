import type { Reach } from '../../domain/access.js';
import type { Database } from '../database.js';
import { withinReach } from './read-presence.js';
import { TOLD_ONLINE } from './told-online.js';

/** A session that counts as online, as its user's presence shows it. */
export interface PresenceDevice {
  readonly sessionId: string;
  /** The session's key, else the device's id. */
  readonly key: string | null;
  readonly since: Date;
  readonly browser: string | null;
  readonly os: string | null;
  readonly device: string | null;
}

/**
 * The most devices of a user, and of all users that are read together (a page, or a thousand users of a message). So an answer
 * is bounded, whatever number of sessions a user opens. With at most 40 users, each user has up to 100 devices. With more
 * users, each user has an equal part of `inAll`.
 */
export const MOST_DEVICES = { ofUser: 100, inAll: 4_000 } as const;
/**
 * Users of one statement: 5 µs each in Postgres with 1,000,000 sessions. Other requests get their turn between two statements.
 */
const USERS = 1_000;

/** Reads the sessions that count as online of those users that are within reach, by identity, the newest session first. */
export async function devicesOf(
  database: Database,
  reach: Reach,
  identities: readonly string[],
): Promise<Map<string, PresenceDevice[]>> {
  const identityOf = withinReach(reach, identities);
  const ids = [...identityOf.keys()];
  const most = Math.max(1, Math.min(MOST_DEVICES.ofUser, Math.floor(MOST_DEVICES.inAll / ids.length)));
  const devices = new Map<string, PresenceDevice[]>();
  for (let from = 0; from < ids.length; from += USERS) {
    const rows = await database.query<PresenceDevice & { userId: string }>({
      name: 'presence.devices',
      text: `SELECT k.id AS "userId", s.*
             FROM unnest($2::uuid[]) k (id)
             CROSS JOIN LATERAL (
               SELECT s.id AS "sessionId", coalesce(s.key, s.device_id) AS key, s.started_at AS since, s.browser_name AS browser, s.os_name AS os, s.device
               FROM sessions s WHERE s.project_id = $1::uuid AND s.user_id = k.id AND s.live AND ${TOLD_ONLINE}
               ORDER BY s.started_at DESC, s.id DESC LIMIT $3
             ) s`,
      values: [reach.projectId, ids.slice(from, from + USERS), most],
    });
    for (const { userId, ...device } of rows) {
      const identity = identityOf.get(userId)!;
      const own = devices.get(identity);
      if (own) own.push(device);
      else devices.set(identity, [device]);
    }
  }
  return devices;
}
