import { sqlStateOf } from '../store/database.js';
import { Overtaken } from '../store/overtaken.js';

/**
 * Serialisation failure, deadlock, unique violation, and Overtaken: another transaction was faster. Another try on the new state
 * will succeed.
 */
const RACES = new Set(['40001', '40P01', '23505']);

export const isLostRace = (error: unknown): boolean => error instanceof Overtaken || RACES.has(sqlStateOf(error));

const MOST_ATTEMPTS = 10;

/**
 * Runs `work`, which must be one transaction, again after each lost race: up to MOST_ATTEMPTS times in all. Then it rejects with
 * the error of the last. `onLost` is told why, and which attempt it was. What `work` counts, it must count anew in each attempt.
 */
export async function retryLostRaces<Result>(
  work: () => Promise<Result>,
  onLost: (reason: string, attempt: number) => void,
  isLost: (error: unknown) => boolean = isLostRace,
): Promise<Result> {
  for (let attempt = 1; ; attempt += 1) {
    try {
      return await work();
    } catch (error) {
      if (!isLost(error) || attempt === MOST_ATTEMPTS) throw error;
      onLost(sqlStateOf(error) || (error as Error).message, attempt);
    }
  }
}
