import { execFile, spawn } from 'node:child_process';
import { cpSync, mkdirSync, readFileSync, readdirSync, symlinkSync, writeFileSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import path from 'node:path';
import { promisify } from 'node:util';
import type { Browser } from 'playwright-core';
import { build } from 'vite';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { createProject, eventually, post, startTestApp, type TestApp } from '../support/app.js';
import { startChromium } from '../support/chromium.js';
import { createTestDatabase, type TestDatabase } from '../support/database.js';
import { ROOT, temporaryFolder } from '../support/server.js';

/** The programs of examples/, and the README's words about the client, as somebody has them who installed the package. */

const run = promisify(execFile);
const readme = readFileSync(path.join(ROOT, 'README.md'), 'utf8');
const example = (name: string): string =>
  new RegExp(`<!-- example: ${name} -->\\n\`\`\`\\w+\\n([\\s\\S]*?)\`\`\``).exec(readme)![1]!;

let db: TestDatabase;
let app: TestApp;
let key: string;
let folder: string;
let remove: () => void;
let browser: Browser;
const servers: Server[] = [];
beforeAll(async () => {
  db = await createTestDatabase();
  app = await startTestApp(db, { REDIS_URL: '', WEBHOOKS_TO: 'private' });
  ({ folder, remove } = temporaryFolder());
  browser = await startChromium();
});
afterAll(async () => {
  await browser.close();
  for (const server of servers) server.close();
  await app.close('test');
  await db.drop();
  remove();
});

/** The text with this server's address, and the key of a new project. */
const filled = (text: string): string =>
  text.replaceAll('127.0.0.1:4000', new URL(app.url).host).replaceAll('fs_…', key);

/** Copies an example to a folder of its own, where this package and what it needs are installed. Resolves with the folder. */
async function install(name: string, packages: readonly string[] = []): Promise<string> {
  key = await createProject(app.url);
  const own = path.join(folder, name);
  cpSync(path.join(ROOT, 'examples', name), own, { recursive: true, filter: (file) => !file.includes('node_modules') });
  mkdirSync(path.join(own, 'node_modules/@types'), { recursive: true });
  symlinkSync(ROOT, path.join(own, 'node_modules/footsteps'));
  for (const one of packages) symlinkSync(path.join(ROOT, 'node_modules', one), path.join(own, 'node_modules', one));
  for (const file of readdirSync(own, { recursive: true, encoding: 'utf8' })) {
    if (!/\.(html|tsx|js)$/.test(file) || file.startsWith('node_modules')) continue;
    writeFileSync(path.join(own, file), filled(readFileSync(path.join(own, file), 'utf8')));
  }
  return own;
}

/** Serves the files of a folder. Resolves with the address. */
async function serve(root: string): Promise<string> {
  const server = createServer((request, response) => {
    const file = request.url === '/' ? '/index.html' : request.url!.split('?')[0]!;
    response.setHeader('Content-Type', file.endsWith('.js') ? 'text/javascript' : 'text/html');
    try {
      response.end(readFileSync(path.join(root, file)));
    } catch {
      response.writeHead(404).end();
    }
  });
  servers.push(server);
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

const events = async (): Promise<any[]> =>
  (await post(app.url, key, '{ events { nodes { type source value data user { identity name } } } }')).data.events
    .nodes;
const linesOf = (text: string): string[] =>
  text
    .split('\n')
    .map((line) => line.trim())
    .filter(Boolean);

test('what the README shows is what the examples do', () => {
  for (const [name, file] of [
    ['page', 'plain-page/index.html'],
    ['react', 'react-presence/src/main.tsx'],
    ['node', 'node-service/service.js'],
    ['receiver', 'webhook-receiver/receiver.js'],
  ] as const) {
    const has = linesOf(readFileSync(path.join(ROOT, 'examples', file), 'utf8'));
    expect(linesOf(example(name)).filter((line) => !has.includes(line))).toEqual([]);
  }
});

test('a plain page with a script tag is tracked, and shows who is online', async () => {
  const page = await browser.newPage();
  await page.goto(await serve(await install('plain-page')));
  await page.waitForFunction(`document.getElementById('online').textContent === 'Ada'`);
  const event = { user: { identity: 'ben@example.com', name: 'Ben' } };
  await post(app.url, key, 'mutation ($events: [EventInput!]!) { ingestEvents(events: $events) { rejected } }', {
    events: [event],
  });
  await page.waitForFunction(`document.getElementById('online').textContent.includes('Ben')`);
  expect(await events()).toContainEqual(
    expect.objectContaining({ type: 'page view', source: '/', user: { identity: 'ada@example.com', name: 'Ada' } }),
  );
  await page.close({ runBeforeUnload: true });
});

test('the React example builds, with its types, and shows who is online', async () => {
  const own = await install('react-presence', ['react', 'react-dom', '@types/react', '@types/react-dom']);
  await run(path.join(ROOT, 'node_modules/.bin/tsc'), ['-p', own, '--preserveSymlinks', 'false']);
  await build({ root: own, configFile: false, logLevel: 'silent' });
  const page = await browser.newPage();
  await page.goto(await serve(path.join(own, 'dist')));
  await page.getByRole('heading', { name: '1 online' }).waitFor();
  await page.getByRole('button', { name: 'Wave' }).click();
  await eventually(async () => (await events()).some(({ type }) => type === 'wave'));
  expect((await events()).find(({ type }) => type === 'wave')).toMatchObject({
    data: { to: 'ada@example.com' },
    user: { identity: 'ada@example.com' },
  });
  await page.close({ runBeforeUnload: true });
}, 60_000);

test('the service in Node tracks orders, and ends with everything sent', async () => {
  const own = await install('node-service');
  const { PATH } = process.env;
  const child = spawn(process.execPath, ['service.js'], { cwd: own, env: { PATH, KEY: key, PORT: '0' } });
  const exited = new Promise<number | null>((resolve) => child.once('close', resolve));
  let output = '';
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (data: Buffer) => (output += data.toString()));
  const port = (): string | undefined => /listens on (\d+)/.exec(output)?.[1];
  await eventually(() => port() !== undefined);
  const answer = await fetch(`http://127.0.0.1:${port()}/orders?user=ada@example.com&price=12.5`, { method: 'POST' });
  expect(await answer.text()).toBe('Thank you.\n');
  child.kill('SIGTERM');
  expect([await exited, output]).toEqual([0, `The shop listens on ${port()}.\n`]);
  expect(await events()).toMatchObject([{ type: 'order', value: 12.5, user: { identity: 'ada@example.com' } }]);
});

test('the receiver of webhooks takes what is signed, and nothing else', async () => {
  const own = await install('webhook-receiver', ['standardwebhooks', '@stablelib', 'fast-sha256']);
  const [query] = /subscription \{ changes\(filter: \{ kinds: \[SESSION\] \}\).*\}(?=")/.exec(readme)!;
  const waiting = createServer().listen(0, '127.0.0.1');
  await eventually(() => waiting.listening);
  const { port } = waiting.address() as AddressInfo;
  waiting.close();
  const url = `http://127.0.0.1:${port}/`;
  const make = 'mutation ($url: String!, $query: String!) { createWebhook(url: $url, query: $query) { secret } }';
  const { secret } = (await post(app.url, key, make, { url, query })).data.createWebhook;
  const { PATH } = process.env;
  const env = { PATH, PORT: String(port), WEBHOOK_SECRET: secret };
  const child = spawn(process.execPath, ['receiver.js'], { cwd: own, env });
  const exited = new Promise((resolve) => child.once('close', resolve));
  let output = '';
  for (const stream of [child.stdout, child.stderr]) stream.on('data', (data: Buffer) => (output += data.toString()));
  const forge = (): Promise<number | undefined> =>
    fetch(url, { method: 'POST', body: '{"type":"changes","data":[]}' }).then(
      ({ status }) => status,
      () => undefined,
    );
  await eventually(async () => (await forge()) === 401);
  const ingest = 'mutation ($events: [EventInput!]!) { ingestEvents(events: $events) { results { sessionId } } }';
  const { data } = await post(app.url, key, ingest, { events: [{ user: { identity: 'ada@example.com' } }] });
  const [{ sessionId }] = data.ingestEvents.results;
  await eventually(() => output.includes('\n'));
  expect(output).toBe(`STARTED ${sessionId} ada@example.com\n`);
  child.kill('SIGTERM');
  await exited;
});

test("a third party's own queries have types, from the schema that the server answers", async () => {
  key = await createProject(app.url);
  const own = path.join(folder, 'third-party');
  mkdirSync(path.join(own, 'src'), { recursive: true });
  mkdirSync(path.join(own, 'node_modules'));
  symlinkSync(ROOT, path.join(own, 'node_modules/footsteps'));
  symlinkSync(
    path.join(ROOT, 'node_modules/@graphql-typed-document-node'),
    path.join(own, 'node_modules/@graphql-typed-document-node'),
  );
  symlinkSync(path.join(ROOT, 'node_modules/@graphql-codegen'), path.join(own, 'node_modules/@graphql-codegen'));
  symlinkSync(path.join(ROOT, 'node_modules/graphql'), path.join(own, 'node_modules/graphql'));
  writeFileSync(path.join(own, 'package.json'), '{ "type": "module" }');
  writeFileSync(path.join(own, 'codegen.ts'), filled(example('codegen')));
  const code = filled(example('typed query'));
  writeFileSync(path.join(own, 'src/app.ts'), code);
  // The types are those of the query: another field is a mistake.
  writeFileSync(path.join(own, 'src/wrong.ts'), code.replace('user?.name, duration', 'user?.email, duration'));
  await run(path.join(ROOT, 'node_modules/.bin/graphql-codegen'), ['--silent', '--config', 'codegen.ts'], { cwd: own });
  const options = [
    '--noEmit',
    '--strict',
    '--module',
    'esnext',
    '--moduleResolution',
    'bundler',
    '--target',
    'es2023',
    '--types',
    '',
  ];
  const tsc = (file: string) => run(path.join(ROOT, 'node_modules/.bin/tsc'), [file, ...options], { cwd: own });
  await tsc('src/app.ts');
  await expect(tsc('src/wrong.ts')).rejects.toMatchObject({
    stdout: expect.stringContaining(`'email' does not exist`),
  });
}, 60_000);
