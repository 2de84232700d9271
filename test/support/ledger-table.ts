import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';

/** Shows what the tests have recorded (ledger.ts) as one table at the end of the run. */
export default function setup(): () => void {
  const folder = mkdtempSync(path.join(tmpdir(), 'footsteps-ledger-'));
  const file = process.env['FOOTSTEPS_LEDGER'] ?? path.join(folder, 'ledger');
  // Test processes are started later, and inherit it.
  process.env['FOOTSTEPS_LEDGER'] = file;
  return () => {
    let text = '';
    try {
      text = readFileSync(file, 'utf8');
    } catch {
      // Nothing was recorded.
    }
    rmSync(folder, { recursive: true });
    const rows = text
      .split('\n')
      .filter((line) => line !== '')
      .map((line) => JSON.parse(line) as { name: string; count: number })
      .toSorted((a, b) => (a.name < b.name ? -1 : 1));
    if (rows.length === 0) return;
    const width = Math.max(...rows.map(({ name }) => name.length));
    const lines = rows.map(({ name, count }) => `  ${name.padEnd(width)}  ${count.toLocaleString('en').padStart(12)}`);
    process.stdout.write(`\nWhat was tried, and what came of it:\n\n${lines.join('\n')}\n\n`);
  };
}
