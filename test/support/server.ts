import { spawn, type ChildProcess } from 'node:child_process';
import { chmodSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

export const ROOT = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '../..');
export const MAIN = path.join(ROOT, 'dist/main.js');

export interface ServerProcess {
  readonly url: string;
  readonly pid: number;
  readonly exited: Promise<number | null>;
  /** Printed at the very first start only. */
  readonly key: string | null;
  readonly operatorKey: string | null;
  output(): string;
  /** Types into its terminal. */
  type(text: string): void;
  /** Asks it to stop; resolves with its exit code. */
  stop(signal?: NodeJS.Signals): Promise<number | null>;
  /** Ends it as a crash would, without its Postgres. */
  kill(): Promise<void>;
}

export const temporaryFolder = (): { folder: string; remove: () => void } => {
  const folder = mkdtempSync(path.join(tmpdir(), 'footsteps-test-'));
  // If root runs the tests, Postgres runs as nobody, who must be able to enter the folder.
  chmodSync(folder, 0o755);
  return { folder, remove: () => rmSync(folder, { recursive: true, force: true }) };
};

const environment = (env: Record<string, string>): NodeJS.ProcessEnv => {
  const { PATH, HOME } = process.env;
  return { PATH, HOME, PORT: '0', ...env };
};

/** What `npm start` runs, without building again. */
export const NPM_START = ['npm', 'start', '--ignore-scripts'];

/** How the server is started. By default: the built server, with `/` as its current folder. */
interface As {
  /** Another user to run as. */
  uid?: number;
  gid?: number;
  /** A program with its arguments. */
  command?: readonly string[];
  cwd?: string;
  /** In a process group of its own. */
  detached?: boolean;
  /** Sends SIGINT to its process group as soon as its output contains this text. */
  interruptAt?: string;
}

interface Running {
  readonly child: ChildProcess;
  readonly exited: Promise<number | null>;
  output(): string;
}

function run(
  env: Record<string, string>,
  { command = [process.execPath, MAIN], interruptAt, ...options }: As = {},
): Running {
  const [program, ...args] = command;
  const child = spawn(program!, args, {
    cwd: '/',
    env: environment(env),
    stdio: ['pipe', 'pipe', 'pipe'],
    ...options,
  });
  let output = '';
  let interrupted = false;
  for (const stream of [child.stdout, child.stderr]) {
    stream.on('data', (data: Buffer) => {
      output += data.toString();
      if (interrupted || interruptAt === undefined || !output.includes(interruptAt)) return;
      interrupted = true;
      process.kill(-child.pid!, 'SIGINT');
    });
  }
  const exited = new Promise<number | null>((resolve) => child.once('close', (code) => resolve(code)));
  return { child, exited, output: () => output };
}

/** Starts a server as its own process. Resolves when it listens; rejects with its output if it ends before. */
export async function startServer(env: Record<string, string>, options: As = {}): Promise<ServerProcess> {
  const { child, exited, output } = run(env, options);
  const url = await new Promise<string>((resolve, reject) => {
    const look = (): void => {
      const found = /listens on (http\S+)/.exec(output());
      // The greeting is written in pieces; the last of a first start is the curl line.
      if (found && (!output().includes('Shown this once') || /curl .*\r?\n/.test(output()))) resolve(found[1]!);
    };
    child.stdout!.on('data', look);
    void exited.then((code) => reject(new Error(`The server ended with ${code}: ${output()}`)));
  });
  return {
    url,
    pid: child.pid!,
    key: /project key\s+(fs_\w+)/.exec(output())?.[1] ?? null,
    operatorKey: /operator key\s+(fs_op_\w+)/.exec(output())?.[1] ?? null,
    exited,
    output,
    type: (text) => void child.stdin!.write(text),
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

/** Runs a server that ends by itself. Resolves with its output and exit code. */
export async function runServer(
  env: Record<string, string>,
  options: As = {},
): Promise<{ code: number | null; output: string }> {
  const { exited, output } = run(env, options);
  const code = await exited;
  return { code, output: output() };
}

/** The process id of the Postgres that a server runs in its folder. */
export const postgresPid = (dataDir: string): number =>
  Number(readFileSync(path.join(dataDir, 'postgres/postmaster.pid'), 'utf8').split('\n')[0]);

export const isAlive = (pid: number): boolean => {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
};
