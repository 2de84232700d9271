import type { Reach } from '../../domain/access.js';
import type { ProjectSettings } from '../../domain/project.js';
import type { PrismaQueryable } from '../database.js';
import type { Project } from '../generated/prisma/client.js';
import { toPage, type Page, type Rows } from '../keyset.js';
import { lockProject } from '../lock-project.js';

/** Null if the project does not exist. */
export function getProject(database: PrismaQueryable, { projectId }: Reach): Promise<Project | null> {
  return database.prisma('projects.get', ({ project }) => project.findUnique({ where: { id: projectId } }));
}

/** A page of all projects, newest first: project ids are made from the time of creation. For the operator only. */
export async function listProjects(database: PrismaQueryable, page: Page<string>): Promise<Rows<Project>> {
  const rows = await database.prisma('projects.list', ({ project }) =>
    project.findMany({
      where: { id: { ...(page.after && { lt: page.after }), ...(page.before && { gt: page.before }) } },
      orderBy: { id: page.backwards ? 'asc' : 'desc' },
      take: page.limit + 1,
    }),
  );
  return toPage(rows, page);
}

export const countProjects = (database: PrismaQueryable): Promise<number> =>
  database.prisma('projects.count', ({ project }) => project.count());

export function addProject(
  tx: PrismaQueryable,
  wanted: Pick<Project, 'id' | 'name' | 'createdAt'> & ProjectSettings,
): Promise<Project> {
  const data = { ...wanted, allowedOrigins: [...wanted.allowedOrigins] };
  return tx.prisma('projects.add', ({ project }) => project.create({ data }));
}

/**
 * Changes the fields that are given. If a timeout changes, records that open sessions must be brought in step with the
 * timeouts. Locks the project first: of two changes at once, the second compares with the result of the first. Does
 * nothing if the project does not exist.
 */
export async function changeProject(
  tx: PrismaQueryable,
  reach: Reach,
  { name, settings: { allowedOrigins, ...settings } }: { name: string | null; settings: Partial<ProjectSettings> },
  now: Date,
): Promise<void> {
  await lockProject(tx, reach);
  const before = await getProject(tx, reach);
  if (!before) return;
  const { inactivityTimeout = before.inactivityTimeout, presenceTimeout = before.presenceTimeout } = settings;
  const reckon = inactivityTimeout !== before.inactivityTimeout || presenceTimeout !== before.presenceTimeout;
  const data = {
    ...settings,
    ...(name !== null && { name }),
    ...(allowedOrigins && { allowedOrigins: [...allowedOrigins] }),
    ...(reckon && { timeoutsChangedAt: now, reckonAt: now }),
  };
  await tx.prisma('projects.change', ({ project }) => project.update({ where: { id: before.id }, data }));
}
