/**
 * How often each duration occurs, to 1 %: durations are counted in classes, and each class is 2 % wider than the one before.
 * So percentiles are right within 1 %. Counts of two sketches add up exactly.
 */

/** The greatest relative error of a duration. */
const ERROR = 0.01;
/** The natural logarithm of the ratio of two classes. The SQL of classOf takes it from here. */
export const CLASS_WIDTH = Math.log((1 + ERROR) / (1 - ERROR));

/** The class of a duration in whole milliseconds. Class 0 is for no duration at all. */
const classOf = (milliseconds: number): number =>
  milliseconds <= 0 ? 0 : 1 + Math.ceil(Math.log(milliseconds) / CLASS_WIDTH);

/** The milliseconds that stand for a class: none of the class differs from it by more than ERROR. */
const millisecondsOf = (place: number): number =>
  place === 0 ? 0 : (2 * Math.exp((place - 1) * CLASS_WIDTH)) / (Math.exp(CLASS_WIDTH) + 1);

export class DurationSketch {
  private readonly counts = new Map<number, number>();

  add(milliseconds: number): void {
    this.addClass(classOf(milliseconds), 1);
  }

  addClass(place: number, count: number): void {
    this.counts.set(place, (this.counts.get(place) ?? 0) + count);
  }

  /** Adds what `encode` has written. */
  addEncoded(bytes: Uint8Array): void {
    let at = 0;
    const next = (): number => {
      let value = 0;
      for (let factor = 1; ; factor *= 128) {
        const byte = bytes[at++]!;
        value += (byte & 127) * factor;
        if (byte < 128) return value;
      }
    };
    for (let place = 0; at < bytes.length;) {
      place += next();
      this.addClass(place, next());
    }
  }

  /** Some 2 bytes for each class: how far it is from the class before, and its count, seven bits to a byte. */
  encode(): Buffer {
    const bytes: number[] = [];
    const write = (value: number): void => {
      let rest = value;
      for (; rest >= 128; rest = Math.floor(rest / 128)) bytes.push((rest % 128) + 128);
      bytes.push(rest);
    };
    let before = 0;
    for (const [place, count] of [...this.counts].toSorted(([one], [other]) => one - other)) {
      write(place - before);
      write(count);
      before = place;
    }
    return Buffer.from(bytes);
  }

  /**
   * The durations in seconds below which these parts (0 to 1) of all are, between two neighbours as percentile_cont of Postgres
   * does. Null: there are none.
   */
  percentiles(parts: readonly number[]): (number | null)[] {
    const sorted = [...this.counts].toSorted(([one], [other]) => one - other);
    let total = 0;
    const ends = sorted.map(([, count]) => (total += count));
    const at = (rank: number): number => millisecondsOf(sorted[ends.findIndex((end) => end > rank)]![0]) / 1_000;
    return parts.map((part) => {
      if (total === 0) return null;
      const rank = part * (total - 1);
      const low = at(Math.floor(rank));
      return low + (at(Math.ceil(rank)) - low) * (rank % 1);
    });
  }
}
