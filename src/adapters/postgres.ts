import { Socket } from 'node:net';
import { PrismaPg } from '@prisma/adapter-pg';
import pg from 'pg';
import { AppError } from '../errors.js';
import type { Observer } from '../observation.js';
import type { Database, Queryable, Statement } from '../store/database.js';
import { PrismaClient } from '../store/generated/prisma/client.js';
import { createSilenceWatch } from './postgres-silence.js';

export interface PostgresOptions {
  /** postgresql://user:password@host:port/database */
  url: string;
  /** Connections at most. */
  poolSize: number;
  observe: Observer;
  /**
   * For short statements of fixed text that find rows by index, thousands of times a second: their plans are made
   * once a connection, and neither a young table without statistics nor a large batch turns them into scans.
   */
  indexPlans?: boolean;
  /** The connections are a pooler's, lent for a transaction: see isPooled. */
  pooled?: boolean;
}

/** What Postgres itself must end, should a client forget to. */
const TIMEOUTS = { statement_timeout: 30_000, idle_in_transaction_session_timeout: 30_000 };

const INDEX_PLANS = {
  plan_cache_mode: 'force_generic_plan',
  enable_seqscan: 'off',
  enable_bitmapscan: 'off',
  enable_mergejoin: 'off',
  enable_material: 'off',
  enable_memoize: 'off',
};

/** Settings of a connection, from its first moment. */
const asOptions = (settings: object): string =>
  Object.entries(settings)
    .map(([name, value]) => `-c ${name}=${value}`)
    .join(' ');

/** Begins a transaction with settings of its own. */
const beginWith = (settings: object): string =>
  ['BEGIN', ...Object.entries(settings).map(([name, value]) => `SET LOCAL ${name} = '${value}'`)].join('; ');

const UTC = /^(\d{4}-\d\d-\d\d) (\d\d:\d\d:\d\d(?:\.\d+)?)\+00$/;
const TIMESTAMPTZ: number = pg.types.builtins.TIMESTAMPTZ;
const readTimestamp = pg.types.getTypeParser(TIMESTAMPTZ);

function readInstant(text: string): unknown {
  const parts = UTC.exec(text);
  return parts ? new Date(`${parts[1]}T${parts[2]}Z`) : readTimestamp(text);
}

/** As the driver reads values, but instants in UTC with the engine's own parser: they are most of what a page of events holds. */
const types: pg.CustomTypesConfig = {
  getTypeParser: (oid: number, format) =>
    (oid === TIMESTAMPTZ && format !== 'binary' ? readInstant : pg.types.getTypeParser(oid, format)) as never,
};

/** Different texts of one statement that are prepared in a process's life; those beyond are planned each time. */
const MOST_PREPARED = 20;

/** SQLSTATE classes, errors of the socket, and Prisma's own, which say that the database cannot be had just now. */
const LOST = /^(08|57P0|53300$|P10(01|02|08|17)$)|^E(CONN|PIPE|AI_|TIMEDOUT|HOSTUNREACH|NOTFOUND)/;
const LOST_WORDS =
  /Connection terminated|is not queryable|timeout exceeded when trying to connect|the database system is|Cannot use a pool after/;

/**
 * SQLSTATEs of statements that could be done, but not just now: resources that have run out (class 53: a full disk is
 * 53100), a statement that took too long (57014), lost races (40001, 40P01) and locks (55P03), a server that is a standby
 * by now (25006), files that cannot be read or written (58030).
 */
const NOT_NOW = /^(53|57014$|40001$|40P01$|55P03$|25006$|58030$)/;
const DISK_FULL = '53100';
/** A check that failed; without a constraint's name: a row for which there is no partition just now. */
const CHECK_VIOLATION = '23514';

const codeOf = (error: object): string => ('code' in error && typeof error.code === 'string' ? error.code : '');

/** What Postgres or the socket said, where Prisma has wrapped it. */
interface Wrapped {
  readonly meta?: { readonly driverAdapterError?: { readonly cause?: { readonly originalCode?: string } } };
}

/** Postgres' code, or the socket's, where Prisma has wrapped it too. */
const originalCodeOf = (error: Error): string =>
  (error as Wrapped).meta?.driverAdapterError?.cause?.originalCode ?? codeOf(error);

