import type { Reach } from '../domain/access.js';
import type { AuditEntry } from '../domain/audit.js';
import type { Database, Queryable } from './database.js';
import { toPage, type Page, type Rows } from './keyset.js';

/** Writes an entry down: in the transaction of the change itself, so that neither is without the other. */
export async function addAuditEntry(tx: Queryable, { projectId }: Reach, entry: AuditEntry): Promise<void> {
  await tx.query({
    name: 'audit.add',
    text: 'INSERT INTO audit_log (project_id, id, at, key_id, action, details) VALUES ($1, $2, $3, $4, $5, $6)',
    values: [projectId, entry.id, entry.at, entry.keyId, entry.action, JSON.stringify(entry.details)],
  });
}

/** A page of a project's entries, the newest first: a range of the primary key. */
export async function listAuditEntries(
  database: Database,
  { projectId }: Reach,
  page: Page<string>,
): Promise<Rows<AuditEntry>> {
  const rows = await database.query<AuditEntry>({
    name: 'audit.list',
    text: `SELECT id, at, key_id AS "keyId", action, details FROM audit_log
           WHERE project_id = $1 AND ($2::uuid IS NULL OR id < $2) AND ($3::uuid IS NULL OR id > $3)
           ORDER BY id ${page.backwards ? 'ASC' : 'DESC'} LIMIT $4`,
    values: [projectId, page.after, page.before, page.limit + 1],
  });
  return toPage(rows, page);
}

/** How many there are. Asked only where somebody wants to know. */
export async function countAuditEntries(database: Database, { projectId }: Reach): Promise<number> {
  const [row] = await database.query<{ count: number }>({
    name: 'audit.count',
    text: 'SELECT count(*)::integer AS count FROM audit_log WHERE project_id = $1',
    values: [projectId],
  });
  return row!.count;
}
