import { existsSync, readFileSync } from 'node:fs';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { fileURLToPath } from 'node:url';
import { brotliCompressSync, constants, gzipSync } from 'node:zlib';
import { lexicographicSortSchema, printSchema, type GraphQLSchema } from 'graphql';
import { checkMethod, READING } from './methods.js';
import { answerFile, staticFile, type StaticFile } from './static-file.js';

/** The client as one script, which `npm run build` makes. Built and unbuilt servers use the same one. */
const SCRIPT = fileURLToPath(new URL('../../../dist/script/client.js', import.meta.url));

/** Some 30 kB of a script and 60 kB of a schema take 60 ms together at this quality. */
const QUALITY = { params: { [constants.BROTLI_PARAM_QUALITY]: 9 } };

function download(text: string, type: string): StaticFile {
  const plain = Buffer.from(text);
  const packed = new Map([
    ['br', brotliCompressSync(plain, QUALITY)],
    ['gzip', gzipSync(plain, { level: 9 })],
  ]);
  return staticFile(plain, packed, {
    'Content-Type': `${type}; charset=utf-8`,
    // A server of another version has another one, so every use asks again; the answer is mostly 304.
    'Cache-Control': 'no-cache',
    // Pages of any origin may use it. It holds no data.
    'Access-Control-Allow-Origin': '*',
    'Cross-Origin-Resource-Policy': 'cross-origin',
  });
}

export interface Downloads {
  /** Answers a request for one of the files. Returns false, and does not answer, for any other. Throws METHOD_NOT_ALLOWED. */
  answer(request: IncomingMessage, response: ServerResponse, pathname: string): boolean;
}

/**
 * What applications load from every server without a key: the client for a script tag (`/client.js`), and the schema for
 * tools (`/schema.graphql`). Both are made and compressed at the start.
 */
export function createDownloads(schema: GraphQLSchema): Downloads {
  const files = new Map([
    ['/schema.graphql', download(`${printSchema(lexicographicSortSchema(schema))}\n`, 'text/plain')],
  ]);
  if (existsSync(SCRIPT)) files.set('/client.js', download(readFileSync(SCRIPT, 'utf8'), 'text/javascript'));
  return {
    answer(request, response, pathname) {
      const file = files.get(pathname);
      if (!file) return false;
      checkMethod(request, READING);
      answerFile(request, response, file);
      return true;
    },
  };
}
