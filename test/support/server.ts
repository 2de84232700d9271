import { spawn, type ChildProcess } from 'node:child_process';
import { chmodSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

const ROOT = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '../..');
const MAIN = path.join(ROOT, 'dist/main.js');

export interface ServerProcess {
  readonly url: string;
  readonly pid: number;
  /** Shown at the very first start alone. */
  readonly key: string | null;
  readonly operatorKey: string | null;
  output(): string;
  /** Asks it to stop; resolves with its exit code. */
  stop(signal?: NodeJS.Signals): Promise<number | null>;
  /** Ends it as a crash would, without its Postgres. */
  kill(): Promise<void>;
}

export const temporaryFolder = (): { folder: string; remove: () => void } => {
  const folder = mkdtempSync(path.join(tmpdir(), 'footsteps-test-'));
  // For root, Postgres runs as nobody, who must be able to enter.
  chmodSync(folder, 0o755);
  return { folder, remove: () => rmSync(folder, { recursive: true, force: true }) };
};

const environment = (env: Record<string, string>): NodeJS.ProcessEnv => {
  const { PATH, HOME } = process.env;
  return { PATH, HOME, PORT: '0', ...env };
};

/** Starts it as the README does, with `npm start`, without building again; resolves with npm's process once it listens. */
export async function npmStart(
  env: Record<string, string>,
): Promise<{ child: ChildProcess; exited: Promise<number | null> }> {
  const child = spawn('npm', ['start', '--ignore-scripts'], {
    cwd: ROOT,
    env: environment(env),
    stdio: ['ignore', 'pipe', 'ignore'],
  });
  const exited = new Promise<number | null>((resolve) => child.once('close', (code) => resolve(code)));
  await new Promise<void>((resolve) => {
    child.stdout.on('data', (data: Buffer) => {
      if (data.toString().includes('listens on')) resolve();
    });
  });
  return { child, exited };
}

/** Another user to run as, and a Node program that this user may run. */
interface As {
  uid?: number;
  gid?: number;
  node?: string;
}

interface Running {
  readonly child: ChildProcess;
  readonly exited: Promise<number | null>;
  output(): string;
}

function run(env: Record<string, string>, { node = process.execPath, ...options }: As = {}): Running {
  const child = spawn(node, [MAIN], {
    cwd: '/',
    env: environment(env),
    stdio: ['ignore', 'pipe', 'pipe'],
    ...options,
  });
  let output = '';
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (data: Buffer) => (output += data.toString()));
  const exited = new Promise<number | null>((resolve) => child.once('close', (code) => resolve(code)));
  return { child, exited, output: () => output };
}

/** Starts the built server as a process of its own; resolves when it listens, rejects with its output when it ends before. */
export async function startServer(env: Record<string, string>, options: As = {}): Promise<ServerProcess> {
  const { child, exited, output } = run(env, options);
  const url = await new Promise<string>((resolve, reject) => {
    const look = (): void => {
      const found = /listens on (http\S+)/.exec(output());
      // The greeting is written in pieces; the last of a first start is the curl line.
      if (found && (!output().includes('Shown this once') || /curl .*\n/.test(output()))) resolve(found[1]!);
    };
    child.stdout!.on('data', look);
    void exited.then((code) => reject(new Error(`The server ended with ${code}: ${output()}`)));
  });
  return {
    url,
    pid: child.pid!,
    key: /project key\s+(fs_\w+)/.exec(output())?.[1] ?? null,
    operatorKey: /operator key\s+(fs_op_\w+)/.exec(output())?.[1] ?? null,
    output,
    stop(signal = 'SIGTERM') {
      child.kill(signal);
      return exited;
    },
    async kill() {
      child.kill('SIGKILL');
      await exited;
    },
  };
}

/** Runs the server where it cannot start; resolves with what it said and its exit code. */
export async function runServer(env: Record<string, string>): Promise<{ code: number | null; output: string }> {
  const { exited, output } = run(env);
  const code = await exited;
  return { code, output: output() };
}
