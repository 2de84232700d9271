import { appendFileSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';

/** Adds a line of JSON to the file that the environment variable `variable` names, if it names one. All tests share the file. */
export function note(variable: string, value: object): void {
  const file = process.env[variable];
  if (file) appendFileSync(file, `${JSON.stringify(value)}\n`);
}

/**
 * Makes that file, unless the variable names one already. Test processes start later and inherit the variable. Returns a
 * function that reads all lines, to be called once at the end of the run.
 */
export function openNotes<Note>(variable: string): () => Note[] {
  const folder = mkdtempSync(path.join(tmpdir(), 'footsteps-notes-'));
  const file = (process.env[variable] ??= path.join(folder, 'notes'));
  return () => {
    let text = '';
    try {
      text = readFileSync(file, 'utf8');
    } catch {
      // No line was written.
    }
    rmSync(folder, { recursive: true });
    return text
      .split('\n')
      .filter((line) => line !== '')
      .map((line) => JSON.parse(line) as Note);
  };
}
