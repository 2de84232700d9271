import { execFile } from 'node:child_process';
import { cp, mkdir, mkdtemp, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { expect, test } from 'vitest';

const run = promisify(execFile);
const ROOT = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '../..');

/** For each room an import that climbs, one of a driver, and those between rooms that stand apart. */
const VIOLATIONS: [file: string, imported: string][] = [
  ['src/domain/a.ts', '../services/ingest.js'],
  ['src/domain/b.ts', '../errors.js'],
  ['src/domain/c.ts', 'pg'],
  ['src/store/a.ts', '../services/ingest.js'],
  ['src/store/b.ts', 'pg'],
  ['src/services/a.ts', '../schema/schema.js'],
  ['src/services/b.ts', '../adapters/postgres.js'],
  ['src/services/c.ts', 'ioredis'],
  ['src/schema/a.ts', '../transport/server.js'],
  ['src/schema/b.ts', '../adapters/log.js'],
  ['src/transport/a.ts', '../store/sessions.js'],
  ['src/transport/collector/b.ts', '../../store/sessions.js'],
  ['src/transport/c.ts', 'pino'],
  ['src/adapters/a.ts', '../transport/server.js'],
  ['src/main.ts', './services/ingest.js'],
  ['src/dashboard/a.ts', '../schema/schema.js'],
  ['src/dashboard/b.ts', 'pg'],
  ['src/client/a.ts', '../schema/schema.js'],
  ['src/client/b.ts', 'graphql'],
  ['src/demo/a.ts', '../services/ingest.js'],
  ['src/services/d.ts', './ingest/ingest.js'],
  ['src/services/ingest/a.ts', '../presence/watch-presence.js'],
  ['src/services/ingest/b.ts', '../../adapters/postgres/postgres.js'],
  ['src/services/presence/a.ts', '../ingest/ingest.js'],
  ['src/services/live/a.ts', '../presence/watch-presence.js'],
  ['src/services/access/a.ts', '../projects/projects.js'],
  ['src/services/projects/a.ts', '../live/watch-live.js'],
  ['src/services/upkeep/a.ts', '../ingest/closer.js'],
  ['src/store/c.ts', './sessions/events.js'],
  ['src/store/access/a.ts', '../projects/projects.js'],
  ['src/store/presence/a.ts', '../ingest/ingest-reads.js'],
  ['src/store/sessions/a.ts', '../ingest/ingest-reads.js'],
  ['src/store/ingest/a.ts', '../access/api-keys.js'],
  ['src/store/ingest/b.ts', 'pg'],
  ['src/store/upkeep/a.ts', '../sessions/events.js'],
  ['src/transport/http/a.ts', '../graphql/graphql.js'],
  ['src/transport/graphql/a.ts', '../websocket/websocket.js'],
  ['src/transport/collector/d.ts', '../websocket/websocket.js'],
  ['src/adapters/redis/a.ts', '../postgres/postgres.js'],
];

const ALLOWED: [file: string, imported: string][] = [
  ['src/domain/z.ts', './event.js'],
  ['src/store/z.ts', '../domain/event.js'],
  ['src/services/z.ts', '../store/sessions.js'],
  ['src/schema/z.ts', '../store/sessions.js'],
  ['src/transport/z.ts', '../schema/schema.js'],
  ['src/adapters/z.ts', '../services/bus.js'],
  ['src/dashboard/z.ts', './format'],
  ['src/client/y.ts', 'react'],
  ['src/client/z.ts', './generated/operations.js'],
  ['src/demo/z.ts', '../app.js'],
  ['src/services/ingest/z.ts', '../publish-changes.js'],
  ['src/services/presence/z.ts', '../../store/ingest/ingest-reads.js'],
  ['src/services/projects/z.ts', '../access/audit.js'],
  ['src/store/ingest/z.ts', '../sessions/event-columns.js'],
  ['src/store/upkeep/z.ts', '../ingest/close-sessions.js'],
  ['src/transport/websocket/z.ts', '../graphql/graphql.js'],
  ['src/adapters/redis/z.ts', '../../services/bus.js'],
];

test('the import rules hold every room to what it may import, type imports too', async () => {
  const folder = await mkdtemp(path.join(tmpdir(), 'footsteps-lint-'));
  try {
    await cp(path.join(ROOT, '.oxlintrc.json'), path.join(folder, '.oxlintrc.json'));
    for (const [file, imported] of [...VIOLATIONS, ...ALLOWED]) {
      await mkdir(path.dirname(path.join(folder, file)), { recursive: true });
      await writeFile(
        path.join(folder, file),
        `import type * as imported from '${imported}';\nexport type Used = typeof imported;\n`,
      );
    }
    const oxlint = path.join(ROOT, 'node_modules/.bin/oxlint');
    const output = await run(oxlint, ['-f', 'unix'], { cwd: folder }).then(
      ({ stdout }) => stdout,
      (error: { stdout: string }) => error.stdout,
    );
    const refused = new Set(
      output
        .split('\n')
        .filter((line) => line.includes('no-restricted-imports'))
        .map((line) => line.split(':')[0]!),
    );
    expect([...refused].toSorted()).toEqual(VIOLATIONS.map(([file]) => file).toSorted());
  } finally {
    await rm(folder, { recursive: true, force: true });
  }
});
