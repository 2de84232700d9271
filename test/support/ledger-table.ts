import { openNotes } from './run-notes.js';

/** Prints the figures of all tests (ledger.ts) as one table at the end of the run. */
export default function setup(): () => void {
  const read = openNotes<{ name: string; count: number }>('FOOTSTEPS_LEDGER');
  return () => {
    const rows = read().toSorted((a, b) => (a.name < b.name ? -1 : 1));
    if (rows.length === 0) return;
    const width = Math.max(...rows.map(({ name }) => name.length));
    const lines = rows.map(({ name, count }) => `  ${name.padEnd(width)}  ${count.toLocaleString('en').padStart(12)}`);
    process.stdout.write(`\nWhat was tried, and what came of it:\n\n${lines.join('\n')}\n\n`);
  };
}
