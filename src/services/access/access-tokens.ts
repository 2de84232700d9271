import { errors, jwtVerify, SignJWT } from 'jose';
import { z } from 'zod';
import { SCOPES, type Scope } from '../../domain/access.js';
import { AppError } from '../../errors.js';

/** The contents of an access token. */
export interface TokenClaims {
  readonly projectId: string;
  /** The key that made the token. If the key is revoked, the token is no longer valid. */
  readonly keyId: string;
  readonly scopes: readonly Scope[];
  readonly identities: readonly string[] | null;
  readonly expiresAt: Date;
}

const ISSUER = 'footsteps';
const ALGORITHM = 'HS256';

const payload = z.object({
  project: z.uuid(),
  key: z.uuid(),
  scopes: z.array(z.enum(SCOPES)),
  identities: z.array(z.string()).nullable(),
  exp: z.number(),
});

export function signToken(claims: TokenClaims, secret: Uint8Array, now: Date): Promise<string> {
  const { projectId, keyId, scopes, identities, expiresAt } = claims;
  return new SignJWT({ project: projectId, key: keyId, scopes: [...scopes], identities: identities && [...identities] })
    .setProtectedHeader({ alg: ALGORITHM, typ: 'JWT' })
    .setIssuer(ISSUER)
    .setIssuedAt(now)
    .setExpirationTime(expiresAt)
    .sign(secret);
}

/**
 * Checks signature, algorithm, issuer and expiry. Throws UNAUTHENTICATED: with the reason EXPIRED if the token has
 * expired, without a reason if anything else is wrong.
 */
export async function verifyToken(token: string, secret: Uint8Array, now: Date): Promise<TokenClaims> {
  try {
    const { payload: claims } = await jwtVerify(token, secret, {
      algorithms: [ALGORITHM],
      issuer: ISSUER,
      currentDate: now,
    });
    const { project, key, scopes, identities, exp } = payload.parse(claims);
    return { projectId: project, keyId: key, scopes, identities, expiresAt: new Date(exp * 1000) };
  } catch (error) {
    if (error instanceof errors.JWTExpired)
      throw new AppError('UNAUTHENTICATED', 'The access token has expired. Make a new one.', { reason: 'EXPIRED' });
    throw new AppError('UNAUTHENTICATED', 'The access token is not valid.');
  }
}
