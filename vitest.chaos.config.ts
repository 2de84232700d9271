import { defineConfig, mergeConfig } from 'vitest/config';
import base from './vitest.config.js';

/** Faults under load, one file at a time: each starts and kills servers, a Postgres and a Redis of its own. */
export default mergeConfig(
  {
    ...base,
    test: {
      ...base.test,
      globalSetup: ['test/support/missing-programs.ts', 'test/support/ledger-table.ts'],
      include: [],
    },
  },
  defineConfig({
    test: {
      include: ['test/chaos/*.chaos.ts'],
      fileParallelism: false,
      testTimeout: 180_000,
      hookTimeout: 60_000,
    },
  }),
);
