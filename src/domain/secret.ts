import { hash, randomBytes, timingSafeEqual } from 'node:crypto';

/** Keys: what they look like, how they are made, how they are compared. */

const BASE62 = '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz';

/** `length` characters of base62, each equally likely: 40 of them hold 238 bits. */
function randomText(length: number): string {
  let text = '';
  while (text.length < length) {
    for (const byte of randomBytes(length)) {
      // 248 is the largest multiple of 62 in a byte: beyond it some characters would be likelier.
      if (byte < 248 && text.length < length) text += BASE62[byte % 62];
    }
  }
  return text;
}

export const newApiKey = (): string => `fs_${randomText(40)}`;
export const newOperatorKey = (): string => `fs_op_${randomText(40)}`;

/** What may be shown of a key to recognise it by. */
export const prefixOf = (key: string): string => key.slice(0, 8);

/** SHA-256: enough for keys, which are random throughout, and quick. */
export const hashSecret = (secret: string): Buffer => hash('sha256', secret, 'buffer');

/** In constant time. */
export const sameHash = (a: Uint8Array, b: Uint8Array): boolean => a.length === b.length && timingSafeEqual(a, b);
