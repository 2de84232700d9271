/**
 * The feed tells changes in the order of the numbers of their transactions (xid8), and Postgres gives a transaction its number
 * with its first lock. So a transaction that waits for one of its users can be overtaken: another one with a later number
 * changes the user first. Then the feed would tell the later change of the user before the earlier one. Such a transaction is
 * undone, and done again with a new number.
 */
export class Overtaken extends Error {
  constructor() {
    super('another transaction changed a user earlier, with a later number');
  }
}

/** The number of this transaction. */
export const OWN_NUMBER = 'pg_current_xact_id()::text::bigint';
