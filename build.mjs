import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';

/**
 * `node build.mjs` builds `dist`: the server and the dashboard, which run with the production dependencies alone.
 * `node build.mjs --if-changed`, before `npm start`, does so only where `dist` was built from other sources than are
 * here, so that what is built starts without the tools, and in a folder that its user may not write.
 */

/** All that `dist` is made of. */
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
/** Made by the build itself. */
const GENERATED = /^src\/(store|dashboard)\/generated(\/|$)/;
/** Says what `dist` was built from. */
const STAMP = 'dist/.sources';

function filesOf(source) {
  if (GENERATED.test(source) || !existsSync(source)) return [];
  if (!statSync(source).isDirectory()) return [source];
  return readdirSync(source)
    .toSorted()
    .flatMap((name) => filesOf(`${source}/${name}`));
}

/** By content: times do not survive a copy. */
function hashSources() {
  const hash = createHash('sha256');
  for (const file of SOURCES.flatMap(filesOf)) hash.update(`${file}\0`).update(readFileSync(file)).update('\0');
  return hash.digest('hex');
}

function build(sources) {
  try {
    mkdirSync('dist', { recursive: true });
    // Until all of it is built again it is of no known sources.
    writeFileSync(STAMP, '');
  } catch (error) {
    return `Footsteps cannot be built here (${error.message}). Build it as the user whose folder it is: npm run build.`;
  }
  try {
    execFileSync('npm', ['run', '--silent', 'compile'], { stdio: 'inherit' });
  } catch {
    return 'Footsteps could not be built; the reason is above.';
  }
  writeFileSync(STAMP, sources);
  return null;
}

function buildIfChanged() {
  // What was deployed without its sources is what it is.
  if (!existsSync('src')) return null;
  const sources = hashSources();
  if (existsSync(STAMP) && readFileSync(STAMP, 'utf8') === sources) return null;
  // One of the tools that nothing else brings with it.
  if (existsSync('node_modules/vite')) return build(sources);
  return 'Footsteps is not built from these sources, and the tools for it are not installed: npm ci && npm run build.';
}

const problem = process.argv.includes('--if-changed') ? buildIfChanged() : build(hashSources());
if (problem !== null) {
  console.error(problem);
  process.exitCode = 1;
}
