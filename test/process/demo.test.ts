import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { eventually, post } from '../support/app.js';
import { temporaryFolder } from '../support/server.js';

const DEMO = fileURLToPath(new URL('../../dist/demo/main.js', import.meta.url));

test('the demo tells its past, lets people come and go, and prints the address and the key', async () => {
  const { folder, remove } = temporaryFolder();
  const { PATH, HOME } = process.env;
  const child = spawn(process.execPath, [DEMO], {
    cwd: folder,
    env: { PATH, HOME, PORT: '0' },
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  let output = '';
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (data: Buffer) => (output += data.toString()));
  const exited = new Promise<number | null>((resolve) => child.once('close', resolve));
  try {
    await eventually(() => /Sign in\s+fs_\w+\n/.test(output), 60_000);
    expect(output).toMatch(/([\d,]+) of \1 events/);
    const url = /Open\s+(http\S+)\//.exec(output)![1]!;
    const key = /Sign in\s+(fs_\w+)/.exec(output)![1]!;
    expect((await fetch(`${url}/`)).headers.get('content-type')).toContain('text/html');
    const read = async (): Promise<{ sessions: number; withErrors: number; online: number; events: number }> => {
      const { data } = await post(
        url,
        key,
        `{ sessions(first: 0) { totalCount } wrong: sessions(first: 0, filter: { hasErrors: true }) { totalCount }
           presence(first: 0) { totalCount } events(first: 0) { totalCount } }`,
      );
      return {
        sessions: data.sessions.totalCount,
        withErrors: data.wrong.totalCount,
        online: data.presence.totalCount,
        events: data.events.totalCount,
      };
    };
    const first = await read();
    expect(first.sessions).toBeGreaterThan(1_000);
    expect(first.withErrors).toBeGreaterThan(50);
    expect(first.online).toBeGreaterThan(5);
    await eventually(async () => (await read()).events > first.events + 3, 20_000);
  } finally {
    child.kill('SIGTERM');
    expect(await exited).toBe(0);
    remove();
  }
}, 120_000);
