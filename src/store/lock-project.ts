import type { Reach } from '../domain/access.js';
import type { PrismaQueryable } from './database.js';

/**
 * Locks the project's row until the transaction ends. Other callers of this function wait, so what the next statements
 * read of the project and its keys stays unchanged. Returns whether the project exists. SQL, because Prisma has no
 * locks.
 */
export async function lockProject(tx: PrismaQueryable, { projectId }: Reach): Promise<boolean> {
  const rows = await tx.prisma(
    'projects.lock',
    (models) => models.$queryRaw<unknown[]>`SELECT 1 FROM projects WHERE id = ${projectId}::uuid FOR NO KEY UPDATE`,
  );
  return rows.length > 0;
}
