import type { Reach } from '../domain/access.js';
import type { Database, Queryable } from './database.js';

/** What Exceptionless clients pick up, and its version. */
export interface ClientSettings {
  readonly version: number;
  readonly settings: Readonly<Record<string, string>>;
}

/** Null where the project is gone. */
export async function readClientSettings(database: Database, { projectId }: Reach): Promise<ClientSettings | null> {
  const rows = await database.query<ClientSettings>({
    name: 'clientSettings.read',
    text: 'SELECT client_settings_version AS version, client_settings AS settings FROM projects WHERE id = $1',
    values: [projectId],
  });
  return rows[0] ?? null;
}

/** Sets some and removes some; the version grows by one for each. Answers how many there are now. */
export async function changeClientSettings(
  tx: Queryable,
  { projectId }: Reach,
  set: Readonly<Record<string, string>>,
  removed: readonly string[],
): Promise<number> {
  const rows = await tx.query<{ count: number }>({
    name: 'clientSettings.change',
    text: `UPDATE projects SET client_settings = (client_settings - $3::text[]) || $2::jsonb,
                  client_settings_version = client_settings_version + $4
           WHERE id = $1
           RETURNING (SELECT count(*)::integer FROM jsonb_object_keys(client_settings)) AS count`,
    values: [projectId, JSON.stringify(set), removed, Object.keys(set).length + removed.length],
  });
  return rows[0]?.count ?? 0;
}