/** True where the error says "no database just now" rather than "your statement is wrong". */
const isLost = (error: Error): boolean =>
  LOST.test(codeOf(error)) || LOST.test(originalCodeOf(error)) || LOST_WORDS.test(error.message);

/** True where the same statement may be done a little later. */
const isNotNow = (error: Error): boolean =>
  NOT_NOW.test(originalCodeOf(error)) ||
  (codeOf(error) === CHECK_VIOLATION && !('constraint' in error && error.constraint));

/** How long Postgres may take to let go of the connections of a pool that closes. Milliseconds. */
const GOODBYE = 1_000;

/** As the socket of a lost connection would say it. */
const silent = (): Error => Object.assign(new Error('The database does not answer.'), { code: 'ETIMEDOUT' });

/** How long a probe may take. Milliseconds. */
const PROBE_PATIENCE = 3_000;

/** Asks the database anything, on a connection of its own. True where Postgres answers, if only with a refusal. */
async function probe(url: string): Promise<boolean> {
  const client = new pg.Client({
    connectionString: url,
    connectionTimeoutMillis: PROBE_PATIENCE,
    query_timeout: PROBE_PATIENCE,
    application_name: 'footsteps',
  });
  client.on('error', () => {});
  try {
    await client.connect();
    await client.query('SELECT 1');
    void client.end().catch(() => {});
    return true;
  } catch (error) {
    // The socket may hang, so nobody waits for its end.
    void client.end().catch(() => {});
    return error instanceof pg.DatabaseError;
  }
}

/**
 * Whether there is a pooler (PgBouncer) between us and Postgres. It lends its connections for a transaction, so
 * that neither settings nor prepared statements of a connection can be counted on. Asked for a setting, it refuses the
 * connection, or, where its operator told it to, passes the setting over. Throws UNAVAILABLE where nobody answers.
 */
export async function isPooled(url: string): Promise<boolean> {
  const client = new pg.Client({
    connectionString: url,
    connectionTimeoutMillis: 5_000,
    query_timeout: 5_000,
    application_name: 'footsteps',
    options: asOptions({ plan_cache_mode: INDEX_PLANS.plan_cache_mode }),
  });
  client.on('error', () => {});
  try {
    await client.connect();
    const { rows } = await client.query<{ plan_cache_mode: string }>('SHOW plan_cache_mode');
    return rows[0]!.plan_cache_mode !== INDEX_PLANS.plan_cache_mode;
  } catch (error) {
    if (error instanceof Error && /unsupported startup parameter/.test(error.message)) return true;
    throw translate(error);
  } finally {
    void client.end().catch(() => {});
  }
}

/** What the callers of the store hear: a lost or busy database is UNAVAILABLE, any other error is itself. */
function translate(error: unknown): unknown {
  if (!(error instanceof Error)) return error;
  const later = (message: string) => new AppError('UNAVAILABLE', message, { retryAfter: 1 }, { cause: error });
  if (isLost(error)) return later('The database cannot be reached just now; try again shortly.');
  return isNotNow(error) ? later('The database cannot do this just now; try again shortly.') : error;
}

/**
 * Opens a pool that Prisma and the hand-written statements share. Nothing is connected until the first
 * statement. Statements are observed by name; a lost database is UNAVAILABLE.
 */
