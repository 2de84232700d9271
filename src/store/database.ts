import { AppError } from '../errors.js';
import type { PrismaClient } from './generated/prisma/client.js';

/** One SQL statement: its name says which it is in metrics and traces; text has $1, $2 … */
export interface Statement {
  readonly name: string;
  readonly text: string;
  readonly values?: readonly unknown[];
  /**
   * Parsed and planned once a connection: for statements of few texts that run all the time. Their plan must not
   * depend on the values.
   */
  readonly prepared?: boolean;
}

/** Where statements go. Rows are plain objects with the statement's column names; timestamps are Dates, bigints text. */
export interface Queryable {
  /**
   * In a transaction, several may be sent without waiting for each other's answers: they run in the order of sending, and
   * where one fails those after it fail too, each with the error of the first.
   */
  query<Row>(statement: Statement): Promise<Row[]>;
}

/**
 * The database as the store sees it; src/adapters/postgres.ts fulfils it. Both ways in share one pool.
 * Errors: UNAVAILABLE (AppError) where no connection can be had, or where Postgres cannot do it just now whatever it is
 * asked (the adapter lists those); a driver error otherwise. sqlStateOf reads Postgres' SQLSTATE off either.
 */
export interface Database extends Queryable {
  /** Runs `work` in one READ COMMITTED transaction; commits when it resolves, rolls back when it throws. */
  transaction<Result>(work: (tx: Queryable) => Promise<Result>): Promise<Result>;
  /** For the nouns that are not hot: projects and keys. */
  readonly prisma: PrismaClient;
  close(): Promise<void>;
}

/** Postgres' SQLSTATE of what went wrong, of the driver's error or the one behind an AppError; empty where it was something else. */
export function sqlStateOf(error: unknown): string {
  const from = error instanceof AppError ? error.cause : error;
  return from instanceof Error && 'code' in from ? String(from.code) : '';
}
