import type { ProjectCaller, Reach } from '../domain/access.js';
import type { AuditAction } from '../domain/audit.js';
import { uuidAt } from '../domain/event-id.js';
import { addAuditEntry } from '../store/audit-log.js';
import type { Queryable } from '../store/database.js';

/** Who makes a change: a key of the project, or null for the operator. */
export type Actor = Pick<ProjectCaller, 'reach' | 'keyId'> | { readonly reach: Reach; readonly keyId: null };

/** Writes down that `actor` did something, in the transaction that does it. */
export const audit = (
  tx: Queryable,
  { reach, keyId }: Actor,
  now: Date,
  action: AuditAction,
  details: Record<string, unknown> = {},
): Promise<void> => addAuditEntry(tx, reach, { id: uuidAt(now), at: now, keyId, action, details });
