import { EmbeddedPostgresError } from './adapters/postgres/postgres-programs.js';
import { GeographyError } from './adapters/maxmind.js';
import { BusError } from './adapters/redis/redis-bus.js';
import { ConfigError } from './config.js';
import { AppError } from './errors.js';
import { MigrationError } from './store/upkeep/migrate.js';

/** Explains why a start failed: a sentence if the operator can correct the cause, the stack of the error otherwise. */
export function explainFailure(error: unknown): string {
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
  // SQLSTATE: no access, no such database, too many connections, no right to create tables.
  if (/^(28|3D|53|42501)/.test(code ?? '')) {
    return `The database of DATABASE_URL refuses the server: ${error.message}.`;
  }
  if (code === 'EADDRINUSE') return `Port ${port} is taken already. Set PORT to another one, or 0 for any.`;
  if (syscall === 'listen' || syscall === 'getaddrinfo') {
    return `Cannot listen on ${hostname ?? `${address}:${port}`} (${code}). Set HOST and PORT to an address of this machine.`;
  }
  return error.stack ?? error.message;
}
