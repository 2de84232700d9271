import { execFileSync } from 'node:child_process';
import { chownSync, closeSync, openSync, rmSync, writeSync } from 'node:fs';
import path from 'node:path';
import pg from 'pg';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { createProject, eventually, OPERATOR_KEY, post } from '../support/app.js';
import { startOwnPostgres, type PostgresServer } from '../support/postgres.js';
import { startServer, temporaryFolder, type ServerProcess } from '../support/server.js';

/** The database has a small disk of its own. Only root can mount it. */

const MEGABYTES = 96;
const { folder, remove } = temporaryFolder();
const ballast = path.join(folder, 'ballast');
let postgres: PostgresServer;
let server: ServerProcess;
let mounted = false;

beforeAll(async () => {
  postgres = await startOwnPostgres();
  execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${MEGABYTES}m`, 'tmpfs', folder]);
  mounted = true;
  // Postgres runs as the user nobody.
  chownSync(folder, 65_534, 65_534);
  const admin = new pg.Client({ connectionString: postgres.url });
  await admin.connect();
  await admin.query(`CREATE TABLESPACE small LOCATION '${folder}'`);
  await admin.query('CREATE DATABASE small TABLESPACE small');
  await admin.end();
  const url = new URL(postgres.url);
  url.pathname = '/small';
  server = await startServer({ DATABASE_URL: url.href, OPERATOR_KEY });
});
afterAll(async () => {
  await server?.stop();
  await postgres?.stop();
  if (mounted) execFileSync('umount', [folder]);
  remove();
});

function fill(): void {
  const file = openSync(ballast, 'w');
  try {
    for (const block = Buffer.alloc(65_536, 1); ;) writeSync(file, block);
  } catch (error) {
    expect((error as NodeJS.ErrnoException).code).toBe('ENOSPC');
  } finally {
    closeSync(file);
  }
}

const ready = async (): Promise<{ status: number; missing: string[] }> => {
  const response = await fetch(`${server.url}/health/ready`);
  const { missing = [] } = (await response.json()) as { missing?: string[] };
  return { status: response.status, missing };
};

test('a full disk is told as such, to those who send and to who asks for its health, and is over by itself', async () => {
  const key = await createProject(server.url);
  // A text that Postgres cannot compress.
  const noise = () => Array.from({ length: 2_000 }, () => Math.random().toString(36)).join('');
  const send = async (): Promise<unknown> => {
    const { data, errors, status } = await post(
      server.url,
      key,
      'mutation ($events: [EventInput!]!) { ingestEvents(events: $events) { results { status } } }',
      { events: [{ user: { identity: 'ada' }, data: { noise: noise() } }] },
    );
    return data ? data.ingestEvents.results[0].status : [status, errors![0]!.extensions['code']];
  };
  let accepted = 0;
  const count = async (): Promise<number> =>
    (await post(server.url, key, '{ events { totalCount } }')).data.events.totalCount;

  expect([await send(), (await ready()).status]).toEqual(['ACCEPTED', 200]);
  accepted += 1;
  fill();
  let answer: unknown;
  for (answer = await send(); answer === 'ACCEPTED'; answer = await send()) accepted += 1;
  expect(answer).toEqual([503, 'UNAVAILABLE']);
  // /health/ready may repeat an answer for a second.
  await eventually(async () => (await ready()).status === 503);
  expect(await ready()).toMatchObject({ status: 503, missing: ['disk'] });
  // Reads still work.
  expect(await count()).toBe(accepted);

  rmSync(ballast);
  await eventually(async () => (await ready()).missing.length === 0);
  expect([await send(), (await ready()).status]).toEqual(['ACCEPTED', 200]);
  expect(await count()).toBe(accepted + 1);
});
