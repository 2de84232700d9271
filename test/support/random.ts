import { record } from './ledger.js';

/** A random generator with a seed (mulberry32): the same seed gives the same numbers. */
export function random(seed: number): () => number {
  let state = seed;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

export interface Dice {
  /** A whole number from 0, below `limit`. */
  below(limit: number): number;
  pick<Item>(items: readonly Item[]): Item;
}

export function diceOf(seed: number): Dice {
  const next = random(seed);
  const below = (limit: number): number => Math.floor(next() * limit);
  return { below, pick: (items) => items[below(items.length)]! };
}

/** A new seed for each run; CHAOS_SEED repeats an earlier run. */
export function chooseSeed(name: string): number {
  const seed = Number(process.env['CHAOS_SEED'] ?? Date.now() % 1_000_000);
  record(`${name}, CHAOS_SEED`, seed);
  return seed;
}
