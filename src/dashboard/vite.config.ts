import { promises as fs } from 'node:fs';
import path from 'node:path';
import { promisify } from 'node:util';
import { brotliCompress, constants, gzip } from 'node:zlib';
import react from '@vitejs/plugin-react';
import { defineConfig, type Plugin } from 'vite';

const OUT = path.resolve(import.meta.dirname, '../../dist/dashboard');

/** Writes a .br and a .gz beside every file, so that the server compresses nothing itself. */
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

export default defineConfig({
  root: import.meta.dirname,
  plugins: [react(), precompress()],
  // Files of their own rather than data: addresses, which the content security policy forbids.
  build: { outDir: OUT, emptyOutDir: true, assetsInlineLimit: 0, reportCompressedSize: false, target: 'es2023' },
});
