import { expect, test } from 'vitest';
import type { Observation } from '../../src/observation.js';
import { maskError } from '../../src/transport/graphql/mask-error.js';

test.each([
  [
    'r-1',
    'Something went wrong on our side. Tell the operator this request id: r-1',
    { code: 'INTERNAL', request: 'r-1' },
  ],
  [null, 'Something went wrong on our side.', { code: 'INTERNAL' }],
])(
  'an unexpected error of request %s: the caller gets its id if it is known, and the log gets the error',
  (id, text, extensions) => {
    const error = new Error('secret');
    const observed: Observation[] = [];
    const masked = maskError(error, id, (observation) => observed.push(observation));
    expect(masked.message).toBe(text);
    expect(masked.extensions).toEqual(extensions);
    expect(observed).toEqual([{ kind: 'request.failed', request: id ?? 'none', error }]);
  },
);
