import { openNotes } from './run-notes.js';

/** At the end of the run prints one line: which programs were missing, and how many test files failed because of it. */
export default function setup(): () => void {
  const read = openNotes<{ name: string; testFile: string | null }>('FOOTSTEPS_MISSING');
  return () => {
    const filesOf = new Map<string, Set<string>>();
    for (const { name, testFile } of read()) {
      const files = filesOf.get(name) ?? new Set();
      filesOf.set(name, testFile ? files.add(testFile) : files);
    }
    if (filesOf.size === 0) return;
    process.exitCode = 1;
    const parts = [...filesOf].map(([name, { size }]) => `${name} (${size} test file${size === 1 ? '' : 's'})`);
    process.stdout.write(
      `\nNot everything could be run here. Missing: ${parts.join(', ')}. Debian: apt-get install ${[...filesOf.keys()].join(' ')}\n\n`,
    );
  };
}
