import type { DoorSettings } from './project.js';

/** Callers, their scopes, and what they can reach. */

/**
 * Every scope, in the order in which scopes are listed. `description` says what its holder may do; the schema shows it, and
 * the dashboard reads it from the schema. `forTokens`: whether an access token may have the scope. The fields that a scope
 * opens name the scope themselves (schema/scopes.ts).
 */
export const SCOPE = {
  INGEST: {
    description:
      'Send events and heartbeats for any user, and read their outcomes. A web page may contain a key with this scope, if it does no harm that one user can act as another (SECURITY.md).',
    forTokens: true,
  },
  READ: { description: 'Read sessions, events, statistics and presence.', forTokens: true },
  PRESENCE: { description: 'Read presence only.', forTokens: true },
  MANAGE: { description: 'Change the project: settings and keys, and erase users.', forTokens: false },
} as const;

export type Scope = keyof typeof SCOPE;
export const SCOPES = Object.keys(SCOPE) as readonly Scope[];
/** The scopes that an access token may have. */
export const TOKEN_SCOPES = SCOPES.filter((scope) => SCOPE[scope].forTokens);

/**
 * What a caller can reach: one project and, for a token narrowed to identities, only some of its users. Every function of
 * the store that reads or writes takes the reach first, so that no function can forget either limit.
 */
export interface Reach {
  readonly projectId: string;
  /** Ids (userIdOf) of the users that the caller is narrowed to; null: every user of the project. */
  readonly userIds: readonly string[] | null;
}

/** A text that is the same for equal reaches. */
export const reachName = ({ projectId, userIds }: Reach): string => `${projectId} ${userIds?.toSorted().join() ?? '*'}`;

/** The holder of an API key or an access token. */
export interface ProjectCaller {
  readonly kind: 'project';
  readonly reach: Reach;
  /** The users of `reach.userIds`, by identity. */
  readonly identities: readonly string[] | null;
  readonly scopes: ReadonlySet<Scope>;
  /** The id of the API key; for an access token, of the key that made the token. */
  readonly keyId: string;
  /** When the access token expires; null for a key. */
  readonly expiresAt: Date | null;
  /** The project's settings for incoming requests, as they were when the server looked up the caller's key. */
  readonly settings: DoorSettings;
  /** The version of the settings that Exceptionless clients fetch. */
  readonly clientSettingsVersion: number;
}

/** The holder of the operator key. It creates projects and belongs to no project. */
interface OperatorCaller {
  readonly kind: 'operator';
}

export type Caller = ProjectCaller | OperatorCaller;

/** A text that is equal for two callers if they reach the same project and users. */
export const callerReachName = (caller: Caller): string =>
  caller.kind === 'operator' ? 'operator' : reachName(caller.reach);

/**
 * A text that is equal for two callers if they have the same key and, with a token narrowed to identities, the same users. Reads
 * and executions take turns by it.
 */
export const readerName = (caller: Caller): string => {
  if (caller.kind === 'operator') return 'operator';
  const { keyId, reach } = caller;
  return reach.userIds ? `${keyId} ${reachName(reach)}` : keyId;
};

/** The id of the caller's project, or 'operator'. Callers of the same project share its turns. */
export const projectNameOf = (caller: Caller): string =>
  caller.kind === 'operator' ? 'operator' : caller.reach.projectId;
