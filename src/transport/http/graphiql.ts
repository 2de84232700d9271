import { createHash } from 'node:crypto';
import { promisify } from 'node:util';
import { gzip } from 'node:zlib';
import { introspectionFromSchema, type GraphQLSchema } from 'graphql';
import { staticFile, type StaticFile } from './static-file.js';

/**
 * GraphiQL stores the headers, and so the key, together with the queries and the history. This script gives it the storage of
 * the tab: a reload keeps everything, and closing the tab deletes everything.
 */
const KEEP_IN_TAB = `Object.defineProperty(window, 'localStorage', { value: window.sessionStorage });`;

const [BEFORE_THE_SCRIPT, AFTER_THE_SCRIPT] = ['<script>', '</script>'];

/**
 * The whole page of GraphiQL, and its only script. The page contains the schema, so its docs need no key. Its subscriptions
 * are server-sent events, because these send the headers; a WebSocket of a browser cannot.
 */
async function render(schema: GraphQLSchema): Promise<{ page: string; script: string }> {
  // The module has 9 MB. Only a request for the page loads it.
  const { renderGraphiQL } = await import('@graphql-yoga/render-graphiql');
  const options = {
    title: 'Footsteps',
    subscriptionsProtocol: 'SSE' as const,
    headers: JSON.stringify({ Authorization: 'Bearer YOUR_KEY' }, null, 2),
    defaultQuery: '# Put a key into the headers below, then run this.\n{\n  project {\n    name\n  }\n}\n',
    // This is an option of GraphiQL that is missing in Yoga's types.
    schema: introspectionFromSchema(schema, { inputValueDeprecation: true }),
  };
  const page = renderGraphiQL(options);
  const begin = page.indexOf(BEFORE_THE_SCRIPT) + BEFORE_THE_SCRIPT.length;
  const end = page.indexOf(AFTER_THE_SCRIPT, begin);
  const script = KEEP_IN_TAB + page.slice(begin, end);
  return { page: page.slice(0, begin) + script + page.slice(end), script };
}

/**
 * The Content-Security-Policy: only this script may run, and it may connect only to its own server. GraphiQL's editor makes
 * workers from texts, and styles at run time. Its fonts and icons are in the page.
 */
const policyOf = (script: string): string =>
  [
    "default-src 'none'",
    `script-src 'sha256-${createHash('sha256').update(script).digest('base64')}'`,
    'worker-src blob:',
    "style-src 'unsafe-inline'",
    'img-src data:',
    'font-src data:',
    "connect-src 'self'",
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
  ].join('; ');

/**
 * Returns a function that returns the page. The first call makes and compresses it (9 MB, 2 MB compressed); later calls
 * reuse it. The page loads nothing from other servers.
 */
export function createGraphiQL(schema: GraphQLSchema): () => Promise<StaticFile> {
  async function make(): Promise<StaticFile> {
    const { page, script } = await render(schema);
    const plain = Buffer.from(page);
    const packed = new Map([['gzip', await promisify(gzip)(plain)]]);
    return staticFile(plain, packed, {
      'Content-Type': 'text/html; charset=utf-8',
      'Cache-Control': 'no-cache',
      'Content-Security-Policy': policyOf(script),
    });
  }

  let made: Promise<StaticFile> | null = null;
  return () => (made ??= make());
}
