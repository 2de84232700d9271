import { PrismaPg } from '@prisma/adapter-pg';
import type pg from 'pg';
import type { Observer } from '../../observation.js';
import type { Models, PrismaDatabase } from '../../store/database.js';
import { PrismaClient } from '../../store/generated/prisma/client.js';

/** How long a transaction waits for a connection: as long as the pool's other statements. Milliseconds. */
const MAX_WAIT = 5_000;
/** The longest time of a transaction. After it, the transaction is rolled back. Milliseconds. */
const TIMEOUT = 30_000;

/** The number of rows that an operation read or wrote, judged by its result. */
function rowsOf(result: unknown): number {
  if (Array.isArray(result)) return result.length;
  if (typeof result !== 'object' || result === null) return 0;
  return 'count' in result && typeof result.count === 'number' ? result.count : 1;
}

/**
 * Prisma on an existing pool. The pool must be new, because its connections get a setting when they open. `fail` makes
 * of an error the one that callers get. `settings`: a statement that runs first in each transaction; null: none.
 */
export function createPrisma(deps: {
  pool: pg.Pool;
  during: <Result>(work: () => Promise<Result>) => Promise<Result>;
  fail: (error: unknown) => unknown;
  observe: Observer;
  settings: string | null;
}): Pick<PrismaDatabase, 'prisma' | 'prismaTransaction' | 'close'> {
  const { pool, during, fail, observe, settings } = deps;
  // The driver adapter writes and reads instants without their zone, as if they were in UTC. PgBouncer keeps this
  // setting for each client.
  pool.on('connect', (connection) => void connection.query(`SET TimeZone = 'UTC'`).catch(() => {}));
  const client = new PrismaClient({ adapter: new PrismaPg(pool, { disposeExternalPool: false }) });

  async function run<Result>(
    models: Models,
    name: string,
    operation: (models: Models) => Promise<Result>,
  ): Promise<Result> {
    const start = performance.now();
    const result = await operation(models);
    observe({ kind: 'statement', name, milliseconds: performance.now() - start, rows: rowsOf(result) });
    return result;
  }

  return {
    async prisma(name, operation) {
      try {
        return await during(() => run(client, name, operation));
      } catch (error) {
        throw fail(error);
      }
    },
    async prismaTransaction(work) {
      try {
        return await during(() =>
          client.$transaction(
            async (models) => {
              if (settings !== null) await models.$queryRawUnsafe(settings);
              let failure: { readonly error: unknown } | null = null;
              const result = await work({
                async prisma(name, operation) {
                  try {
                    return await run(models, name, operation);
                  } catch (error) {
                    failure ??= { error };
                    throw error;
                  }
                },
              });
              // Postgres would answer the COMMIT with a ROLLBACK, and Prisma takes that for a success.
              if (failure) throw new Error('The transaction was rolled back because a statement in it had failed.');
              return result;
            },
            { maxWait: MAX_WAIT, timeout: TIMEOUT, isolationLevel: 'ReadCommitted' },
          ),
        );
      } catch (error) {
        throw fail(error);
      }
    },
    close: () => client.$disconnect(),
  };
}
