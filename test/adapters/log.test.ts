import { readFileSync, rmSync } from 'node:fs';
import path from 'node:path';
import { expect, test } from 'vitest';
import { createLog } from '../../src/adapters/log.js';
import { temporaryFolder } from '../support/server.js';

test('the log holds what happened from its level on, and no secret', () => {
  const { folder, remove } = temporaryFolder();
  const file = path.join(folder, 'log');
  try {
    const observe = createLog('info', file);
    const cause = Object.assign(new Error('NOAUTH at redis://default:hunter2@redis:6379'), {
      command: { name: 'auth', args: ['hunter2'] },
    });
    observe({ kind: 'statement', name: 'quiet', milliseconds: 1, rows: 1 });
    observe({ kind: 'task.failed', task: 'x', error: new Error('key fs_0123456789abcdef refused', { cause }) });
    observe({ kind: 'bus.lost', message: 'connect postgresql://me:hunter2@db/x with eyJhbGciOi.eyJzdWIi.c2ln' });
    const text = readFileSync(file, 'utf8');
    const lines = text
      .trim()
      .split('\n')
      .map((line) => JSON.parse(line));
    expect(lines).toMatchObject([
      {
        kind: 'task.failed',
        task: 'x',
        error: { message: 'key fs_… refused', cause: { message: expect.any(String) } },
      },
      { kind: 'bus.lost', message: 'connect postgresql://…@db/x with eyJ…' },
    ]);
    for (const secret of ['hunter2', '0123456789', 'c2ln']) expect(text).not.toContain(secret);
  } finally {
    rmSync(file);
    remove();
  }
});
