import { spawn } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { Redis } from 'ioredis';
import { inject } from 'vitest';
import { freePort } from './postgres.js';
import { findOnPath, MissingProgramError, needProgram } from './programs.js';

/** The path of a Redis or Valkey server: on the PATH, else (on Debian as root) installed with apt. */
const redisProgram = (): string =>
  needProgram(
    'redis-server',
    () => findOnPath('redis-server', 'valkey-server'),
    'set REDIS_URL, or put redis-server or valkey-server on the PATH',
  );

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
 * Starts a Redis without persistence, on `port` or a free port, with `more` command-line settings. Resolves when it
 * answers.
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
  /** The value for REDIS_URL. */
  readonly url: string;
  readonly nodes: readonly RedisServer[];
  stop(): Promise<void>;
}

/**
 * Starts three nodes of a Cluster that do not know each other yet. A port that was free may be taken before its node takes it,
 * for example by a connection of another test: then it begins again with others.
 */
async function startNodes(
  folder: string,
  tries = 3,
): Promise<{ nodes: RedisServer[]; ports: number[]; buses: number[] }> {
  const ports = [await freePort(), await freePort(), await freePort()];
  const buses = [await freePort(), await freePort(), await freePort()];
  const started = await Promise.allSettled(
    ports.map((port, at) =>
      startOwnRedis(
        port,
        `--dir ${folder} --cluster-enabled yes --cluster-config-file ${port}.conf --cluster-port ${buses[at]} --cluster-node-timeout 1000`.split(
          ' ',
        ),
      ),
    ),
  );
  const nodes = started.flatMap((one) => (one.status === 'fulfilled' ? [one.value] : []));
  if (nodes.length === ports.length) return { nodes, ports, buses };
  await Promise.all(nodes.map((node) => node.kill()));
  if (tries > 1) return startNodes(folder, tries - 1);
  throw started.find((one) => one.status === 'rejected')!.reason;
}

/** Starts a Cluster of three masters. Resolves when they know each other. */
export async function startOwnRedisCluster(): Promise<RedisCluster> {
  const folder = mkdtempSync(path.join(tmpdir(), 'footsteps-test-redis-'));
  const { nodes, ports, buses } = await startNodes(folder);
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

/** The Redis that the whole run shares: REDIS_URL, or a temporary one. Without one the URL is '', for tests that need none. */
export async function startRedis(): Promise<{ url: string; stop: () => Promise<void> }> {
  const given = process.env['REDIS_URL'];
  if (given) return { url: given, stop: async () => {} };
  try {
    const server = await startOwnRedis();
    return { url: server.url, stop: server.kill };
  } catch (error) {
    if (error instanceof MissingProgramError) return { url: '', stop: async () => {} };
    throw error;
  }
}

/** The URL of the shared Redis, for a test that needs it. Throws MissingProgramError. */
export const redisUrl = (): string => inject('redisUrl') || redisProgram();
