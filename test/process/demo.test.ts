import { spawn } from 'node:child_process';
import { chmodSync, existsSync, readdirSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { eventually, post } from '../support/app.js';
import { ROOT, runServer, startServer, temporaryFolder } from '../support/server.js';

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

test('one Ctrl-C ends it at any moment, with its Postgres, in a folder that nobody else may enter', async () => {
  const { folder, remove } = temporaryFolder();
  chmodSync(folder, 0o700);
  try {
    for (const interruptAt of ['Starting a server', 'Sending the last', ' events\n', 'Sign in']) {
      const { code, output } = await runServer(
        { DATA_DIR: path.join(folder, 'data') },
        { command: ['npm', 'run', 'demo', '--ignore-scripts'], cwd: ROOT, detached: true, interruptAt },
      );
      expect([code, output]).toEqual([0, expect.stringContaining(interruptAt)]);
      expect(output).not.toMatch(/"level"|cannot/);
    }
    const made = path.join(folder, 'data-demo');
    const files = readdirSync(made).flatMap((name) => readdirSync(path.join(made, name, 'postgres')));
    expect(files).toContain('PG_VERSION');
    expect(files).not.toContain('postmaster.pid');
  } finally {
    remove();
  }
}, 240_000);

test('a taken port, and a folder that cannot be made, are told in one sentence', async () => {
  const { folder, remove } = temporaryFolder();
  const server = await startServer({ DATA_DIR: path.join(folder, 'data') });
  try {
    const demo = { command: [process.execPath, DEMO], cwd: folder };
    const PORT = new URL(server.url).port;
    const taken = await runServer({ PORT }, demo);
    expect([taken.code, taken.output]).toEqual([
      1,
      expect.stringContaining(`The demo cannot continue. Port ${PORT} is taken already.`),
    ]);
    expect(existsSync(path.join(folder, 'data-demo'))).toBe(false);
    const impossible = await runServer({ DATA_DIR: '/proc/x' }, demo);
    expect([impossible.code, impossible.output]).toEqual([1, expect.stringMatching(/cannot be used .*\/proc\/x-demo/)]);
    for (const { output } of [taken, impossible]) expect(output).not.toContain('    at ');
  } finally {
    await server.stop();
    remove();
  }
}, 120_000);
