import type { PrismaQueryable } from '../database.js';
import type { Installation } from '../generated/prisma/client.js';

/**
 * Returns the installation's row, which belongs to no project. If there is none, creates it with the proposed token
 * secret. Several servers may call this at once: all get the row of the first.
 */
export async function ensureInstallation(
  database: PrismaQueryable,
  proposed: { tokenSecret: Buffer },
  now: Date,
): Promise<Installation> {
  const made = { tokenSecret: new Uint8Array(proposed.tokenSecret), createdAt: now };
  await database.prisma('installation.add', ({ installation }) =>
    installation.createMany({ data: made, skipDuplicates: true }),
  );
  return database.prisma('installation.read', ({ installation }) =>
    installation.findUniqueOrThrow({ where: { id: true } }),
  );
}

export async function setOperatorKeyHash(database: PrismaQueryable, hash: Buffer): Promise<void> {
  await database.prisma('installation.setOperatorKey', ({ installation }) =>
    installation.update({ where: { id: true }, data: { operatorKeyHash: new Uint8Array(hash) } }),
  );
}

/** Whether this installation has any project. */
export async function hasProjects(database: PrismaQueryable): Promise<boolean> {
  const found = await database.prisma('installation.projects', ({ project }) =>
    project.findFirst({ select: { id: true } }),
  );
  return found !== null;
}
