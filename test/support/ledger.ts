import { appendFileSync } from 'node:fs';

/** Says a figure of a test, and adds it to the file that FOOTSTEPS_LEDGER names. */
export function record(name: string, count: number): void {
  const file = process.env['FOOTSTEPS_LEDGER'];
  if (file) appendFileSync(file, `${JSON.stringify({ name, count })}\n`);
  console.log(`${name}: ${count}`);
}
