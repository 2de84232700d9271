import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { Redis } from 'ioredis';
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

/**
 * Starts a Redis of one's own, which keeps nothing, on `port` or a free one, with more settings if need be; resolves
 * when it answers.
 */
export async function startOwnRedis(port?: number, more: readonly string[] = []): Promise<RedisServer> {
  const program = redisProgram();
  const chosen = port ?? (await freePort());
  const settings = ['--port', String(chosen), '--bind', '127.0.0.1', '--save', '', '--appendonly', 'no', ...more];
  const child = spawn(program, settings, { stdio: 'ignore' });
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

export interface RedisCluster {
  /** As REDIS_URL names it. */
  readonly url: string;
  readonly nodes: readonly RedisServer[];
  stop(): Promise<void>;
}

/** Starts a Cluster of three masters; resolves when they know of each other. */
export async function startOwnRedisCluster(): Promise<RedisCluster> {
  const folder = mkdtempSync(path.join(tmpdir(), 'footsteps-test-redis-'));
  const ports = [await freePort(), await freePort(), await freePort()];
  const buses = [await freePort(), await freePort(), await freePort()];
  const nodes = await Promise.all(
    ports.map((port, at) =>
      startOwnRedis(
        port,
        `--dir ${folder} --cluster-enabled yes --cluster-config-file ${at}.conf --cluster-port ${buses[at]} --cluster-node-timeout 1000`.split(
          ' ',
        ),
      ),
    ),
  );
  const connections = nodes.map(({ url }) => new Redis(url));
  for (const [at, connection] of connections.entries()) {
    const first = Math.ceil((16_384 / 3) * at);
    await connection.call('CLUSTER', 'ADDSLOTSRANGE', first, Math.ceil((16_384 / 3) * (at + 1)) - 1);
    if (at > 0) await connection.call('CLUSTER', 'MEET', '127.0.0.1', ports[0]!, buses[0]!);
  }
  for (const connection of connections) {
    for (;;) {
      const info = String(await connection.call('CLUSTER', 'INFO'));
      if (info.includes('cluster_state:ok') && info.includes('cluster_known_nodes:3')) break;
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
    connection.disconnect();
  }
  return {
    url: nodes.map(({ url }) => url).join(','),
    nodes,
    async stop() {
      await Promise.all(nodes.map((node) => node.kill()));
      rmSync(folder, { recursive: true, force: true });
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
