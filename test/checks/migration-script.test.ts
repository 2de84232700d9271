import { execFile } from 'node:child_process';
import { mkdir, mkdtemp, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, test } from 'vitest';

const run = promisify(execFile);
const ROOT = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '../..');

let folder: string;
beforeAll(async () => {
  folder = await mkdtemp(path.join(tmpdir(), 'footsteps-test-migration-'));
  await mkdir(path.join(folder, 'prisma/migrations'), { recursive: true });
  await writeFile(path.join(folder, 'prisma/schema.prisma'), await readFile(path.join(ROOT, 'prisma/schema.prisma')));
  await run('git', ['init', '-q'], { cwd: folder });
  await run('git', ['add', '.'], { cwd: folder });
  await run('git', ['-c', 'user.name=test', '-c', 'user.email=test@example.com', 'commit', '-qm', 'test'], {
    cwd: folder,
  });
});
afterAll(() => rm(folder, { recursive: true }));

const make = (...args: string[]) => run('node', [path.join(ROOT, 'migration.mjs'), ...args], { cwd: folder });

test('npm run migration writes the SQL of what was changed in schema.prisma, without a database or a network', async () => {
  await expect(make()).rejects.toMatchObject({ stderr: expect.stringContaining('npm run migration -- ') });
  await expect(make('../up')).rejects.toMatchObject({ stderr: expect.stringContaining('npm run migration -- ') });
  await expect(make('nothing')).rejects.toMatchObject({ stderr: expect.stringContaining('change it first') });
  const file = path.join(folder, 'prisma/schema.prisma');
  const schema = await readFile(file, 'utf8');
  await writeFile(file, schema.replace(/^model ApiKey \{$/m, '$&\n  note String? @map("note_of_it")'));
  await make('key_notes');
  const [made, ...others] = await readdir(path.join(folder, 'prisma/migrations'));
  expect(made).toMatch(/^20\d{12}_key_notes$/);
  expect(others).toEqual([]);
  const sql = await readFile(path.join(folder, 'prisma/migrations', made!, 'migration.sql'), 'utf8');
  expect(sql.replaceAll(/\s+/g, ' ').trim()).toBe('-- AlterTable ALTER TABLE "api_keys" ADD COLUMN "note_of_it" TEXT;');
});
