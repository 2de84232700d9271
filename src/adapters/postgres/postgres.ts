import { Socket } from 'node:net';
import pg from 'pg';
import { AppError } from '../../errors.js';
import type { Observer } from '../../observation.js';
import {
  readsTooMuch,
  type Database,
  type PrismaDatabase,
  type Queryable,
  type Statement,
} from '../../store/database.js';
import { createSilenceWatch } from './postgres-silence.js';
import { createPrisma } from './prisma.js';

export interface PostgresOptions {
  /** postgresql://user:password@host:port/database */
  url: string;
  /** The most connections of the pool. */
  poolSize: number;
  observe: Observer;
  /**
   * For short statements of fixed text that find rows by index, thousands of times a second. Postgres makes their plans
   * once for each connection, and always uses indexes. Otherwise a young table without statistics, or a large batch,
   * would lead to scans.
   */
  indexPlans?: boolean;
  /** The connections come from a pooler that lends them for one transaction: see isPooled. */
  pooled?: boolean;
}

/** Postgres ends a statement, or an idle transaction, after this time if the client does not. Milliseconds. */
const TIMEOUTS = { statement_timeout: 30_000, idle_in_transaction_session_timeout: 30_000 };

const INDEX_PLANS = {
  plan_cache_mode: 'force_generic_plan',
  enable_seqscan: 'off',
  enable_bitmapscan: 'off',
  enable_mergejoin: 'off',
  enable_material: 'off',
  enable_memoize: 'off',
};

/** The startup option that sets these settings as soon as a connection opens. */
const asOptions = (settings: object): string =>
  Object.entries(settings)
    .map(([name, value]) => `-c ${name}=${value}`)
    .join(' ');

/** The isolation level is given, because the database may have another default. */
const BEGIN = 'BEGIN ISOLATION LEVEL READ COMMITTED';

/** SQL that begins a transaction and sets settings for it. */
const beginWith = (settings: object): string =>
  [BEGIN, ...Object.entries(settings).map(([name, value]) => `SET LOCAL ${name} = '${value}'`)].join('; ');

/** One statement that sets the same settings in a transaction that has begun. */
const setForTransaction = (settings: object): string =>
  `SELECT ${Object.entries(settings)
    .map(([name, value]) => `set_config('${name}', '${value}', true)`)
    .join(', ')}`;

const UTC = /^(\d{4}-\d\d-\d\d) (\d\d:\d\d:\d\d(?:\.\d+)?)\+00$/;
const TIMESTAMPTZ: number = pg.types.builtins.TIMESTAMPTZ;
const readTimestamp = pg.types.getTypeParser(TIMESTAMPTZ);

function readInstant(text: string): unknown {
  const parts = UTC.exec(text);
  return parts ? new Date(`${parts[1]}T${parts[2]}Z`) : readTimestamp(text);
}

/**
 * Reads values as the driver does, except instants in UTC. These are read with the engine's own date parser, because a
 * page of events contains mostly instants.
 */
const types: pg.CustomTypesConfig = {
  getTypeParser: (oid: number, format) =>
    (oid === TIMESTAMPTZ && format !== 'binary' ? readInstant : pg.types.getTypeParser(oid, format)) as never,
};

/**
 * In the life of the process, at most this many different texts of one statement are prepared. Other texts are planned
 * each time.
 */
const MOST_PREPARED = 20;

/**
 * SQLSTATEs (some by their class), socket errors and Prisma's own codes that mean: there is no connection to the
 * database at the moment.
 */
const LOST = /^(08|57P0|53300$|P10(01|02|08|17)$)|^E(CONN|PIPE|AI_|TIMEDOUT|HOSTUNREACH|NOTFOUND)/;
const LOST_WORDS =
  /Connection terminated|is not queryable|timeout exceeded when trying to connect|the database system is|Cannot use a pool after|^(ConnectionClosed|DatabaseNotReachable|SocketTimeout|TooManyConnections)$/;

/**
 * SQLSTATEs of statements that cannot be run at the moment, but perhaps later: used-up resources (class 53: a full disk
 * is 53100), a statement that took too long (57014), lost races (40001, 40P01) and locks (55P03), a server that has
 * become a standby (25006), files that cannot be read or written (58030). Also Prisma's code for a transaction that got
 * no connection in time or took too long (P2028).
 */
const NOT_NOW = /^(53|57014$|40001$|40P01$|55P03$|25006$|58030$|P2028$)/;
const DISK_FULL = '53100';
/** A failed check. Without the name of a constraint it means: there is no partition for the row at the moment. */
const CHECK_VIOLATION = '23514';

