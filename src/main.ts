import { EmbeddedPostgresError } from './adapters/postgres-programs.js';
import { createLog } from './adapters/log.js';
import { BusError } from './adapters/redis-bus.js';
import { GeographyError } from './adapters/maxmind.js';
import { startApp, type App } from './app.js';
import { ConfigError, readConfig } from './config.js';
import { AppError } from './errors.js';
import { MigrationError } from './store/migrate.js';

/** Within the 10 seconds that process managers allow. */
const LONGEST_CLOSE = 9_500;

/** A line for a shell that sends `query` with `key`. */
const curl = (url: string, key: string, query: string): string =>
  `  curl ${url}/graphql -H 'Authorization: Bearer ${key}' -H 'Content-Type: application/json' -d '${JSON.stringify({ query })}'`;

/** What somebody who starts the server for the first time needs to see; later only where it listens. */
function greet({ url, made: { operatorKey, projectKey } }: App): void {
  const lines = ['', `Footsteps listens on ${url}  (dashboard: ${url}/, GraphiQL: ${url}/graphql)`, ''];
  if (operatorKey ?? projectKey) lines.push('Shown this once, so keep it:');
  if (operatorKey) lines.push(`  operator key  ${operatorKey}   makes projects`);
  if (projectKey) {
    const event = '{ type: "page view", source: "/", user: { identity: "ada@example.com" } }';
    lines.push(
      `  project key   ${projectKey}   of "My project", with every scope`,
      '',
      'Send a first event, then list the sessions:',
      curl(url, projectKey, `mutation { ingestEvents(events: [${event}]) { accepted } }`),
      curl(url, projectKey, '{ sessions { nodes { user { identity } startedAt eventCount } } }'),
    );
  }
  if (operatorKey ?? projectKey) lines.push('');
  process.stdout.write(lines.map((line) => `${line}\n`).join(''));
}

/** A start that fails for a reason somebody can mend says so in a sentence; anything else with all we know. */
function explain(error: unknown): string {
  if (error instanceof ConfigError || error instanceof EmbeddedPostgresError || error instanceof MigrationError)
    return error.message;
  if (error instanceof AppError && error.code === 'UNAVAILABLE') {
    const cause =
      error.cause instanceof Error ? error.cause.message || String((error.cause as { code?: string }).code) : '';
    return `The database of DATABASE_URL cannot be reached: ${cause}`;
  }
  if (error instanceof BusError || error instanceof GeographyError) return error.message;
  if (!(error instanceof Error)) return String(error);
  const { code, syscall, port, address, hostname } = error as NodeJS.ErrnoException & {
    port?: number;
    address?: string;
    hostname?: string;
  };
  // SQLSTATE: not let in, no such database, too many connections, not allowed to make tables.
  if (/^(28|3D|53|42501)/.test(code ?? '')) {
    return `The database of DATABASE_URL refuses: ${error.message}.`;
  }
  if (code === 'EADDRINUSE') return `Port ${port} is taken already. Set PORT to another one, or 0 for any.`;
  if (syscall === 'listen' || syscall === 'getaddrinfo') {
    return `Cannot listen on ${hostname ?? `${address}:${port}`} (${code}). Set HOST and PORT to an address of this machine.`;
  }
  return error.stack ?? error.message;
}

function fail(error: unknown): never {
  process.stderr.write(`Footsteps cannot start. ${explain(error)}\n`);
  process.exit(1);
}

async function main(): Promise<void> {
  const config = readConfig(process.env);
  const observe = createLog(config.logLevel);
  const starting = startApp(config, observe);
  let closing = false;
  for (const signal of ['SIGTERM', 'SIGINT'] as const) {
    process.on(signal, () => {
      // A second signal means: now.
      if (closing) process.exit(1);
      closing = true;
      setTimeout(() => process.exit(1), LONGEST_CLOSE).unref();
      starting
        .then((app) => app.close(signal))
        .then(
          () => process.exit(0),
          (error: unknown) => fail(error),
        );
    });
  }
  const app = await starting;
  greet(app);
}

main().catch(fail);
