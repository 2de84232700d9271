import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { connect } from 'node:net';
import path from 'node:path';
import { installWithApt } from './apt.js';
import { freePort } from './postgres.js';

const PROGRAMS = ['redis-server', 'valkey-server'];

function find(): string | undefined {
  const folders = [...(process.env['PATH'] ?? '').split(path.delimiter), '/usr/bin', '/usr/local/bin'];
  return folders.flatMap((folder) => PROGRAMS.map((name) => path.join(folder, name))).find((file) => existsSync(file));
}

/** The path of a Redis or Valkey server: from PATH, else, on Debian as root, installed with apt. */
function redisProgram(): string {
  const found = find() ?? (installWithApt('redis-server'), find());
  if (found) return found;
  throw new Error(
    'The tests need a real Redis: set REDIS_URL, or put redis-server or valkey-server on the PATH (Debian: apt-get install redis-server).',
  );
}

function answers(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(port, '127.0.0.1', () => {
      socket.destroy();
      resolve(true);
    }).on('error', () => resolve(false));
  });
}

export interface RedisServer {
  url: string;
  port: number;
  /** Ends it at once, as a crash would. */
  kill: () => Promise<void>;
}

/** Starts a Redis of one's own, which keeps nothing, on `port` or a free one; resolves when it answers. */
export async function startOwnRedis(port?: number): Promise<RedisServer> {
  const program = redisProgram();
  const chosen = port ?? (await freePort());
  const child = spawn(program, ['--port', String(chosen), '--bind', '127.0.0.1', '--save', '', '--appendonly', 'no'], {
    stdio: 'ignore',
  });
  const exited = new Promise<void>((resolve) => child.once('exit', () => resolve()));
  while (!(await answers(chosen))) {
    if (child.exitCode !== null) throw new Error(`${program} ended with code ${child.exitCode}`);
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  return {
    url: `redis://127.0.0.1:${chosen}`,
    port: chosen,
    async kill() {
      child.kill('SIGKILL');
      await exited;
    },
  };
}

/** The Redis that the whole run shares: REDIS_URL, or one of its own. */
export async function startRedis(): Promise<{ url: string; stop: () => Promise<void> }> {
  const given = process.env['REDIS_URL'];
  if (given) return { url: given, stop: async () => {} };
  const server = await startOwnRedis();
  return { url: server.url, stop: server.kill };
}
