import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';

/**
 * `node build.mjs` builds `dist`: the server and the dashboard. To run them, the production dependencies are enough.
 * `node build.mjs --if-changed` runs before `npm start`. It builds only if the sources have changed since `dist` was
 * built. So a built server starts without the build tools, and in a folder that the user may not write to.
 */

/** Everything that `dist` is built from. */
const SOURCES = [
  'build.mjs',
  'codegen.ts',
  'package.json',
  'package-lock.json',
  'prisma.config.ts',
  'prisma',
  'schema.graphql',
  'src',
  'tsconfig.build.json',
  'tsconfig.json',
];
/** Files that the build itself makes. */
const GENERATED = /^src\/(store|dashboard|client)\/generated(\/|$)/;
/** This file contains the hash of the sources that `dist` was built from. */
const STAMP = 'dist/.sources';

function filesOf(source) {
  if (GENERATED.test(source) || !existsSync(source)) return [];
  if (!statSync(source).isDirectory()) return [source];
  return readdirSync(source)
    .toSorted()
    .flatMap((name) => filesOf(`${source}/${name}`));
}

/** The hash of all sources, by content: the times of files do not survive a copy. */
function hashSources() {
  const hash = createHash('sha256');
  for (const file of SOURCES.flatMap(filesOf)) hash.update(`${file}\0`).update(readFileSync(file)).update('\0');
  return hash.digest('hex');
}

function build(sources) {
  try {
    mkdirSync('dist', { recursive: true });
    // Until the build has finished, the sources of `dist` count as unknown.
    writeFileSync(STAMP, '');
  } catch (error) {
    return `Footsteps cannot be built here (${error.message}). Build it as the user who owns this folder: npm run build.`;
  }
  try {
    execFileSync('npm', ['run', '--silent', 'compile'], { stdio: 'inherit' });
  } catch {
    return 'Footsteps could not be built. The reason is above.';
  }
  writeFileSync(STAMP, sources);
  return null;
}

function buildIfChanged() {
  // `dist` was deployed without its sources, so there is nothing to build.
  if (!existsSync('src')) return null;
  const sources = hashSources();
  if (existsSync(STAMP) && readFileSync(STAMP, 'utf8') === sources) return null;
  // Vite is one of the build tools; no production dependency installs it.
  if (existsSync('node_modules/vite')) return build(sources);
  return 'Footsteps is not built from these sources, and the build tools are not installed. Run: npm ci && npm run build.';
}

const problem = process.argv.includes('--if-changed') ? buildIfChanged() : build(hashSources());
if (problem !== null) {
  console.error(problem);
  process.exitCode = 1;
}
