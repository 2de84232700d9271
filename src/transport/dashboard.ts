import { createHash } from 'node:crypto';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import type { IncomingMessage, ServerResponse } from 'node:http';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

/** Where `npm run build` puts the page: the same place for the built server and for one that runs from its sources. */
const FOLDER = fileURLToPath(new URL('../../dist/dashboard/', import.meta.url));

/** The page's own places: a reload of any of them gives the page, which then shows the right one. */
const PLACE = /^\/(?:$|online$|project$|sessions(?:\/|$)|users\/)/;

const TYPES: Record<string, string> = {
  '.html': 'text/html; charset=utf-8',
  '.js': 'text/javascript; charset=utf-8',
  '.css': 'text/css; charset=utf-8',
  '.svg': 'image/svg+xml',
};

/** The page runs its own scripts and speaks to its own server, and that is all. */
const SAFETY = {
  'Content-Security-Policy': [
    "default-src 'none'",
    "script-src 'self'",
    "style-src 'self'",
    "img-src 'self'",
    "connect-src 'self'",
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
    "require-trusted-types-for 'script'",
  ].join('; '),
  'X-Content-Type-Options': 'nosniff',
  'Referrer-Policy': 'no-referrer',
  'Cross-Origin-Opener-Policy': 'same-origin',
};

interface Served {
  readonly headers: Readonly<Record<string, string>>;
  readonly etag: string;
  readonly plain: Buffer;
  /** By content coding, the smallest first. */
  readonly packed: ReadonlyMap<string, Buffer>;
}

function read(file: string): Served {
  const plain = readFileSync(file);
  const isHashed = path.basename(path.dirname(file)) === 'assets';
  const packed = new Map<string, Buffer>();
  for (const [coding, ending] of [
    ['br', '.br'],
    ['gzip', '.gz'],
  ] as const) {
    if (existsSync(file + ending)) packed.set(coding, readFileSync(file + ending));
  }
  return {
    headers: {
      'Content-Type': TYPES[path.extname(file)] ?? 'application/octet-stream',
      'Cache-Control': isHashed ? 'public, max-age=31536000, immutable' : 'no-cache',
      Vary: 'Accept-Encoding',
      ...SAFETY,
    },
    etag: `"${createHash('sha256').update(plain).digest('base64url').slice(0, 22)}"`,
    plain,
    packed,
  };
}

/** The files of the page by their paths in the address; none where it was not built. */
function readAll(): Map<string, Served> {
  if (!existsSync(FOLDER)) return new Map();
  return new Map(
    readdirSync(FOLDER, { recursive: true, withFileTypes: true })
      .filter((entry) => entry.isFile() && path.extname(entry.name) in TYPES)
      .map((entry) => path.join(entry.parentPath, entry.name))
      .map((file) => [`/${path.relative(FOLDER, file).split(path.sep).join('/')}`, read(file)]),
  );
}

/** The codings that a client takes; one that it gives no weight it does not take. */
const accepted = (header: string | string[] | undefined): Set<string> =>
  new Set(
    String(header ?? '')
      .toLowerCase()
      .split(',')
      .filter((part) => !/;\s*q=0(\.0*)?\s*$/.test(part))
      .map((part) => part.split(';')[0]!.trim()),
  );

export interface Dashboard {
  /**
   * Answers a request for the page or one of its files, and a browser that looks for a page where there is none: the
   * page says so. False for anything else.
   */
  answer(request: IncomingMessage, response: ServerResponse, pathname: string): boolean;
}

/** The web page, read once and served from memory, packed as it was at the build. */
export function createDashboard(): Dashboard {
  const files = readAll();
  const page = files.get('/index.html');
  return {
    answer(request, response, pathname) {
      if (request.method !== 'GET' && request.method !== 'HEAD') return false;
      const found = files.get(pathname) ?? (PLACE.test(pathname) ? page : undefined);
      const file = found ?? (request.headers.accept?.includes('text/html') ? page : undefined);
      if (!file) return false;
      const headers = { ...file.headers, ETag: file.etag };
      if (found && request.headers['if-none-match'] === file.etag) {
        response.writeHead(304, headers);
        response.end();
        return true;
      }
      const takes = accepted(request.headers['accept-encoding']);
      const coding = [...file.packed.keys()].find((one) => takes.has(one));
      const body = coding ? file.packed.get(coding)! : file.plain;
      response.writeHead(found ? 200 : 404, {
        ...headers,
        'Content-Length': body.length,
        ...(coding ? { 'Content-Encoding': coding } : {}),
      });
      response.end(request.method === 'HEAD' ? undefined : body);
      return true;
    },
  };
}