const codeOf = (error: object): string => ('code' in error && typeof error.code === 'string' ? error.code : '');

/**
 * Where Prisma keeps the error of Postgres or the socket. For an operation Prisma wraps it twice, for BEGIN and COMMIT
 * once.
 */
interface Wrapped {
  readonly meta?: { readonly driverAdapterError?: Wrapped };
  readonly cause?: { readonly originalCode?: unknown };
}

/** The code of Postgres or the socket, also if Prisma has wrapped the error. */
function originalCodeOf(error: Error): string {
  const wrapped = error as Wrapped;
  const code = (wrapped.meta?.driverAdapterError ?? wrapped).cause?.originalCode;
  return typeof code === 'string' ? code : codeOf(error);
}

/** Whether the error means "there is no database at the moment" and not "the statement is wrong". */
const isLost = (error: Error): boolean =>
  LOST.test(codeOf(error)) || LOST.test(originalCodeOf(error)) || LOST_WORDS.test(error.message);

/** Whether the same statement may succeed a little later. */
const isNotNow = (error: Error): boolean =>
  NOT_NOW.test(originalCodeOf(error)) ||
  (codeOf(error) === CHECK_VIOLATION && !('constraint' in error && error.constraint));

/** How long Postgres may take to close the connections of a pool that closes. Milliseconds. */
const GOODBYE = 1_000;

/** The error that the socket of a lost connection would have. */
const silent = (): Error => Object.assign(new Error('The database does not answer.'), { code: 'ETIMEDOUT' });

/** How long a probe may take. Milliseconds. */
const PROBE_PATIENCE = 3_000;

/** Sends a statement on a new connection. True if Postgres answers, even with an error. */
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
    // The socket may hang, so nobody waits until it is closed.
    void client.end().catch(() => {});
    return error instanceof pg.DatabaseError;
  }
}

/**
 * Whether there is a pooler (PgBouncer) between this server and Postgres. A pooler lends its connections for one
 * transaction, so settings and prepared statements of a connection are not reliable. This function connects with a
 * setting. A pooler refuses such a connection or, if configured so, ignores the setting. Throws UNAVAILABLE if the
 * database does not answer.
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

/** The error that callers of the store get: UNAVAILABLE for a lost or busy database, otherwise the error itself. */
function translate(error: unknown): unknown {
  if (!(error instanceof Error)) return error;
  const later = (message: string) => new AppError('UNAVAILABLE', message, { retryAfter: 1 }, { cause: error });
  if (isLost(error)) return later('The database cannot be reached at the moment. Try again shortly.');
  return isNotNow(error) ? later('The database cannot do this at the moment. Try again shortly.') : error;
}

