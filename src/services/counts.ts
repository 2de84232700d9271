/** A count for each name. A name with the count 0 takes no memory. */
export interface Counts {
  of(name: string): number;
  add(name: string, more: 1 | -1): void;
  /** The names whose count is not 0. */
  entries(): [name: string, count: number][];
}

export function createCounts(): Counts {
  const counts = new Map<string, number>();
  return {
    of: (name) => counts.get(name) ?? 0,
    add(name, more) {
      const count = (counts.get(name) ?? 0) + more;
      if (count > 0) counts.set(name, count);
      else counts.delete(name);
    },
    entries: () => [...counts],
  };
}
