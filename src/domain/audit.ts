/** The audit log: who changed a project, and what they changed. */

export type AuditAction =
  | 'PROJECT_CREATED'
  | 'PROJECT_UPDATED'
  | 'CLIENT_SETTINGS_CHANGED'
  | 'API_KEY_CREATED'
  | 'API_KEY_REVOKED'
  | 'USER_ERASED'
  | 'WEBHOOK_CREATED'
  | 'WEBHOOK_UPDATED'
  | 'WEBHOOK_SECRET_ROTATED'
  | 'WEBHOOK_DELETED'
  | 'WEBHOOK_DISABLED';

export interface AuditEntry {
  readonly id: string;
  readonly at: Date;
  /** The API key that made the change; null: the operator made it, or the server itself. */
  readonly keyId: string | null;
  readonly action: AuditAction;
  /** What was changed. It holds no secrets. Of an erased user it holds only the id, which is a hash. */
  readonly details: Record<string, unknown>;
}
