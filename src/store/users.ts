import type { Reach } from '../domain/access.js';
import { userIdOf } from '../domain/identity.js';
import type { Database } from './database.js';

export interface UserRow {
  readonly identity: string;
  readonly name: string | null;
}

/** What the application said of the users of these identities, by identity; of those within reach alone. */
export async function readUserData(
  database: Database,
  reach: Reach,
  identities: readonly string[],
): Promise<Map<string, Record<string, unknown>>> {
  const ids = identities
    .map((identity) => userIdOf(reach.projectId, identity))
    .filter((id) => !reach.userIds || reach.userIds.includes(id));
  const rows = await database.query<{ identity: string; data: Record<string, unknown> }>({
    name: 'users.data',
    text: `SELECT identity, data FROM users WHERE project_id = $1 AND id = ANY($2::uuid[]) AND data IS NOT NULL`,
    values: [reach.projectId, ids],
  });
  return new Map(rows.map(({ identity, data }) => [identity, data]));
}

/** The user of that identity; null where the project has never seen it, or it is out of reach. */
export async function findUser(database: Database, reach: Reach, identity: string): Promise<UserRow | null> {
  const id = userIdOf(reach.projectId, identity.trim());
  if (reach.userIds && !reach.userIds.includes(id)) return null;
  const [user] = await database.query<UserRow>({
    name: 'users.find',
    text: 'SELECT identity, name FROM users WHERE project_id = $1 AND id = $2',
    values: [reach.projectId, id],
  });
  return user ?? null;
}
