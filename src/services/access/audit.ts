import type { ProjectCaller, Reach } from '../../domain/access.js';
import type { AuditAction, AuditEntry } from '../../domain/audit.js';
import { uuidAt } from '../../domain/event-id.js';
import { addAuditEntry, addAuditEntryBeside } from '../../store/access/audit-log.js';
import type { PrismaQueryable, Queryable } from '../../store/database.js';

/** Who makes a change: a key of the project, or the operator (`keyId` null). */
export type Actor = Pick<ProjectCaller, 'reach' | 'keyId'> | { readonly reach: Reach; readonly keyId: null };

type Details = Record<string, unknown>;

const entryOf = ({ keyId }: Actor, now: Date, action: AuditAction, details: Details): AuditEntry => ({
  id: uuidAt(now),
  at: now,
  keyId,
  action,
  details,
});

/** Writes an entry into the audit log. Call it in the transaction that makes the change. */
export const audit = (
  tx: PrismaQueryable,
  actor: Actor,
  now: Date,
  action: AuditAction,
  details: Details,
): Promise<void> => addAuditEntry(tx, actor.reach, entryOf(actor, now, action, details));

/** The same, in a transaction of SQL statements. */
export const auditBeside = (
  tx: Queryable,
  actor: Actor,
  now: Date,
  action: AuditAction,
  details: Details,
): Promise<void> => addAuditEntryBeside(tx, actor.reach, entryOf(actor, now, action, details));
