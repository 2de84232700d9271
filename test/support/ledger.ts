import { appendFileSync } from 'node:fs';

/**
 * Notes a figure of what a test tried or found: as a line of the run's output, and, where FOOTSTEPS_LEDGER names
 * a file, as a line of JSON in it, so that the figures of all tests can be shown as one table.
 */
export function record(name: string, count: number): void {
  process.stdout.write(`promise: ${name}: ${count}\n`);
  const file = process.env['FOOTSTEPS_LEDGER'];
  if (file) appendFileSync(file, `${JSON.stringify({ name, count })}\n`);
}
