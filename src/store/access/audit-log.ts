import type { Reach } from '../../domain/access.js';
import type { AuditAction, AuditEntry } from '../../domain/audit.js';
import type { PrismaQueryable, Queryable } from '../database.js';
import type { AuditEntry as Row } from '../generated/prisma/client.js';
import { toPage, type Page, type Rows } from '../keyset.js';

/**
 * SQL for two reasons: an erasure writes its entry among its own statements, and Prisma drops a key of `details` that
 * is called `__proto__`, which is a possible name of a client setting.
 */
const ADD = `INSERT INTO audit_log (project_id, id, at, key_id, action, details)
  VALUES ($1::uuid, $2::uuid, $3::timestamptz, $4::uuid, $5, $6::jsonb)`;
const valuesOf = ({ projectId }: Reach, { id, at, keyId, action, details }: AuditEntry): unknown[] => [
  projectId,
  id,
  at.toISOString(),
  keyId,
  action,
  JSON.stringify(details),
];

/** Writes an entry. Call it in the transaction of the change itself, so that both are committed or neither. */
export async function addAuditEntry(tx: PrismaQueryable, reach: Reach, entry: AuditEntry): Promise<void> {
  await tx.prisma('audit.add', (models) => models.$queryRawUnsafe(ADD, ...valuesOf(reach, entry)));
}

/** The same, for a change that is made with SQL statements. */
export async function addAuditEntryBeside(tx: Queryable, reach: Reach, entry: AuditEntry): Promise<void> {
  await tx.query({ name: 'audit.add', text: ADD, values: valuesOf(reach, entry) });
}

const toEntry = ({ id, at, keyId, action, details }: Row): AuditEntry => ({
  id,
  at,
  keyId,
  action: action as AuditAction,
  details: details as Record<string, unknown>,
});

/** A page of a project's entries, newest first. Reads a range of the primary key. */
export async function listAuditEntries(
  database: PrismaQueryable,
  { projectId }: Reach,
  page: Page<string>,
): Promise<Rows<AuditEntry>> {
  const rows = await database.prisma('audit.list', ({ auditEntry }) =>
    auditEntry.findMany({
      where: { projectId, id: { ...(page.after && { lt: page.after }), ...(page.before && { gt: page.before }) } },
      orderBy: { id: page.backwards ? 'asc' : 'desc' },
      take: page.limit + 1,
    }),
  );
  return toPage(rows.map(toEntry), page);
}

/** The entry with this id; null if the project has none. */
export async function getAuditEntry(
  database: PrismaQueryable,
  { projectId }: Reach,
  id: string,
): Promise<AuditEntry | null> {
  const row = await database.prisma('audit.get', ({ auditEntry }) =>
    auditEntry.findUnique({ where: { projectId_id: { projectId, id } } }),
  );
  return row && toEntry(row);
}

/** The number of a project's entries. Called only when a client asks for the number. */
export const countAuditEntries = (database: PrismaQueryable, { projectId }: Reach): Promise<number> =>
  database.prisma('audit.count', ({ auditEntry }) => auditEntry.count({ where: { projectId } }));
