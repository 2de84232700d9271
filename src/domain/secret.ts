import { hash, randomBytes, timingSafeEqual } from 'node:crypto';

/** Keys: their form, how they are made, and how they are compared. */

const BASE62 = '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz';

/** `length` characters of base62, all equally likely: 40 of them hold 238 bits. */
function randomText(length: number): string {
  let text = '';
  while (text.length < length) {
    for (const byte of randomBytes(length)) {
      // 248 is the largest multiple of 62 in a byte. Bytes from 248 on would make some characters more likely.
      if (byte < 248 && text.length < length) text += BASE62[byte % 62];
    }
  }
  return text;
}

export const newApiKey = (): string => `fs_${randomText(40)}`;
export const newOperatorKey = (): string => `fs_op_${randomText(40)}`;

/** The part of a key that may be shown, so that people can recognise the key. */
export const prefixOf = (key: string): string => key.slice(0, 8);

/** SHA-256. It is fast, and it is enough for keys, which are random throughout. */
export const hashSecret = (secret: string): Buffer => hash('sha256', secret, 'buffer');

/** Compares in constant time. */
export const sameHash = (a: Uint8Array, b: Uint8Array): boolean => a.length === b.length && timingSafeEqual(a, b);
