import { readdirSync, readFileSync } from 'node:fs';
import { defineConfig, mergeConfig } from 'vitest/config';
import base from './vitest.config.js';

/** What only a server, a database, a Redis, a browser or a real socket can give. */
const NEEDS_A_SERVER =
  /from '[./]*\/support\/(app|chromium|database|pgbouncer|postgres|redis|server|slow-line|stage)\.js'|\binject\(/;

/** The tests that need none of them: seconds, for while one works. */
const include = readdirSync('test', { recursive: true, encoding: 'utf8' })
  .filter((file) => file.endsWith('.test.ts'))
  .map((file) => `test/${file}`)
  .filter((file) => !NEEDS_A_SERVER.test(readFileSync(file, 'utf8')));

export default mergeConfig(
  { ...base, test: { ...base.test, globalSetup: [], include: [] } },
  defineConfig({ test: { include } }),
);
