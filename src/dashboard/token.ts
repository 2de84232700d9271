/** What an access token says of itself. */
export interface TokenClaims {
  readonly scopes: readonly string[];
  /** The users that the token is narrowed to; null: every user of the project. */
  readonly identities: readonly string[] | null;
  readonly expiresAt: Date;
}

const isTexts = (value: unknown): value is string[] =>
  Array.isArray(value) && value.every((one) => typeof one === 'string');

/** Reads an access token; null if `secret` is a key, or anything else. The server checks the signature, the page cannot. */
export function readToken(secret: string): TokenClaims | null {
  const [, payload] = secret.split('.');
  if (!payload) return null;
  try {
    const bytes = Uint8Array.from(atob(payload.replaceAll('-', '+').replaceAll('_', '/')), (one) =>
      one.codePointAt(0)!,
    );
    const { scopes, identities, exp } = JSON.parse(new TextDecoder().decode(bytes)) as Record<string, unknown>;
    if (!isTexts(scopes) || typeof exp !== 'number' || (identities !== null && !isTexts(identities))) return null;
    return { scopes, identities, expiresAt: new Date(exp * 1_000) };
  } catch {
    return null;
  }
}
