import type { Reach } from '../domain/access.js';
import type { ProjectSettings } from '../domain/project.js';
import type { Database, Queryable } from './database.js';
import type { Project } from './generated/prisma/client.js';

export function getProject({ prisma }: Database, { projectId }: Reach): Promise<Project | null> {
  return prisma.project.findUnique({ where: { id: projectId } });
}

export function addProject(
  { prisma }: Database,
  project: Pick<Project, 'id' | 'name' | 'createdAt'> & ProjectSettings,
): Promise<Project> {
  return prisma.project.create({ data: { ...project, allowedOrigins: [...project.allowedOrigins] } });
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
