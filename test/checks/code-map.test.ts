import { existsSync, readdirSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';

const ROOT = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '../..');
const SRC = path.join(ROOT, 'src');

/** Every file and folder below src/, relative to src/, without generated code. */
const paths = readdirSync(SRC, { recursive: true, encoding: 'utf8' })
  .map((found) => found.replaceAll(path.sep, '/'))
  .filter((found) => !found.includes('generated'));
/** The source files that must be named: all but the programs that the map describes as a whole. */
const sources = paths.filter((found) => found.endsWith('.ts') && !/^(dashboard|demo)\//.test(found));

/** A path between backticks: a folder (with a slash at its end), or a file with one of these endings. */
const NAMED = /`((?:[\w.-]+\/)*(?:[\w-]+\/|\.?[\w-]+(?:\.[\w-]+)*\.(?:tsx?|mjs|md|json|css|sql|graphql)))`/g;

interface Named {
  readonly line: number;
  readonly text: string;
  /** What the text may mean, relative to src/. Empty: nothing that exists. */
  readonly found: readonly string[];
}

/**
 * The paths that a README names. `folder` is the README's own. The folder of a path carries over to the bare names after it on
 * the same line. A bare name without such a folder means any file of that name.
 */
function namedIn(folder: string): Named[] {
  const lines = readFileSync(path.join(SRC, folder, 'README.md'), 'utf8').split('\n');
  return lines.flatMap((line, at) => {
    let carried = folder;
    return [...line.matchAll(NAMED)].map(([, text]): Named => {
      const name = text!;
      const exists = (base: string): boolean => existsSync(path.join(SRC, base, name));
      const base = [carried, folder, '', '..'].find(exists);
      if (base !== undefined) {
        const full = path.posix.join(base, name);
        carried = name.endsWith('/') ? full : path.posix.dirname(full);
        return { line: at + 1, text: name, found: [full] };
      }
      return {
        line: at + 1,
        text: name,
        found: paths.filter((one) => `${one}/`.endsWith(`/${name.replace(/\/?$/, '/')}`)),
      };
    });
  });
}

const READMES = [
  '.',
  ...paths.filter((found) => found.endsWith('/README.md')).map((found) => path.posix.dirname(found)),
];

test('every path that the code map or the README of a room names exists', () => {
  const missing = READMES.flatMap((folder) =>
    namedIn(folder)
      .filter(({ found }) => found.length === 0)
      .map(({ line, text }) => `${folder}/README.md:${line} ${text}`),
  );
  expect(missing).toEqual([]);
});

test('every source file is named in the code map or in the README of its room', () => {
  const named = new Set<string>();
  for (const folder of READMES) {
    // A name that several files have names none of them: it needs its folder.
    for (const { found } of namedIn(folder)) if (found.length === 1) named.add(found[0]!);
  }
  expect(sources.filter((file) => !named.has(file))).toEqual([]);
});
