import type { DoorSettings } from './project.js';

/** Who is asking, and how far that reaches. */

export const SCOPES = ['INGEST', 'READ', 'PRESENCE', 'MANAGE'] as const;
export type Scope = (typeof SCOPES)[number];

/**
 * What a caller can reach: one project and, for a token narrowed to identities, some of its users. Every
 * read and write of the store takes it first, so that neither limit can be forgotten.
 */
export interface Reach {
  readonly projectId: string;
  /** Ids of the users (userIdOf) that the caller is narrowed to; null: every user of the project. */
  readonly userIds: readonly string[] | null;
}

/** The holder of an API key or an access token. */
export interface ProjectCaller {
  readonly kind: 'project';
  readonly reach: Reach;
  /** The same narrowing as `reach.userIds`, by identity. */
  readonly identities: readonly string[] | null;
  readonly scopes: ReadonlySet<Scope>;
  /** The API key, or the key that made the token. */
  readonly keyId: string;
  /** When an access token runs out; null for a key. */
  readonly expiresAt: Date | null;
  /** The project's settings that hold at the door, as they were when the caller came in. */
  readonly settings: DoorSettings;
  /** The version of what Exceptionless clients pick up. */
  readonly clientSettingsVersion: number;
}

/** The holder of the operator key: creates projects, belongs to none. */
interface OperatorCaller {
  readonly kind: 'operator';
}

export type Caller = ProjectCaller | OperatorCaller;
