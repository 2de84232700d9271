import type { Reach } from '../../domain/access.js';
import type { PrismaQueryable } from '../database.js';

/** The settings that Exceptionless clients fetch, and their version. */
export interface ClientSettings {
  readonly version: number;
  readonly settings: Readonly<Record<string, string>>;
}

/** Null if the project does not exist any more. */
export async function readClientSettings(
  database: PrismaQueryable,
  { projectId }: Reach,
): Promise<ClientSettings | null> {
  const found = await database.prisma('clientSettings.read', ({ project }) =>
    project.findUnique({
      where: { id: projectId },
      select: { clientSettingsVersion: true, clientSettings: true },
    }),
  );
  return found && { version: found.clientSettingsVersion, settings: found.clientSettings as Record<string, string> };
}

/**
 * Sets the settings in `set` and removes those in `removed`. The version grows by one for each. Returns the number of
 * settings afterwards. SQL for two reasons: Prisma cannot change JSON relative to what is stored, and it drops a key
 * that is called `__proto__`.
 */
export async function changeClientSettings(
  tx: PrismaQueryable,
  { projectId }: Reach,
  set: Readonly<Record<string, string>>,
  removed: readonly string[],
): Promise<number> {
  const changes = Object.keys(set).length + removed.length;
  const rows = await tx.prisma(
    'clientSettings.change',
    (models) => models.$queryRaw<{ count: number }[]>`
      UPDATE projects SET client_settings = (client_settings - ${removed}::text[]) || ${JSON.stringify(set)}::jsonb,
             client_settings_version = client_settings_version + ${changes}::integer
      WHERE id = ${projectId}::uuid
      RETURNING (SELECT count(*)::integer FROM jsonb_object_keys(client_settings)) AS count`,
  );
  return rows[0]?.count ?? 0;
}
