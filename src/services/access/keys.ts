import { LRUCache } from 'lru-cache';
import { SCOPES, TOKEN_SCOPES, type Caller, type ProjectCaller, type Reach, type Scope } from '../../domain/access.js';
import type { Clock } from '../../domain/clock.js';
import { uuidAt } from '../../domain/event-id.js';
import { userIdOf } from '../../domain/identity.js';
import { hashSecret, newApiKey, prefixOf, sameHash } from '../../domain/secret.js';
import { AppError } from '../../errors.js';
import type { Observer } from '../../observation.js';
import { addKey, getKey, MOST_KEYS, revokeKey, touchKey, type KnownKey } from '../../store/access/api-keys.js';
import type { Database, PrismaDatabase } from '../../store/database.js';
import type { ApiKey } from '../../store/generated/prisma/client.js';
import { signToken, verifyToken, type TokenClaims } from './access-tokens.js';
import { audit, type Actor } from './audit.js';
import type { Bus } from '../bus.js';
import { createKeyLookup } from './key-lookup.js';
import { checkName } from './check-name.js';
import { createRevokedKeys } from './revoked-keys.js';

/** API keys, access tokens and the operator key: they decide who has access. */
export interface Keys {
  /**
   * Returns the caller of a credential: an API key, an access token or the operator key, without the word Bearer.
   * Throws UNAUTHENTICATED (missing, unknown, revoked, expired or changed), UNAVAILABLE.
   */
  authenticate(credential: string | null): Promise<Caller>;
  /**
   * Creates a key. Throws BAD_USER_INPUT for a wrong name or no scope, NOT_FOUND if the project does not exist,
   * TOO_MANY_KEYS if it has 250 keys.
   */
  create(actor: Actor, input: { name: string; scopes: readonly Scope[] }): Promise<{ apiKey: ApiKey; key: string }>;
  /**
   * Revokes a key, with immediate effect on every server. Returns the key; null if the project has no such key. A
   * repeated call returns the same. Throws LAST_MANAGE_KEY if nobody could create a key any more: of two calls at once,
   * on any servers, one is refused.
   */
  revoke(caller: ProjectCaller, id: string): Promise<ApiKey | null>;
  /** Makes an access token. `expiresIn` is in seconds. Throws BAD_USER_INPUT; the message says what is wrong. */
  createToken(
    caller: ProjectCaller,
    input: { scopes: readonly Scope[]; identities: readonly string[] | null; expiresIn: number },
  ): Promise<{ token: string; expiresAt: Date }>;
  /**
   * Calls the listener with the id of each key that is revoked from now on, on any server; at least once for each key.
   * Returns a function that stops this.
   */
  onRevoked(listener: (keyId: string) => void): () => void;
  /** From now on, checks every 2 seconds which keys were revoked. */
  start(): void;
  close(): Promise<void>;
}

/** At most this many tokens, and this many times of last use, are remembered. */
const CACHE_SIZE = 10_000;
/** Approximate limit of the memory for tokens, in bytes: each token may name 1,000 users. */
const TOKEN_BYTES = 10_000_000;
/** For each key, lastUsedAt is written at most this often. Milliseconds. */
const TOUCHED = 60_000;
const TOKEN_SECONDS = { min: 1, max: 86_400 };
const MOST_IDENTITIES = 1_000;
/**
 * The longest token, in bytes, that fits where it is sent: everything before `connection_ack` may have 4 KiB, all
 * headers together 16 KiB.
 */
const MOST_TOKEN = 3_072;

const UNKNOWN = 'The API key or access token is unknown, or no longer valid.';

