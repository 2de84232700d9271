import { spawnSync } from 'node:child_process';
import path from 'node:path';
import { expect, test } from 'vitest';
import { ROOT } from '../support/server.js';

/** What strangers can make the server write. */

function logOf(program: string): string[] {
  const log = JSON.stringify(path.join(ROOT, 'dist/adapters/log.js'));
  const { stderr, status } = spawnSync(
    process.execPath,
    ['--input-type=module', '-e', `import { createLog } from ${log}; const log = createLog('info'); ${program}`],
    { encoding: 'utf8', maxBuffer: 100_000_000 },
  );
  expect(status).toBe(0);
  return stderr.trim().split('\n');
}

test('a kind of line is written 300 times a minute, and how often it was not is told; other kinds go on', () => {
  const lines = logOf(`
    const { setTimeout: real } = globalThis;
    const due = [];
    globalThis.setTimeout = (call) => { due.push(call); return { unref() {} }; };
    const drop = () => log({ kind: 'collector.dropped', request: 'r', events: 1, code: 'X', message: 'junk' });
    for (let at = 0; at < 5000; at += 1) drop();
    log({ kind: 'server.listening', url: 'http://x' });
    due.splice(0).forEach((call) => call());
    drop();
  `).map((line) => JSON.parse(line) as { kind: string; of?: string; lines?: number });
  const dropped = lines.filter(({ kind }) => kind === 'collector.dropped');
  expect(dropped).toHaveLength(301);
  expect(lines.filter(({ kind }) => kind === 'server.listening')).toHaveLength(1);
  expect(lines.find(({ kind }) => kind === 'log.omitted')).toMatchObject({ of: 'collector.dropped', lines: 4_700 });
});

test('a line is short, however much somebody sends, and no secret is left in it', () => {
  const [line] = logOf(`
    const error = new Error('postgres://me:secret@db ' + 'eyJ-'.repeat(1_000_000));
    log({ kind: 'request.failed', request: 'r', error });
  `);
  expect(line!.length).toBeLessThan(20_000);
  expect(line).not.toContain('secret');
});
