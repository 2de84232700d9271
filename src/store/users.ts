import type { Reach } from '../domain/access.js';
import { userIdOf } from '../domain/identity.js';
import type { Database } from './database.js';

export interface UserRow {
  readonly identity: string;
  readonly name: string | null;
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
