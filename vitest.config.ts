import { createRequire } from 'node:module';
import { defineConfig } from 'vitest/config';

const require = createRequire(import.meta.url);

export default defineConfig({
  resolve: {
    // Source files and the libraries must share one copy of graphql ("another module or realm").
    alias: [{ find: /^graphql$/, replacement: require.resolve('graphql') }],
  },
  test: {
    pool: 'forks',
    // The files wait for processes and for Postgres half of their time, on two cores.
    maxWorkers: 3,
    globalSetup: ['test/support/missing-programs.ts', 'test/support/ledger-table.ts', 'test/support/global-setup.ts'],
    include: ['test/**/*.test.ts'],
    // Of a machine that others use too.
    testTimeout: 60_000,
    hookTimeout: 60_000,
  },
});
