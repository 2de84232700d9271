import { fork } from 'node:child_process';
import { createServer, request as httpRequest } from 'node:http';
import type { AddressInfo } from 'node:net';
import { fileURLToPath } from 'node:url';
import { temporaryFolder } from './server.js';

interface Told {
  result?: any;
  queued: string[];
  batchSize: number;
  settings: Record<string, string>;
  settingsVersion: number;
}

export interface ExceptionlessApp {
  tell(action: string, given?: object): Promise<Told>;
  /** Lets the process end by itself. Resolves with its exit code. */
  finish(): Promise<number | null>;
  kill(): Promise<void>;
}

/** Starts a Node process in which the real @exceptionless/node sends to `serverUrl`. */
export async function startExceptionlessApp(options: {
  serverUrl: string;
  apiKey: string;
  identity: string;
  sessionIds?: boolean;
}): Promise<ExceptionlessApp> {
  const { folder, remove } = temporaryFolder();
  const child = fork(fileURLToPath(new URL('exceptionless-app.mjs', import.meta.url)), {
    cwd: folder,
    execArgv: [],
    env: {
      PATH: process.env['PATH'],
      SERVER_URL: options.serverUrl,
      API_KEY: options.apiKey,
      IDENTITY: options.identity,
      SESSION_IDS: options.sessionIds ? 'yes' : 'no',
    },
    stdio: ['ignore', 'ignore', 'inherit', 'ipc'],
  });
  const waiting = new Map<number, (told: Told) => void>();
  const ready = new Promise<void>((resolve) => waiting.set(0, () => resolve()));
  child.on('message', (told: Told & { id: number }) => waiting.get(told.id)?.(told));
  const exited = new Promise<number | null>((resolve) => child.once('exit', (code) => resolve(code))).finally(remove);
  await ready;
  let last = 0;
  return {
    tell(action, given = {}) {
      last += 1;
      const id = last;
      return new Promise((resolve, reject) => {
        const timer = setTimeout(() => reject(new Error(`No answer to ${action}.`)), 10_000);
        waiting.set(id, (told) => {
          clearTimeout(timer);
          resolve(told);
        });
        child.send({ id, action, ...given });
      });
    },
    finish() {
      child.send({ id: -1, action: 'finish' });
      return exited;
    },
    async kill() {
      child.kill('SIGKILL');
      await exited;
    },
  };
}

/** Starts a proxy before the server that answers some POSTs of events itself and passes the others on. */
export async function startMoodyProxy(target: string): Promise<{
  url: string;
  /** The proxy answers the next POSTs with these statuses and an empty body, or cuts the connection (0). */
  refuse(...statuses: number[]): void;
  /** The number of events in each POST, and the status of its answer. */
  readonly posts: { events: number; status: number }[];
  close(): Promise<void>;
}> {
  const refusals: number[] = [];
  const posts: { events: number; status: number }[] = [];
  const server = createServer((asked, response) => {
    const chunks: Buffer[] = [];
    asked.on('data', (chunk: Buffer) => chunks.push(chunk));
    asked.on('end', () => {
      const body = Buffer.concat(chunks);
      const isPost = asked.method === 'POST' && asked.url!.endsWith('/events');
      const note = (status: number): void => {
        if (isPost) posts.push({ events: (JSON.parse(body.toString()) as unknown[]).length, status });
      };
      const refusal = isPost ? refusals.shift() : undefined;
      if (refusal === 0) {
        note(0);
        // The server has stored the batch, but its answer is lost.
        pass(() => response.destroy());
        return;
      }
      if (refusal !== undefined) {
        note(refusal);
        response.writeHead(refusal, { 'Content-Type': 'application/json' });
        response.end(JSON.stringify({ message: 'not now' }));
        return;
      }
      pass((status, headers, text) => {
        note(status);
        response.writeHead(status, headers);
        response.end(text);
      });

      function pass(answer: (status: number, headers: Record<string, any>, text: Buffer) => void): void {
        const onward = httpRequest(
          `${target}${asked.url}`,
          { method: asked.method!, headers: asked.headers },
          (reply) => {
            const parts: Buffer[] = [];
            reply.on('data', (part: Buffer) => parts.push(part));
            reply.on('end', () => answer(reply.statusCode!, reply.headers, Buffer.concat(parts)));
          },
        );
        onward.end(body);
      }
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    refuse: (...statuses) => void refusals.push(...statuses),
    posts,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}
