/**
 * A set of users of which only the number is asked for. Up to MOST_LISTED users it is the list of their ids, and the number
 * is exact. Above, it is a table of bits that does not grow, and the number is an estimate. Two sets make their union, and the
 * result is the same in any order.
 *
 * The ids are the hashes of identity.ts, so their bits are as good as dice. A user sets the bit (level, column). The column is
 * one of 1,024, each as likely as the others. Level n is half as likely as level n - 1. How many bits of each level are set says
 * how many users there are (the most likely number is taken). The standard error is 0.65 / sqrt(1,024): 2 %.
 */

/** The most users of a list. */
export const MOST_LISTED = 255;
/** Bytes of an id in a list: enough of the hash that two users of a list have never the same. */
export const ID_BYTES = 8;
const COLUMN_BITS = 10;
const COLUMNS = 1 << COLUMN_BITS;
const LEVELS = 20;
/** Bytes of a table of bits. Level n has the bits from n * 1,024 on, the first bit of a byte is its highest. */
const TABLE_BYTES = (COLUMNS * LEVELS) / 8;

const HEX = 2;

/** How likely a user has a level: 1/2, 1/4 and so on. The last level takes what is left. */
const likelihoodOf = (level: number): number => 2 ** -Math.min(level + 1, LEVELS - 1);

/** The most likely number of users, from the number of bits that are set in each level. */
function estimate(set: readonly number[]): number {
  // The slope of the logarithm of the likelihood: it falls, and is 0 at the most likely number.
  const slope = (users: number): number => {
    let sum = 0;
    for (let level = 0; level < LEVELS; level += 1) {
      const ones = set[level]!;
      const rate = likelihoodOf(level) / COLUMNS;
      sum += (ones === 0 ? 0 : (ones * rate) / Math.expm1(users * rate)) - (COLUMNS - ones) * rate;
    }
    return sum;
  };
  let low = 1;
  let high = 2 ** 40;
  while (high / low > 1 + 1e-6) {
    const middle = Math.sqrt(low * high);
    if (slope(middle) > 0) low = middle;
    else high = middle;
  }
  return Math.round(low);
}

/** The part of a user's id (a UUID) that sketches keep. */
export const sketchedPart = (id: string): string => id.slice(0, 8) + id.slice(9, 13) + id.slice(14, 18);

export class UserSketch {
  /** The kept part of each id, in hexadecimal digits. Null: there are more than `mostListed`. */
  private ids: Set<string> | null = new Set();
  private table: Uint8Array | null = null;

  constructor(private readonly mostListed = MOST_LISTED) {}

  /** `part`: sketchedPart of the user's id. */
  add(part: string): void {
    if (this.ids) {
      this.ids.add(part);
      if (this.ids.size > this.mostListed) this.tableOfIds();
    } else this.setBit(part);
  }

  /** Adds the users of a list, which may have any length. */
  addList(list: Uint8Array): void {
    const digits = Buffer.from(list.buffer, list.byteOffset, list.byteLength).toString('hex');
    const length = ID_BYTES * HEX;
    for (let at = 0; at < digits.length; at += length) this.add(digits.slice(at, at + length));
  }

  /** Adds the users of a table of bits. */
  addTable(bits: Uint8Array): void {
    const table = this.tableOfIds();
    for (let at = 0; at < TABLE_BYTES; at += 1) table[at]! |= bits[at]!;
  }

  /** Makes the table, if there is none yet. */
  private tableOfIds(): Uint8Array {
    const { ids } = this;
    this.ids = null;
    this.table ??= new Uint8Array(TABLE_BYTES);
    for (const part of ids ?? []) this.setBit(part);
    return this.table;
  }

  private setBit(part: string): void {
    const bits = Number.parseInt(part.slice(0, 8), 16);
    const level = Math.min(Math.clz32(bits << COLUMN_BITS), LEVELS - 1);
    const place = level * COLUMNS + (bits >>> (32 - COLUMN_BITS));
    this.table![place >> 3]! |= 0x80 >> (place & 7);
  }

  /** The list, as it is stored. Null: there are too many. */
  get list(): Buffer | null {
    return this.ids && Buffer.from([...this.ids].toSorted().join(''), 'hex');
  }

  /** The table of bits, as it is stored. Null: there is a list. */
  get bits(): Uint8Array | null {
    return this.table;
  }

  /** How many users there are: exact for a list. */
  count(): number {
    if (this.ids) return this.ids.size;
    const set = Array.from({ length: LEVELS }, () => 0);
    for (let at = 0; at < TABLE_BYTES; at += 1) {
      for (let rest = this.table![at]!; rest !== 0; rest &= rest - 1) set[(at << 3) >> COLUMN_BITS]! += 1;
    }
    return estimate(set);
  }
}