export function createDatabase({
  url,
  poolSize,
  observe,
  indexPlans = false,
  pooled = false,
}: PostgresOptions): Database {
  const sockets = new Set<Socket>();
  const watch = createSilenceWatch({
    probe: () => probe(url),
    onSilent() {
      observe({ kind: 'database.lost', message: 'The database does not answer; its connections are given up.' });
      for (const socket of sockets) socket.destroy(silent());
    },
    silent,
  });
  /** The driver's own would do, but it keeps them to itself. */
  function openSocket(): Socket {
    const socket = new Socket();
    sockets.add(socket);
    socket.once('close', () => sockets.delete(socket));
    return socket;
  }

  const pool = new pg.Pool({
    connectionString: url,
    stream: openSocket,
    max: poolSize,
    connectionTimeoutMillis: 5_000,
    application_name: 'footsteps',
    // Statements of a transaction that need not wait for each other's answers are sent at once.
    pipeline: true,
    types,
    ...(!pooled && { ...TIMEOUTS, ...(indexPlans && { options: asOptions(INDEX_PLANS) }) }),
  });
  // One that is lost in the very moment it is handed out has no listener yet, and such an error would end the process.
  pool.on('connect', (client) => client.on('error', () => {}));
  let closing = false;
  pool.on('error', (error) => {
    if (!closing) observe({ kind: 'database.lost', message: error.message });
  });

  function fail(error: unknown): unknown {
    if (error instanceof Error && originalCodeOf(error) === DISK_FULL)
      observe({ kind: 'database.full', message: error.message });
    return translate(error);
  }

  const begin = pooled ? beginWith({ ...TIMEOUTS, ...(indexPlans && INDEX_PLANS) }) : 'BEGIN';
  /** What the driver calls a text on every connection, by statement, then text. */
  const preparedNames = new Map<string, Map<string, string>>();
  /** Undefined: not prepared. */
  function preparedName({ name, text }: Statement): string | undefined {
    let names = preparedNames.get(name);
    if (!names) preparedNames.set(name, (names = new Map()));
    const known = names.get(text);
    if (known !== undefined || names.size >= MOST_PREPARED) return known;
    const fresh = `${name}.${names.size}`;
    names.set(text, fresh);
    return fresh;
  }

  /** `line`: when the connection last answered; a statement that was sent before begins then. */
  async function run<Row>(
    client: pg.Pool | pg.PoolClient,
    statement: Statement,
    line: { answeredAt: number } = { answeredAt: 0 },
  ): Promise<Row[]> {
    const sentAt = performance.now();
    const { name, text, values, prepared } = statement;
    const known = prepared && !pooled ? preparedName(statement) : undefined;
    const result = await client.query({
      text,
      values: values as unknown[],
      ...(known !== undefined && { name: known }),
    });
    const start = Math.max(sentAt, line.answeredAt);
    line.answeredAt = performance.now();
    observe({
      kind: 'statement',
      name,
      milliseconds: line.answeredAt - start,
      rows: result.rowCount ?? 0,
    });
    return result.rows as Row[];
  }

  async function transact<Result>(work: (tx: Queryable) => Promise<Result>): Promise<Result> {
    const held = await pool.connect();
    let broken: Error | undefined;
    // A connection that dies between two statements emits an error of its own; the next statement reports it.
    const onError = (error: Error) => {
      broken = error;
    };
    held.on('error', onError);
    try {
      // The first statements travel with it; nothing of theirs is taken for true before it is.
      const begun = held.query(begin);
      begun.catch(() => {});
      const line = { answeredAt: 0 };
      let failure: { readonly error: unknown } | null = null;
      const result = await work({
        async query<Row>(statement: Statement) {
          try {
            return (await Promise.all([run<Row>(held, statement, line), begun]))[0];
          } catch (error) {
            // Those that were sent after it fail too, and may be heard of first.
            failure ??= { error };
            throw failure.error;
          }
        },
      });
      await begun;
      const { command } = await held.query('COMMIT');
      if (command !== 'COMMIT') throw new Error('The transaction was rolled back, as a statement had failed in it.');
      return result;
    } catch (error) {
      try {
        await held.query('ROLLBACK');
      } catch (rollbackError) {
        broken = rollbackError as Error;
      }
      throw error;
    } finally {
      held.off('error', onError);
      held.release(broken);
    }
  }

  const client = new PrismaClient({ adapter: new PrismaPg(pool, { disposeExternalPool: false }) });
  const prisma = client.$extends({
    query: {
      async $allOperations({ args, query }) {
        try {
          return await watch.during(() => query(args));
        } catch (error) {
          throw fail(error);
        }
      },
    },
  }) as unknown as PrismaClient;

  return {
    prisma,
    async query(statement) {
      try {
        return await watch.during(() => run(pool, statement));
      } catch (error) {
        throw fail(error);
      }
    },
    transaction: (work) =>
      watch
        .during(() => transact(work))
        .catch((error: unknown) => {
          throw fail(error);
        }),
    async close() {
      closing = true;
      watch.close();
      await prisma.$disconnect();
      await pool.end();
      // The pool has said goodbye and does not wait: a Postgres that is stopped now would call its connections lost.
      const gone = Promise.all([...sockets].map((socket) => new Promise((resolve) => socket.once('close', resolve))));
      const forced = setTimeout(() => {
        for (const socket of sockets) socket.destroy();
      }, GOODBYE);
      await gone;
      clearTimeout(forced);
    },
  };
}