/** The settings of the project that a caller carries: the same for a key and for the tokens that it made. */
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
  /** For reads and changes of keys. */
  database: PrismaDatabase;
  /**
   * For the key look-ups of every request, and for the check every 2 seconds. A pool of its own, so that callers who
   * read much do not delay them.
   */
  doorDatabase: Database;
  bus: Bus;
  clock: Clock;
  observe: Observer;
  /** SHA-256 of the operator key. */
  operatorKeyHash: Uint8Array;
  tokenSecret: Uint8Array;
}): Promise<Keys> {
  const { database, doorDatabase, bus, clock, observe, operatorKeyHash, tokenSecret } = deps;
  const findKey = createKeyLookup(doorDatabase);
  /**
   * The claims of tokens, by the hash of the token, so that each signature is checked only once. Whether the token's
   * key is still valid is checked for every request.
   */
  const tokens = new LRUCache<string, TokenClaims>({
    max: CACHE_SIZE,
    maxSize: TOKEN_BYTES,
    sizeCalculation: ({ identities }) => (identities ?? []).reduce((sum, text) => sum + 50 + text.length, 300),
  });
  const touched = new LRUCache<string, number>({ max: CACHE_SIZE });
  const revoked = await createRevokedKeys({ database: doorDatabase, bus, clock, observe });

  function touch(reach: Reach, keyId: string): void {
    const now = clock.now();
    if (now.getTime() - (touched.get(keyId) ?? 0) < TOUCHED) return;
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

    async create(actor, { name, scopes }) {
      if (scopes.length === 0)
        throw new AppError('BAD_USER_INPUT', 'scopes must name at least one scope.', { field: 'scopes' });
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
      const apiKey = await database.prismaTransaction(async (tx) => {
        const { id, name: called, prefix, scopes: held } = wanted;
        const made = await addKey(tx, actor.reach, wanted);
        if (!made) throw new AppError('NOT_FOUND', 'There is no such project.', { field: 'projectId' });
        if (made === 'FULL') {
          throw new AppError(
            'TOO_MANY_KEYS',
            `The project has ${MOST_KEYS} keys, the most a project can have. Revoke a key that is not needed: it makes room one day later. For front ends, make access tokens (createAccessToken) instead of keys.`,
          );
        }
        await audit(tx, actor, now, 'API_KEY_CREATED', { id, name: called, prefix, scopes: held });
        return made;
      });
      return { apiKey, key };
    },

    async revoke(caller, id) {
      const changed = await database.prismaTransaction(async (tx) => {
        // Read inside the transaction: its time limit then bounds the time between this instant and the commit.
        const now = clock.now();
        const key = await revokeKey(tx, caller.reach, id, now);
        if (key?.revokedAt === null) {
          throw new AppError(
            'LAST_MANAGE_KEY',
            'This is the last valid key of the project with the scope MANAGE. Without it nobody could create another key. Create another key with MANAGE first.',
            { field: 'id' },
          );
        }
        if (key) await audit(tx, caller, now, 'API_KEY_REVOKED', { id, name: key.name, prefix: key.prefix });
        return key;
      });
      // After a repeated call, the time of the first revocation stays.
      const apiKey = changed ?? (await getKey(database, caller.reach, id));
      if (!apiKey) return null;
      // A server that this message does not reach finds the revocation in the rows. New requests read the rows anyway.
      await revoked.tell(apiKey.id);
      return apiKey;
    },

    async createToken({ reach, keyId }, { scopes, identities, expiresIn }) {
      if (scopes.length === 0 || !scopes.every((scope) => TOKEN_SCOPES.includes(scope))) {
        throw new AppError(
          'BAD_USER_INPUT',
          `scopes must name at least one of ${TOKEN_SCOPES.join(', ')}, and no other scope.`,
          {
            field: 'scopes',
          },
        );
      }
      if (!Number.isInteger(expiresIn) || expiresIn < TOKEN_SECONDS.min || expiresIn > TOKEN_SECONDS.max) {
        throw new AppError(
          'BAD_USER_INPUT',
          `expiresIn must be a whole number of seconds from ${TOKEN_SECONDS.min} to ${TOKEN_SECONDS.max}.`,
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
          'identities must name 1 to 1,000 identities of 1 to 255 characters each. Leave it out for access to every user.',
          {
            field: 'identities',
          },
        );
      }
      const now = clock.now();
      // The expiry time of a token is in whole seconds.
      const expiresAt = new Date(Math.floor(now.getTime() / 1000) * 1000 + expiresIn * 1000);
      const token = await signToken(
        { projectId: reach.projectId, keyId, scopes: [...new Set(scopes)], identities: trimmed, expiresAt },
        tokenSecret,
        now,
      );
      if (token.length > MOST_TOKEN) {
        const most = Math.floor((trimmed!.length * MOST_TOKEN) / token.length);
        throw new AppError(
          'BAD_USER_INPUT',
          `A token with these ${trimmed!.length} identities has ${token.length} characters. At most ${MOST_TOKEN} characters fit into a header or a WebSocket's first message; that is about ${most} identities. Make several tokens, or leave identities out.`,
          { field: 'identities' },
        );
      }
      return { token, expiresAt };
    },

    onRevoked: (listener) => revoked.onRevoked(listener),
    start: () => revoked.start(),
    close: () => revoked.close(),
  };
}
