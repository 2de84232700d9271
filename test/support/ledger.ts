import { note } from './run-notes.js';

/**
 * Records a figure of what a test tried or found. It prints a line, and if FOOTSTEPS_LEDGER names a file, it adds a line
 * of JSON to that file, so that the figures of all tests can be printed as one table.
 */
export function record(name: string, count: number): void {
  process.stdout.write(`promise: ${name}: ${count}\n`);
  note('FOOTSTEPS_LEDGER', { name, count });
}
