/** Random choices from a seed: the same seed gives the same choices. */
export class Dice {
  constructor(private state: number) {}

  /** A number from 0 to below 1 (mulberry32). */
  private roll(): number {
    this.state = (this.state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(this.state ^ (this.state >>> 15), 1 | this.state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296;
  }

  below(count: number): number {
    return Math.floor(this.roll() * count);
  }

  /** True on average once in so many calls. */
  oneIn(times: number): boolean {
    return this.below(times) === 0;
  }

  pick<Value>(values: readonly Value[]): Value {
    return values[this.below(values.length)]!;
  }

  list<Value>(most: number, make: () => Value): Value[] {
    return Array.from({ length: this.below(most + 1) }, make);
  }

  bytes(most: number): Buffer {
    return Buffer.from(this.list(most, () => this.below(256)));
  }

  /** The text with some parts deleted, doubled, swapped or inserted. */
  mutate(text: string, alphabet: string): string {
    let mutated = text;
    for (let left = 1 + this.below(3); left > 0; left -= 1) {
      const at = this.below(mutated.length + 1);
      const head = mutated.slice(0, at);
      const tail = mutated.slice(at);
      const char = alphabet[this.below(alphabet.length)]!;
      mutated = this.pick([
        head + tail.slice(1),
        head + char + tail,
        head + char + tail.slice(1),
        head + tail.slice(0, 5) + tail,
        head + tail.slice(1 + this.below(20)),
        tail + head,
      ]);
    }
    return mutated;
  }
}
