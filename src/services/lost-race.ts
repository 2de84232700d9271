import { sqlStateOf } from '../store/database.js';

/** Serialisation failure, deadlock, and unique violations: somebody else was faster. Done anew, it will fit. */
const RACES = new Set(['40001', '40P01', '23505']);

export const isLostRace = (error: unknown): boolean => RACES.has(sqlStateOf(error));
