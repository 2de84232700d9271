import { expect, test } from 'vitest';
import type { Caller } from '../../src/domain/access.js';
import { AppError, type ErrorCode } from '../../src/errors.js';
import { SocketRights } from '../../src/transport/websocket/socket-rights.js';

const caller: Caller = { kind: 'operator' };

/** Renews twice: the first try fails with `code`. Returns how the second one ends. */
async function secondTry(code: ErrorCode): Promise<string> {
  let isFirst = true;
  const rights = new SocketRights(
    {
      async authenticate() {
        if (!isFirst) return caller;
        isFirst = false;
        throw new AppError(code, 'Not now.');
      },
      takePlace: () => () => {},
      endWith: () => () => {},
      turnAway: () => {},
    },
    'old',
    caller,
  );
  await expect(rights.renew('new')).rejects.toMatchObject({ code });
  return rights.renew('new').then(
    () => 'taken',
    (error: AppError) => error.code,
  );
}

test.each([
  ['UNAVAILABLE', 'taken'],
  ['OVERLOADED', 'taken'],
  ['RATE_LIMITED', 'taken'],
  ['UNAUTHENTICATED', 'RATE_LIMITED'],
  ['FORBIDDEN', 'RATE_LIMITED'],
] as const)('after a renewal that failed with %s, the next one is %s', async (code, end) => {
  expect(await secondTry(code)).toBe(end);
});
