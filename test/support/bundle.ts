import path from 'node:path';
import { build, type Alias } from 'vite';
import { ROOT } from './server.js';

/**
 * Bundles a program as a site would, minified. `source`: its text, with JSX; it may import whatever is installed here, and
 * `footsteps/client` and `footsteps/react` from their sources. `alias`: other packages in the place of some.
 */
export async function bundle(source: string, alias: Record<string, string> = {}): Promise<string> {
  const aliases: Alias[] = [
    { find: 'footsteps/client', replacement: path.join(ROOT, 'src/client/client.ts') },
    { find: 'footsteps/react', replacement: path.join(ROOT, 'src/client/react.ts') },
    ...Object.entries(alias).map(([find, replacement]) => ({ find: new RegExp(`^${find}(?=/|$)`), replacement })),
  ];
  const entry = path.join(ROOT, 'test/program.jsx');
  const built = await build({
    configFile: false,
    logLevel: 'silent',
    root: ROOT,
    define: { 'process.env.NODE_ENV': '"development"' },
    resolve: { alias: aliases },
    plugins: [
      { name: 'program', resolveId: (id) => (id === entry ? id : null), load: (id) => (id === entry ? source : null) },
    ],
    build: { write: false, target: 'es2022', modulePreload: false, rollupOptions: { input: entry } },
  });
  const [{ output }] = (Array.isArray(built) ? built : [built]) as [{ output: { code?: string }[] }];
  return output[0]!.code!;
}
