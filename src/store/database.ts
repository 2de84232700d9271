import { AppError } from '../errors.js';
import type { PrismaClient } from './generated/prisma/client.js';

/** The number of bytes that may still be read. All statements that have the same Allowance object share the number. */
export interface Allowance {
  left: number;
}

/** The error of an operation whose allowance is used up. */
export const readsTooMuch = (): AppError =>
  new AppError(
    'ANSWER_TOO_LARGE',
    'The operation reads more data than is allowed. Ask for fewer rows, or for fewer fields.',
  );

/** One SQL statement. `name` identifies it in metrics and traces. `text` contains the parameters $1, $2 … */
export interface Statement {
  readonly name: string;
  readonly text: string;
  readonly values?: readonly unknown[];
  /**
   * Postgres parses and plans the statement once for each connection. For statements that run all the time and have few
   * different texts. Their plan must not depend on the values.
   */
  readonly prepared?: boolean;
  /**
   * The bytes of the answer are subtracted from this allowance. When it is used up, the statement is ended with
   * ANSWER_TOO_LARGE.
   */
  readonly allowance?: Allowance;
}

/**
 * Runs statements. Each row is a plain object whose fields are the statement's column names. Timestamps are Dates,
 * bigints are text.
 */
export interface Queryable {
  /**
   * In a transaction, the caller may send several statements without waiting for their answers. Postgres runs them in
   * the order of sending. When one fails, all later ones fail too, each with the error of the first.
   */
  query<Row>(statement: Statement): Promise<Row[]>;
}

/**
 * The database as the store sees it; src/adapters/postgres/postgres.ts implements it. `query` and `transaction` share
 * one pool.
 *
 * Errors: UNAVAILABLE (AppError) when there is no connection, or when Postgres cannot run the statement at the moment
 * (the adapter lists these cases); otherwise the driver's error. `sqlStateOf` reads Postgres' SQLSTATE from both kinds.
 */
export interface Database extends Queryable {
  /** Runs `work` in one READ COMMITTED transaction. Commits when `work` resolves, rolls back when it throws. */
  transaction<Result>(work: (tx: Queryable) => Promise<Result>): Promise<Result>;
  /**
   * Runs one statement that Postgres does not allow in a transaction, on a connection of its own, without a time limit.
   * When `stop` is aborted, the connection is closed and the call rejects. Postgres may still finish the statement.
   */
  apart(statement: Statement, stop: AbortSignal): Promise<void>;
  close(): Promise<void>;
}

/**
 * The models that Prisma reads and writes: those that are not hot. The last two entries are for statements that Prisma
 * cannot express.
 */
export type Models = Pick<
  PrismaClient,
  'project' | 'apiKey' | 'auditEntry' | 'installation' | 'webhook' | 'webhookDelivery' | '$queryRaw' | '$queryRawUnsafe'
>;

/** Runs Prisma's operations: in a transaction, or each by itself. */
export interface PrismaQueryable {
  /** Runs one operation. `name` identifies it in metrics and traces. Timestamps are Dates, bytes are Uint8Arrays. */
  prisma<Result>(name: string, operation: (models: Models) => Promise<Result>): Promise<Result>;
}

/** A database whose pool Prisma shares. Prisma's operations fail with the same errors as statements. */
export interface PrismaDatabase extends Database, PrismaQueryable {
  /**
   * Runs `work` in one READ COMMITTED transaction. Commits when `work` resolves, rolls back when it throws. After 30 s
   * the transaction is rolled back (UNAVAILABLE). When no connection is free within 5 s, the call rejects with
   * UNAVAILABLE.
   */
  prismaTransaction<Result>(work: (tx: PrismaQueryable) => Promise<Result>): Promise<Result>;
}

/**
 * Returns Postgres' SQLSTATE of an error: of a driver's error, or of the cause of an AppError. Empty text when the
 * error has no code.
 */
export function sqlStateOf(error: unknown): string {
  const from = error instanceof AppError ? error.cause : error;
  return from instanceof Error && 'code' in from ? String(from.code) : '';
}

/** The SQLSTATE of a statement that has waited for a lock as long as lock_timeout allows. */
export const LOCK_NOT_AVAILABLE = '55P03';

/** The database of one operation: it counts what the operation reads. */
export interface CountingDatabase extends PrismaDatabase {
  /** Another one for the same caller, for a read that several operations share. It has an allowance of its own. */
  forShared(): CountingDatabase;
  /** Counts what `shared` has read for this operation too. Throws ANSWER_TOO_LARGE if that is more than it may read. */
  countAlso(shared: CountingDatabase): void;
  /** Bytes that it has read. */
  readonly bytes: number;
}
