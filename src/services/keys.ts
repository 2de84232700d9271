import { LRUCache } from 'lru-cache';
import { SCOPES, type Caller, type ProjectCaller, type Reach, type Scope } from '../domain/access.js';
import type { Clock } from '../domain/clock.js';
import { uuidAt } from '../domain/event-id.js';
import { userIdOf } from '../domain/identity.js';
import { hashSecret, newApiKey, prefixOf, sameHash } from '../domain/secret.js';
import { AppError } from '../errors.js';
import type { Observer } from '../observation.js';
import { addKey, getKey, keysRevokedSince, listKeys, revokeKey, touchKey, type KnownKey } from '../store/api-keys.js';
import type { Database } from '../store/database.js';
import type { ApiKey } from '../store/generated/prisma/client.js';
import { signToken, verifyToken, type TokenClaims } from './access-tokens.js';
import { audit, type Actor } from './audit.js';
import type { Bus } from './bus.js';
import { createKeyLookup } from './key-lookup.js';
import { keysChannel } from './messages.js';
import { checkName } from './projects.js';

/** API keys, access tokens and the operator key: who may come in. */
export interface Keys {
  /**
   * The caller behind a credential: an API key, an access token or the operator key, without "Bearer ".
   * Throws UNAUTHENTICATED (missing, unknown, revoked, expired, tampered), UNAVAILABLE.
   */
  authenticate(credential: string | null): Promise<Caller>;
  list(reach: Reach): Promise<ApiKey[]>;
  /** BAD_USER_INPUT for a bad name or no scope, NOT_FOUND where there is no such project. */
  create(actor: Actor, input: { name: string; scopes: readonly Scope[] }): Promise<{ apiKey: ApiKey; key: string }>;
  /**
   * Takes effect at once, on every server; null where the project has no such key. Repeated: the same answer.
   * LAST_MANAGE_KEY where nobody could make a key any more: of two at once, on whichever servers, one is refused.
   */
  revoke(caller: ProjectCaller, id: string): Promise<ApiKey | null>;
  /** expiresIn in seconds. BAD_USER_INPUT names what is wrong. */
  createToken(
    caller: ProjectCaller,
    input: { scopes: readonly Scope[]; identities: readonly string[] | null; expiresIn: number },
  ): Promise<{ token: string; expiresAt: Date }>;
  /** Calls back with the id of each key revoked from now on, on whichever server; answers how to stop. */
  onRevoked(listener: (keyId: string) => void): () => void;
  close(): Promise<void>;
}

/** Tokens and times remembered at most. */
const CACHE_SIZE = 10_000;
/** What the tokens take at most, roughly: each may name 1,000 users. */
const TOKEN_BYTES = 10_000_000;
/** lastUsedAt is written at most so often a key. Milliseconds. */
const TOUCHED = 60_000;
/** What a token may be made of. */
const TOKEN_SCOPES: readonly Scope[] = ['READ', 'PRESENCE', 'INGEST'];
const TOKEN_SECONDS = { min: 1, max: 86_400 };
const MOST_IDENTITIES = 1_000;

const UNKNOWN = 'The key or token is not known here, or no longer valid.';

/** What a caller carries of the project: the same for a key and for the tokens made of it. */
const atTheDoor = ({ storeIpAddress, bots, allowedOrigins, rateLimit, clientSettingsVersion }: KnownKey) => ({
  settings: { storeIpAddress, bots, allowedOrigins, rateLimit },
  clientSettingsVersion,
});

function callerOf(key: KnownKey): ProjectCaller {
  return {
    kind: 'project',
    reach: { projectId: key.projectId, userIds: null },
    identities: null,
    scopes: new Set(SCOPES.filter((scope) => key.scopes.includes(scope))),
    keyId: key.id,
    expiresAt: null,
    ...atTheDoor(key),
  };
}

