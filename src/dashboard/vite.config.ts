import { promises as fs } from 'node:fs';
import path from 'node:path';
import { promisify } from 'node:util';
import { brotliCompress, constants, gzip } from 'node:zlib';
import react from '@vitejs/plugin-react';
import { defineConfig, type Plugin } from 'vite';
import { PLACES } from './places.ts';

const OUT = path.resolve(import.meta.dirname, '../../dist/dashboard');

/** Writes a .br and a .gz file beside every file. So the server never compresses a file itself. */
const precompress = (): Plugin => ({
  name: 'precompress',
  async closeBundle() {
    const files = await fs.readdir(OUT, { recursive: true, withFileTypes: true });
    await Promise.all(
      files
        .filter((file) => file.isFile() && /\.(html|js|css|svg)$/.test(file.name))
        .map(async (file) => {
          const name = path.join(file.parentPath, file.name);
          const bytes = await fs.readFile(name);
          const quality = { params: { [constants.BROTLI_PARAM_QUALITY]: 9 } };
          await fs.writeFile(`${name}.br`, await promisify(brotliCompress)(bytes, quality));
          await fs.writeFile(`${name}.gz`, await promisify(gzip)(bytes, { level: 9 }));
        }),
    );
  },
});

/** Writes places.json, from which the server reads the paths of the dashboard. */
const tellPlaces = (): Plugin => ({
  name: 'tell-places',
  generateBundle() {
    const paths = PLACES.map(({ path }) => path);
    this.emitFile({ type: 'asset', fileName: 'places.json', source: JSON.stringify(paths) });
  },
});

export default defineConfig({
  root: import.meta.dirname,
  plugins: [react(), tellPlaces(), precompress()],
  // No asset becomes a data: address, because the Content-Security-Policy forbids those.
  build: { outDir: OUT, emptyOutDir: true, assetsInlineLimit: 0, reportCompressedSize: false, target: 'es2023' },
});
