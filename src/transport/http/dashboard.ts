import { existsSync, readdirSync, readFileSync } from 'node:fs';
import type { IncomingMessage, ServerResponse } from 'node:http';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { checkMethod, READING } from './methods.js';
import { answerFile, staticFile, type StaticFile } from './static-file.js';

/**
 * The folder to which `npm run build` writes the page. The built server and a server that runs from its sources use the
 * same one.
 */
const FOLDER = fileURLToPath(new URL('../../../dist/dashboard/', import.meta.url));

/** The file with the page's own paths, from dashboard/places.ts. A path that ends with `/*` stands for all paths below it. */
const PLACES = 'places.json';

const TYPES: Record<string, string> = {
  '.html': 'text/html; charset=utf-8',
  '.js': 'text/javascript; charset=utf-8',
  '.css': 'text/css; charset=utf-8',
  '.svg': 'image/svg+xml',
};

/** The Content-Security-Policy: the page may run only its own scripts and may connect only to its own server. */
const POLICY = [
  "default-src 'none'",
  "script-src 'self'",
  "style-src 'self'",
  "img-src 'self'",
  "connect-src 'self'",
  "base-uri 'none'",
  "form-action 'none'",
  "frame-ancestors 'none'",
  "require-trusted-types-for 'script'",
].join('; ');

function read(file: string): StaticFile {
  const isHashed = path.basename(path.dirname(file)) === 'assets';
  const packed = new Map<string, Buffer>();
  for (const [coding, ending] of [
    ['br', '.br'],
    ['gzip', '.gz'],
  ] as const) {
    if (existsSync(file + ending)) packed.set(coding, readFileSync(file + ending));
  }
  const headers = {
    'Content-Type': TYPES[path.extname(file)] ?? 'application/octet-stream',
    'Cache-Control': isHashed ? 'public, max-age=31536000, immutable' : 'no-cache',
    'Content-Security-Policy': POLICY,
  };
  return staticFile(readFileSync(file), packed, headers);
}

/** The files of the page, by their URL path. Empty if the page was not built. */
function readAll(): Map<string, StaticFile> {
  if (!existsSync(FOLDER)) return new Map();
  return new Map(
    readdirSync(FOLDER, { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile() && path.extname(entry.name) in TYPES)
      .map((entry) => path.join(entry.parentPath, entry.name))
      .map((file) => [`/${path.relative(FOLDER, file).split(path.sep).join('/')}`, read(file)]),
  );
}

/**
 * Returns a function that tells whether a path is one of the page's own. A reload of such a path gets the page, which then
 * shows the right place.
 */
function readPlaces(): (pathname: string) => boolean {
  const file = FOLDER + PLACES;
  const paths: string[] = existsSync(file) ? JSON.parse(readFileSync(file, 'utf8')) : [];
  const exact = new Set(paths);
  const above = paths.filter((one) => one.endsWith('/*')).map((one) => one.slice(0, -1));
  return (pathname) => exact.has(pathname) || above.some((start) => pathname.startsWith(start));
}

export interface Dashboard {
  /**
   * Answers a request for the page or for one of its files. A browser that asks for an unknown page gets the page with status
   * 404. Returns false, and does not answer, for any other request. Throws METHOD_NOT_ALLOWED.
   */
  answer(request: IncomingMessage, response: ServerResponse, pathname: string): boolean;
}

/**
 * Serves the web page from memory, with the compressed files of the build. The files are read only once, so a slow reader or a
 * broken connection holds no file open. CONTRIBUTING.md says why no library serves the page.
 */
export function createDashboard(): Dashboard {
  const files = readAll();
  const page = files.get('/index.html');
  const isPlace = readPlaces();
  return {
    answer(request, response, pathname) {
      const found = files.get(pathname) ?? (isPlace(pathname) ? page : undefined);
      if (found) checkMethod(request, READING);
      const opens = READING.includes(request.method!) && request.headers.accept?.includes('text/html');
      const file = found ?? (opens ? page : undefined);
      if (!file) return false;
      answerFile(request, response, file, found ? 200 : 404);
      return true;
    },
  };
}
