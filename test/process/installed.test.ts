import { execFile } from 'node:child_process';
import { chmodSync, chownSync, copyFileSync, cpSync, existsSync, mkdirSync, readdirSync, rmSync } from 'node:fs';
import path from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { post } from '../support/app.js';
import { ROOT, runServer, startServer, temporaryFolder, type ServerProcess } from '../support/server.js';

/**
 * The README's commands, word for word, where somebody has Footsteps: in a clone below a folder that nobody else may
 * enter, with production dependencies alone, in a folder of another user's, and as a package. Each step goes on where
 * the one before it has left off; packages come from npm's cache or the registry.
 */

const run = promisify(execFile);
const LONG = 400_000;
const NPM = { npm_config_prefer_offline: 'true', npm_config_audit: 'false', npm_config_fund: 'false' };

let folder: string;
let clone: string;
let key: string;
let remove: () => void;
const servers: ServerProcess[] = [];
beforeAll(() => {
  ({ folder, remove } = temporaryFolder());
  chmodSync(folder, 0o700);
  clone = path.join(folder, 'footsteps');
  // What a clone has: nothing that was installed, built or stored here.
  const made =
    /^(node_modules|dist|data.*|coverage|bench|screenshots|\.git|.*\.(log|tgz))$|(^|\/)generated$|comparators\/node_modules$/;
  cpSync(ROOT, clone, { recursive: true, filter: (file) => !made.test(path.relative(ROOT, file)) });
});
afterAll(async () => {
  await Promise.all(servers.map((server) => server.kill()));
  remove();
});

const shell = (command: string, cwd: string) =>
  run('sh', ['-c', command], { cwd, env: { ...process.env, ...NPM, NODE_ENV: '' } });

async function start(env: Record<string, string>, options: object): Promise<ServerProcess> {
  const server = await startServer(env, options);
  servers.push(server);
  return server;
}

const count = async ({ url }: ServerProcess, secret = key): Promise<number> =>
  (await post(url, secret, '{ events(first: 0) { totalCount } }')).data.events.totalCount;

async function send({ url }: ServerProcess, secret = key): Promise<void> {
  const query = 'mutation { ingestEvents(events: [{ user: { identity: "ada" } }]) { accepted } }';
  expect((await post(url, secret, query)).data.ingestEvents.accepted).toBe(1);
}

test(
  'npm ci && npm start, in a folder that nobody else may enter; what was sent is there after a stop',
  async () => {
    await shell('npm ci', clone);
    const first = await start({}, { command: ['npm', 'start'], cwd: clone });
    key = first.key!;
    await send(first);
    expect((await fetch(`${first.url}/`)).headers.get('content-type')).toContain('text/html');
    expect(await first.stop()).toBe(0);
    const second = await start({}, { command: ['npm', 'start'], cwd: clone });
    expect(second.output()).not.toContain('Generated');
    expect(await count(second)).toBe(1);
    expect(await second.stop()).toBe(0);
  },
  LONG,
);

test(
  'npm pack makes a package that starts with npx footsteps where it is installed',
  async () => {
    await shell('npm pack', clone);
    const [file] = readdirSync(clone).filter((name) => name.endsWith('.tgz'));
    const empty = path.join(folder, 'empty');
    mkdirSync(empty, { mode: 0o700 });
    await shell(`npm install "${path.join(clone, file!)}"`, empty);
    const installed = readdirSync(path.join(empty, 'node_modules/footsteps'));
    expect(installed.toSorted()).toEqual(['LICENSE', 'README.md', 'dist', 'package.json', 'prisma', 'schema.graphql']);

    const first = await start({}, { command: ['npx', 'footsteps'], cwd: empty, detached: true });
    await send(first, first.key!);
    expect((await fetch(`${first.url}/`)).headers.get('content-type')).toContain('text/html');
    // As Ctrl-C does; npx hands signals to a shell alone, which hands none on.
    process.kill(-first.pid, 'SIGINT');
    await first.exited;
    expect(first.output()).toContain('server.closed');
    expect(existsSync(path.join(empty, 'data/postgres/postmaster.pid'))).toBe(false);
    const second = await start({}, { command: ['node_modules/.bin/footsteps'], cwd: empty });
    expect(await count(second, first.key!)).toBe(1);
    expect(await second.stop()).toBe(0);
  },
  LONG,
);

test(
  'npm ci --omit=dev && npm start runs what was built, and says so where nothing was',
  async () => {
    await shell('npm ci --omit=dev', clone);
    expect(readdirSync(path.join(clone, 'node_modules'))).not.toContain('vite');
    const server = await start({}, { command: ['npm', 'start'], cwd: clone });
    expect(await count(server)).toBe(1);
    expect(await server.stop()).toBe(0);
    rmSync(path.join(clone, 'data'), { recursive: true });

    const unbuilt = path.join(folder, 'unbuilt');
    cpSync(path.join(clone, 'src'), path.join(unbuilt, 'src'), { recursive: true });
    for (const file of ['package.json', 'build.mjs']) copyFileSync(path.join(clone, file), path.join(unbuilt, file));
    const { code, output } = await runServer({}, { command: ['npm', 'start', '--silent'], cwd: unbuilt });
    expect([code, output]).toEqual([
      1,
      expect.stringMatching(/^Footsteps is not built .* npm ci && npm run build\.\n$/),
    ]);
  },
  LONG,
);

test.runIf(process.getuid?.() === 0)(
  'what root has installed and built starts for another user, who may write nothing there',
  async () => {
    // As where install scripts are off: the libraries of Postgres lack their second names.
    await shell('npm ci --omit=dev --ignore-scripts', clone);
    const own = path.join(folder, 'own');
    mkdirSync(own);
    chownSync(own, 1, 1);
    chmodSync(folder, 0o755);
    // Node itself may be in a folder that others may not enter.
    const node = path.join(own, 'node');
    copyFileSync(process.execPath, node);
    const daemon = { uid: 1, gid: 1, cwd: clone };
    const built = await runServer({ HOME: own }, { ...daemon, command: [node, 'build.mjs', '--if-changed'] });
    expect(built).toEqual({ code: 0, output: '' });
    const denied = await runServer({ HOME: own }, { ...daemon, command: [node, 'dist/main.js'] });
    expect([denied.code, denied.output]).toEqual([1, expect.stringContaining('Set DATA_DIR to a folder')]);
    const env = { HOME: own, DATA_DIR: path.join(own, 'data') };
    const first = await start(env, { ...daemon, command: [node, 'dist/main.js'] });
    await send(first, first.key!);
    expect(await first.stop()).toBe(0);
    const second = await start(env, { ...daemon, command: [node, 'dist/main.js'] });
    expect(await count(second, first.key!)).toBe(1);
    expect(await second.stop()).toBe(0);
  },
  LONG,
);
