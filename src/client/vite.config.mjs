import path from 'node:path';
import { defineConfig } from 'vite';

/** Builds the client as one script for a script tag: `footsteps` is then a global name. The server answers it at /client.js. */
export default defineConfig({
  root: import.meta.dirname,
  build: {
    outDir: path.resolve(import.meta.dirname, '../../dist/script'),
    emptyOutDir: true,
    reportCompressedSize: false,
    target: 'es2022',
    lib: { entry: 'client.ts', name: 'footsteps', formats: ['iife'], fileName: () => 'client.js' },
  },
});
