/** Postgres' SQLSTATE of a failed statement; '' where there is none. */
export const sqlState = (error: unknown): string =>
  error instanceof Error && 'code' in error ? String(error.code) : '';

/** Serialisation failure, deadlock, and unique violations: somebody else was faster. Done anew, it will fit. */
const RACES = new Set(['40001', '40P01', '23505']);

export const isLostRace = (error: unknown): boolean => RACES.has(sqlState(error));
