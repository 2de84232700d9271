/** What is written down of who changed a project. */

export type AuditAction =
  | 'PROJECT_CREATED'
  | 'PROJECT_UPDATED'
  | 'CLIENT_SETTINGS_CHANGED'
  | 'API_KEY_CREATED'
  | 'API_KEY_REVOKED'
  | 'USER_ERASED';

export interface AuditEntry {
  readonly id: string;
  readonly at: Date;
  /** The API key that did it; null: the operator. */
  readonly keyId: string | null;
  readonly action: AuditAction;
  /** What was changed, without secrets, and without anything of an erased user. */
  readonly details: Record<string, unknown>;
}
