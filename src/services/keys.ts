import type { Caller, ProjectCaller, Scope } from '../domain/access.js';
import type { ApiKey } from '../store/generated/prisma/client.js';

/** API keys, access tokens and the operator key: who may come in. */
export interface Keys {
  /**
   * The caller behind a credential: an API key, an access token or the operator key, without "Bearer ".
   * Throws UNAUTHENTICATED (missing, unknown, revoked, expired, tampered), UNAVAILABLE.
   */
  authenticate(credential: string | null): Promise<Caller>;
  list(caller: ProjectCaller): Promise<ApiKey[]>;
  /** Needs MANAGE (the schema asks). BAD_USER_INPUT for an empty name or no scope. */
  create(caller: ProjectCaller, input: { name: string; scopes: readonly Scope[] }): Promise<{ apiKey: ApiKey; key: string }>;
  /** Takes effect at once, on every server; null where the project has no such key. Repeated: the same answer. */
  revoke(caller: ProjectCaller, id: string): Promise<ApiKey | null>;
  /** expiresIn in seconds. */
  createToken(
    caller: ProjectCaller,
    input: { scopes: readonly Scope[]; identities: readonly string[] | null; expiresIn: number },
  ): Promise<{ token: string; expiresAt: Date }>;
  /** Calls back with the id of each key revoked from now on, on whichever server; answers how to stop. */
  onRevoked(listener: (keyId: string) => void): () => void;
  close(): Promise<void>;
}