/** Opens a database, and returns it with what Prisma needs of it. */
function open({ url, poolSize, observe, indexPlans = false, pooled = false }: PostgresOptions) {
  const sockets = new Set<Socket>();
  const watch = createSilenceWatch({
    probe: () => probe(url),
    onSilent() {
      observe({ kind: 'database.lost', message: 'The database does not answer. Its connections are closed.' });
      for (const socket of sockets) socket.destroy(silent());
    },
    silent,
  });
  /** The driver's own sockets would do, but the driver does not give access to them. */
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
    // In a transaction, statements that do not depend on each other's answers are sent at once.
    pipeline: true,
    types,
    ...(!pooled && { ...TIMEOUTS, ...(indexPlans && { options: asOptions(INDEX_PLANS) }) }),
  });
  // A connection that is lost at the moment when the pool hands it out has no listener yet. Without this one, the error
  // would end the process.
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

  const begin = pooled ? beginWith({ ...TIMEOUTS, ...(indexPlans && INDEX_PLANS) }) : BEGIN;
  /** The names of prepared statements, the same on every connection: by statement name, then by text. */
  const preparedNames = new Map<string, Map<string, string>>();
  /** Undefined: the text is not prepared. */
  function preparedName({ name, text }: Statement): string | undefined {
    let names = preparedNames.get(name);
    if (!names) preparedNames.set(name, (names = new Map()));
    const known = names.get(text);
    if (known !== undefined || names.size >= MOST_PREPARED) return known;
    const fresh = `${name}.${names.size}`;
    names.set(text, fresh);
    return fresh;
  }

  /**
   * Runs a statement and observes its time. `line`: when the connection last answered. The time of a statement that was
   * sent before then counts from then.
   */
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

  /**
   * Runs a statement, within its allowance if it has one. If the answer exceeds the allowance, the connection is
   * closed, so that Postgres stops too.
   */
  async function runWithin<Row>(
    client: pg.PoolClient,
    statement: Statement,
    line?: { answeredAt: number },
  ): Promise<Row[]> {
    const { allowance } = statement;
    if (!allowance) return run<Row>(client, statement, line);
    if (allowance.left < 0) throw readsTooMuch();
    const { stream } = client.connection as unknown as { readonly stream: Socket };
    const count = (bytes: Buffer): void => {
      allowance.left -= bytes.length;
      if (allowance.left < 0) stream.destroy(readsTooMuch());
    };
    stream.on('data', count);
    try {
      return await run<Row>(client, statement, line);
    } finally {
      stream.off('data', count);
    }
  }

  async function runAlone<Row>(statement: Statement): Promise<Row[]> {
    if (!statement.allowance) return run<Row>(pool, statement);
    const client = await pool.connect();
    let broken: Error | undefined;
    try {
      return await runWithin<Row>(client, statement);
    } catch (error) {
      // After an error that Postgres reports, the connection can still be used.
      if (!(error instanceof pg.DatabaseError)) broken = error as Error;
      throw error;
    } finally {
      client.release(broken);
    }
  }

  async function transact<Result>(work: (tx: Queryable) => Promise<Result>): Promise<Result> {
    const held = await pool.connect();
    let broken: Error | undefined;
    // A connection that dies between two statements emits an error event; the next statement reports the error.
    const onError = (error: Error) => {
      broken = error;
    };
    held.on('error', onError);
    try {
      // The first statements are sent together with BEGIN. Their answers are not used until BEGIN has succeeded.
      const begun = held.query(begin);
      begun.catch(() => {});
      const line = { answeredAt: 0 };
      let failure: { readonly error: unknown } | null = null;
      const result = await work({
        async query<Row>(statement: Statement) {
          try {
            return (await Promise.all([runWithin<Row>(held, statement, line), begun]))[0];
          } catch (error) {
            // Statements that were sent after the failed one fail too, and their errors may arrive first.
            failure ??= { error };
            throw failure.error;
          }
        },
      });
      await begun;
      const { command } = await held.query('COMMIT');
      if (command !== 'COMMIT')
        throw new Error('The transaction was rolled back because a statement in it had failed.');
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

  async function runApart({ name, text }: Statement, stop: AbortSignal): Promise<void> {
    stop.throwIfAborted();
    const socket = openSocket();
    const alone = new pg.Client({
      connectionString: url,
      stream: () => socket,
      connectionTimeoutMillis: 5_000,
      application_name: 'footsteps',
      keepAlive: true,
      ...(!pooled && { options: asOptions({ statement_timeout: 0 }) }),
    });
    alone.on('error', () => {});
    const onStop = (): void => void socket.destroy(stop.reason as Error);
    stop.addEventListener('abort', onStop);
    try {
      await alone.connect();
      const start = performance.now();
      await alone.query(text);
      observe({ kind: 'statement', name, milliseconds: performance.now() - start, rows: 0 });
    } finally {
      stop.removeEventListener('abort', onStop);
      void alone.end().catch(() => {});
    }
  }

  const database: Database = {
    async query(statement) {
      try {
        return await watch.during(() => runAlone(statement));
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
    async apart(statement, stop) {
      try {
        await runApart(statement, stop);
      } catch (error) {
        throw fail(error);
      }
    },
    async close() {
      closing = true;
      watch.close();
      await pool.end();
      // The pool has ended its connections, but does not wait until they are closed. A Postgres that is stopped now
      // would report them as lost.
      const gone = Promise.all([...sockets].map((socket) => new Promise((resolve) => socket.once('close', resolve))));
      const forced = setTimeout(() => {
        for (const socket of sockets) socket.destroy();
      }, GOODBYE);
      await gone;
      clearTimeout(forced);
    },
  };

  const settings = pooled ? setForTransaction(TIMEOUTS) : null;
  return {
    database,
    pool,
    observe,
    fail,
    settings,
    during: <Result>(work: () => Promise<Result>) => watch.during(work),
  };
}

/**
 * Opens a pool. The first statement opens the first connection. Statements are observed by name. A lost database is
 * UNAVAILABLE.
 */
export const createDatabase = (options: PostgresOptions): Database => open(options).database;

/** The same, with a pool that Prisma shares. */
export function createPrismaDatabase(options: PostgresOptions): PrismaDatabase {
  const { database, ...shared } = open(options);
  const prisma = createPrisma(shared);
  return {
    ...database,
    ...prisma,
    async close() {
      await prisma.close();
      await database.close();
    },
  };
}
