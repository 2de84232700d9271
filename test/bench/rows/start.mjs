// Row 10: the time from the start of the process until it is ready, with an existing database.
import { chmodSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { startEmbeddedPostgres } from '../../../dist/adapters/postgres/embedded-postgres.js';
import { startFootsteps } from '../processes.mjs';

const seconds = (start) => (performance.now() - start) / 1_000;

export async function cold({ rounds }) {
  const folder = mkdtempSync(path.join(tmpdir(), 'footsteps-start-'));
  chmodSync(folder, 0o755);
  const run = async () => {
    const start = performance.now();
    const footsteps = await startFootsteps('', { DATA_DIR: folder, OPERATOR_KEY: '' });
    // The server prints its address when it listens.
    const took = seconds(start);
    await footsteps.stop();
    return took;
  };
  const runPostgres = async () => {
    const start = performance.now();
    const postgres = await startEmbeddedPostgres({ dataDir: folder, observe: () => {} });
    const took = seconds(start);
    await postgres.stop();
    return took;
  };
  await run();
  const ours = [];
  const theirs = [];
  for (let round = 0; round < rounds; round += 1) {
    ours.push(await run());
    theirs.push(await runPostgres());
  }
  rmSync(folder, { recursive: true, force: true });
  const more = ours.map((value, at) => value - theirs[at]).toSorted((a, b) => a - b);
  // The result is a difference in seconds.
  return [{ row: '10', work: 'cold start to ready', unit: 's', beside: 'Postgres alone (difference in s)', ours, theirs, ratio: more[Math.floor(more.length / 2)], smaller: true, reach: 1.5 }];
}