export async function createKeys(deps: {
  database: Database;
  bus: Bus;
  clock: Clock;
  observe: Observer;
  /** SHA-256 of the operator key. */
  operatorKeyHash: Uint8Array;
  tokenSecret: Uint8Array;
}): Promise<Keys> {
  const { database, bus, clock, observe, operatorKeyHash, tokenSecret } = deps;
  const startedAt = clock.now();
  const findKey = createKeyLookup(database);
  /** What tokens say, by their hash, so that each signature is checked once. Whether the key behind one is good is asked each time. */
  const tokens = new LRUCache<string, TokenClaims>({
    max: CACHE_SIZE,
    maxSize: TOKEN_BYTES,
    sizeCalculation: ({ identities }) => (identities ?? []).reduce((sum, text) => sum + 50 + text.length, 300),
  });
  const touched = new Map<string, number>();
  const listeners = new Set<(keyId: string) => void>();

  function revoked(keyId: string): void {
    for (const listener of listeners) listener(keyId);
  }

  /** What was said while the bus was away is read instead. */
  function catchUp(): void {
    keysRevokedSince(database, startedAt).then(
      (keyIds) => keyIds.forEach(revoked),
      (error: unknown) => observe({ kind: 'task.failed', task: 'keys.catchUp', error }),
    );
  }

  const subscription = await bus.subscribe(keysChannel, { onMessage: revoked, onLoss: catchUp, onGap: catchUp });

  function touch(reach: Reach, keyId: string): void {
    const now = clock.now();
    if (now.getTime() - (touched.get(keyId) ?? 0) < TOUCHED) return;
    if (touched.size >= CACHE_SIZE) touched.clear();
    touched.set(keyId, now.getTime());
    touchKey(database, reach, keyId, now).catch((error: unknown) =>
      observe({ kind: 'task.failed', task: 'keys.touch', error }),
    );
  }

  async function readToken(token: string, hash: string): Promise<TokenClaims> {
    const now = clock.now();
    const known = tokens.get(hash);
    if (known && known.expiresAt > now) return known;
    tokens.delete(hash);
    const claims = await verifyToken(token, tokenSecret, now);
    tokens.set(hash, claims);
    return claims;
  }

  async function findByToken(token: string, hash: Buffer): Promise<ProjectCaller> {
    const { projectId, keyId, scopes, identities, expiresAt } = await readToken(token, hash.toString('base64'));
    const key = await findKey({ projectId, id: keyId });
    if (!key || key.revokedAt) throw new AppError('UNAUTHENTICATED', UNKNOWN);
    const userIds = identities && identities.map((identity) => userIdOf(projectId, identity));
    return {
      kind: 'project',
      reach: { projectId, userIds },
      identities,
      scopes: new Set(scopes),
      keyId,
      expiresAt,
      ...atTheDoor(key),
    };
  }

  async function findByKey(hash: Buffer): Promise<ProjectCaller> {
    const key = await findKey({ hash });
    if (!key || key.revokedAt || !sameHash(key.hash, hash)) throw new AppError('UNAUTHENTICATED', UNKNOWN);
    return callerOf(key);
  }

  return {
    async authenticate(credential) {
      if (!credential) {
        throw new AppError('UNAUTHENTICATED', 'Send an API key or an access token, as `Authorization: Bearer …`.');
      }
      const hash = hashSecret(credential);
      if (sameHash(hash, operatorKeyHash)) return { kind: 'operator' };
      const caller = await (credential.startsWith('fs_') ? findByKey(hash) : findByToken(credential, hash));
      touch(caller.reach, caller.keyId);
      return caller;
    },

    list: (reach) => listKeys(database, reach),

    async create(actor, { name, scopes }) {
      if (scopes.length === 0)
        throw new AppError('BAD_USER_INPUT', 'scopes names at least one scope.', { field: 'scopes' });
      const key = newApiKey();
      const now = clock.now();
      const wanted = {
        id: uuidAt(now),
        name: checkName(name),
        prefix: prefixOf(key),
        hash: new Uint8Array(hashSecret(key)),
        scopes: SCOPES.filter((scope) => scopes.includes(scope)),
        createdAt: now,
      };
      const apiKey = await database.transaction(async (tx) => {
        const { id, name: called, prefix, scopes: held } = wanted;
        const made = await addKey(tx, actor.reach, wanted);
        if (!made) throw new AppError('NOT_FOUND', 'There is no such project.', { field: 'projectId' });
        await audit(tx, actor, now, 'API_KEY_CREATED', { id, name: called, prefix, scopes: held });
        return made;
      });
      return { apiKey, key };
    },

    async revoke(caller, id) {
      const now = clock.now();
      const changed = await database.transaction(async (tx) => {
        const key = await revokeKey(tx, caller.reach, id, now);
        if (key?.revokedAt === null) {
          throw new AppError(
            'LAST_MANAGE_KEY',
            'This is the last good key of the project with the scope MANAGE: without it nobody could make another. Make one first.',
            { field: 'id' },
          );
        }
        if (key) await audit(tx, caller, now, 'API_KEY_REVOKED', { id, name: key.name, prefix: key.prefix });
        return key;
      });
      // A repeated call keeps the first time.
      const apiKey = changed ?? (await getKey(database, caller.reach, id));
      if (!apiKey) return null;
      revoked(apiKey.id);
      // A server that cannot be told now reads it when the bus is back; new requests ask the database anyway.
      await bus
        .publish(keysChannel, apiKey.id)
        .catch((error: unknown) => observe({ kind: 'bus.publishFailed', channel: keysChannel, error }));
      return apiKey;
    },

    async createToken({ reach, keyId }, { scopes, identities, expiresIn }) {
      if (scopes.length === 0 || !scopes.every((scope) => TOKEN_SCOPES.includes(scope))) {
        throw new AppError('BAD_USER_INPUT', 'scopes holds at least one of READ, PRESENCE and INGEST.', {
          field: 'scopes',
        });
      }
      if (!Number.isInteger(expiresIn) || expiresIn < TOKEN_SECONDS.min || expiresIn > TOKEN_SECONDS.max) {
        throw new AppError(
          'BAD_USER_INPUT',
          `expiresIn is a whole number of seconds from ${TOKEN_SECONDS.min} to ${TOKEN_SECONDS.max}.`,
          {
            field: 'expiresIn',
          },
        );
      }
      const trimmed = identities && identities.map((identity) => identity.trim());
      if (
        trimmed &&
        (trimmed.length === 0 ||
          trimmed.length > MOST_IDENTITIES ||
          trimmed.some((one) => one.length < 1 || one.length > 255))
      ) {
        throw new AppError(
          'BAD_USER_INPUT',
          'identities holds 1 to 1,000 identities of 1 to 255 characters; leave it out for every user.',
          {
            field: 'identities',
          },
        );
      }
      const now = clock.now();
      // A token's time is in whole seconds.
      const expiresAt = new Date(Math.floor(now.getTime() / 1000) * 1000 + expiresIn * 1000);
      const token = await signToken(
        { projectId: reach.projectId, keyId, scopes: [...new Set(scopes)], identities: trimmed, expiresAt },
        tokenSecret,
        now,
      );
      return { token, expiresAt };
    },

    onRevoked(listener) {
      listeners.add(listener);
      return () => listeners.delete(listener);
    },

    async close() {
      listeners.clear();
      await subscription.close();
    },
  };
}
