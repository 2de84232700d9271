import type { Reach } from '../domain/access.js';
import type { ProjectSettings } from '../domain/project.js';
import type { Database, Queryable } from './database.js';
import type { Project } from './generated/prisma/client.js';
import { toPage, type Page, type Rows } from './keyset.js';

export function getProject({ prisma }: Database, { projectId }: Reach): Promise<Project | null> {
  return prisma.project.findUnique({ where: { id: projectId } });
}

/** A page of all projects, the newest first: their ids are made from the time they were. For the operator alone. */
export async function listProjects({ prisma }: Database, page: Page<string>): Promise<Rows<Project>> {
  const rows = await prisma.project.findMany({
    where: { id: { ...(page.after && { lt: page.after }), ...(page.before && { gt: page.before }) } },
    orderBy: { id: page.backwards ? 'asc' : 'desc' },
    take: page.limit + 1,
  });
  return toPage(rows, page);
}

export const countProjects = ({ prisma }: Database): Promise<number> => prisma.project.count();

export async function addProject(
  tx: Queryable,
  project: Pick<Project, 'id' | 'name' | 'createdAt'> & ProjectSettings,
): Promise<Project> {
  const [row] = await tx.query<Project>({
    name: 'projects.add',
    text: `INSERT INTO projects (id, name, created_at, inactivity_timeout, presence_timeout, session_start, retention_days,
                                 store_ip_address, bots, allowed_origins, rate_limit)
           VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)
           RETURNING id, name, created_at AS "createdAt", inactivity_timeout AS "inactivityTimeout",
                     presence_timeout AS "presenceTimeout", session_start AS "sessionStart", retention_days AS "retentionDays",
                     store_ip_address AS "storeIpAddress", bots, allowed_origins AS "allowedOrigins", rate_limit AS "rateLimit",
                     client_settings AS "clientSettings", client_settings_version AS "clientSettingsVersion"`,
    values: [
      project.id,
      project.name,
      project.createdAt,
      project.inactivityTimeout,
      project.presenceTimeout,
      project.sessionStart,
      project.retentionDays,
      project.storeIpAddress,
      project.bots,
      project.allowedOrigins,
      project.rateLimit,
    ],
  });
  return row!;
}

/** Changes what is given. Where that changes a timeout, it notes that open sessions are to be brought in step. */
export async function changeProject(
  tx: Queryable,
  { projectId }: Reach,
  changes: { name: string | null; settings: Partial<ProjectSettings> },
  now: Date,
): Promise<void> {
  const { settings } = changes;
  await tx.query({
    name: 'projects.change',
    text: `UPDATE projects p SET
             (timeouts_changed_at, reckon_at) = (
               SELECT CASE WHEN changed THEN $13::timestamptz ELSE p.timeouts_changed_at END,
                      CASE WHEN changed THEN $13::timestamptz ELSE p.reckon_at END
               FROM (SELECT coalesce($3, p.inactivity_timeout) <> p.inactivity_timeout
                         OR coalesce($4, p.presence_timeout) <> p.presence_timeout AS changed) c),
             name = coalesce($2, name),
             inactivity_timeout = coalesce($3, inactivity_timeout),
             presence_timeout = coalesce($4, presence_timeout),
             session_start = coalesce($5::session_start_policy, session_start),
             retention_days = CASE WHEN $6 THEN $7 ELSE retention_days END,
             store_ip_address = coalesce($8, store_ip_address),
             bots = coalesce($9::bot_policy, bots),
             allowed_origins = coalesce($10::text[], allowed_origins),
             rate_limit = CASE WHEN $11 THEN $12 ELSE rate_limit END
           WHERE id = $1`,
    values: [
      projectId,
      changes.name,
      settings.inactivityTimeout ?? null,
      settings.presenceTimeout ?? null,
      settings.sessionStart ?? null,
      settings.retentionDays !== undefined,
      settings.retentionDays ?? null,
      settings.storeIpAddress ?? null,
      settings.bots ?? null,
      settings.allowedOrigins ?? null,
      settings.rateLimit !== undefined,
      settings.rateLimit ?? null,
      now,
    ],
  });
}
