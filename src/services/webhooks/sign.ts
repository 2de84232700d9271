import { createCipheriv, createDecipheriv, createHmac, hkdfSync, randomBytes } from 'node:crypto';

/** The secrets of webhooks: how they look, how they sign (Standard Webhooks), and how they are stored. */

const PREFIX = 'whsec_';
/** Bytes. Standard Webhooks asks for 24 to 64. */
const SECRET_BYTES = 32;

export const newSecret = (): Buffer => randomBytes(SECRET_BYTES);

/** The form in which a receiver gets the secret. */
export const showSecret = (secret: Uint8Array): string => PREFIX + Buffer.from(secret).toString('base64');

/**
 * The headers of a signed message, by Standard Webhooks 1.0. Each of the secrets signs, so a receiver may have any of them.
 * The time is part of what is signed: a receiver refuses what is old.
 */
export function signedHeaders(
  { id, at, body }: { id: string; at: Date; body: Buffer },
  secrets: readonly Uint8Array[],
): Record<string, string> {
  const timestamp = String(Math.floor(at.getTime() / 1_000));
  const signatures = secrets.map((secret) => {
    const hmac = createHmac('sha256', secret).update(`${id}.${timestamp}.`).update(body);
    return `v1,${hmac.digest('base64')}`;
  });
  return { 'webhook-id': id, 'webhook-timestamp': timestamp, 'webhook-signature': signatures.join(' ') };
}

const CIPHER = 'aes-256-gcm';
const KEY_BYTES = 32;
const NONCE_BYTES = 12;
const TAG_BYTES = 16;

/** Encrypts secrets for the database. */
export interface SecretBox {
  /** `name` says whose secret it is: it can be opened only for the same. */
  close(secret: Uint8Array, name: string): Buffer;
  /** Null: it was closed with another key or for another name, or was changed. */
  open(closed: Uint8Array, name: string): Buffer | null;
}

/**
 * The key is derived from the secret that signs tokens, by HKDF with a label of its own. So who reads the database alone
 * cannot sign messages, if TOKEN_SECRET is not in the database.
 */
export function createSecretBox(tokenSecret: Uint8Array): SecretBox {
  const key = Buffer.from(hkdfSync('sha256', tokenSecret, '', 'footsteps: secrets of webhooks', KEY_BYTES));
  return {
    close(secret, name) {
      const nonce = randomBytes(NONCE_BYTES);
      const cipher = createCipheriv(CIPHER, key, nonce).setAAD(Buffer.from(name));
      return Buffer.concat([nonce, cipher.update(secret), cipher.final(), cipher.getAuthTag()]);
    },
    open(closed, name) {
      const bytes = Buffer.from(closed);
      if (bytes.length < NONCE_BYTES + TAG_BYTES) return null;
      try {
        const decipher = createDecipheriv(CIPHER, key, bytes.subarray(0, NONCE_BYTES), { authTagLength: TAG_BYTES })
          .setAAD(Buffer.from(name))
          .setAuthTag(bytes.subarray(-TAG_BYTES));
        return Buffer.concat([decipher.update(bytes.subarray(NONCE_BYTES, -TAG_BYTES)), decipher.final()]);
      } catch {
        return null;
      }
    },
  };
}
