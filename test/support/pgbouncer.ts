import { spawn, type ChildProcess } from 'node:child_process';
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import pg from 'pg';
import { freePort } from './postgres.js';
import { findOnPath, needProgram } from './programs.js';

export interface PgBouncer {
  readonly url: string;
  /** Ends it at once and starts it again. Resolves when it accepts connections. */
  restart(): Promise<void>;
  stop(): Promise<void>;
}

/** Starts a PgBouncer in transaction mode before a Postgres of this machine, with these settings beside its defaults. */
export async function startPgBouncer(postgresPort: number, settings: Record<string, string> = {}): Promise<PgBouncer> {
  const program = needProgram('pgbouncer', () => findOnPath('pgbouncer'), 'put PgBouncer on the PATH');
  const folder = mkdtempSync(path.join(tmpdir(), 'footsteps-test-pgbouncer-'));
  chmodSync(folder, 0o755);
  const port = await freePort();
  const file = path.join(folder, 'pgbouncer.ini');
  const all = {
    listen_addr: '127.0.0.1',
    listen_port: String(port),
    unix_socket_dir: '',
    auth_type: 'any',
    pool_mode: 'transaction',
    default_pool_size: '20',
    max_client_conn: '500',
    ...settings,
  };
  const lines = Object.entries(all).map(([name, value]) => `${name} = ${value}`);
  writeFileSync(
    file,
    `[databases]\npostgres = host=127.0.0.1 port=${postgresPort} dbname=postgres user=postgres\n[pgbouncer]\n${lines.join('\n')}\n`,
  );
  const url = `postgresql://postgres@127.0.0.1:${port}/postgres`;
  // PgBouncer refuses to run as root; 65534 is nobody.
  const as = process.getuid?.() === 0 ? { uid: 65534, gid: 65534 } : {};
  let child: ChildProcess;
  let exited: Promise<void>;

  async function launch(): Promise<void> {
    child = spawn(program, [file], { ...as, stdio: 'ignore' });
    exited = new Promise<void>((resolve) => child.once('exit', () => resolve()));
    for (;;) {
      const client = new pg.Client({ connectionString: url });
      try {
        await client.connect();
        await client.query('SELECT 1');
        await client.end();
        return;
      } catch (error) {
        if (child.exitCode !== null) throw error;
        await new Promise((resolve) => setTimeout(resolve, 30));
      }
    }
  }

  async function kill(): Promise<void> {
    child.kill('SIGKILL');
    await exited;
  }

  await launch();
  return {
    url,
    async restart() {
      await kill();
      await launch();
    },
    async stop() {
      await kill();
      rmSync(folder, { recursive: true, force: true });
    },
  };
}
