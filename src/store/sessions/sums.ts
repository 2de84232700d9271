import { setImmediate as pause } from 'node:timers/promises';
import type { Reach } from '../../domain/access.js';
import { BLOCK, DAY, HOUR, QUARTER, startOfSpan } from '../../domain/spans.js';
import { sketchedPart, UserSketch } from '../../domain/user-sketch.js';
import type { Database, Queryable } from '../database.js';
import { holdLock } from '../hold-lock.js';

/**
 * Makes the stored figures of sessions and of events (session-sums.ts, event-sums.ts say which), from the rows themselves. What makes
 * the sums of a block wrong adds a mark in the same transaction: a trigger does it, so no statement can forget it. A mark may name the
 * row that was added, or that has changed, if nothing else makes the sums wrong. Sums of days are made from those of their blocks, in
 * the transaction that makes the last marked block of the day. So in every snapshot these two are true: the sums of a block are those
 * of its rows, but for what its marks say; and the sums of a day, if there are any, are those of its blocks, and only a day with a
 * marked block may have none. (Of events this is so up to a moment: event-sums.ts.)
 */

/** The dimension of the sums of all rows together. */
export const ALL = 'ALL';

/** Values of one dimension in a block or a day. If there are more, none is stored, and the rows are read. */
export const MOST_VALUES = 2_000;
/** Characters of these values together: messages can be long, and all are in memory at once. */
const MOST_CHARACTERS = 500_000;
/** The place of the row that says that there are more. */
export const TOO_MANY = -1;
/**
 * The place of the row with all values of a span, if they are more than MOST_UNPACKED: an answer needs all of them to find the largest
 * groups, and so reads one row where it read one for each.
 */
export const PACKED = -2;
const MOST_UNPACKED = 50;

/** Rows that are read at once: adding them up takes some milliseconds, and other work comes between. */
export const PAGE = 1_000;
/** Sums that are written, or read for a day, at once: some 5 ms. */
const SUMS_PAGE = 100;
/** Sums that are put together, or made into rows, without a pause: up to 0.3 ms each. */
const AT_ONCE = 20;

/** What a row brings to sums. */
export interface Counted {
  /** When it was: in which spans it is. Milliseconds since the epoch. */
  readonly at: number;
  readonly userId: string | null;
  /** The values of the dimensions, in their order. A list counts once for each value; an empty list is no value. */
  readonly values: readonly (string | null | readonly string[])[];
}

/** The figures of a sum beside its users. */
interface Figures<Row, Stored> {
  add(row: Row): void;
  addStored(stored: Stored): void;
  /** The columns, by their names. */
  stored(): Stored;
}

/** What is summed. */
export interface Kind<Row extends Counted, Place, Stored extends object> {
  /** Begins the names of the statements. */
  readonly name: string;
  readonly table: string;
  readonly marks: string;
  /** What the rows are grouped by, beside ALL. */
  readonly dimensions: readonly string[];
  /** The columns of the table that Figures keeps. */
  readonly columns: readonly (keyof Stored & string)[];
  /** The one with the number of rows, and the one with the sum of their durations, if they have any. */
  readonly count: keyof Stored & string;
  readonly duration: (keyof Stored & string) | null;
  figures(isOfAll: boolean): Figures<Row, Stored>;
  /** The place before all rows of a block. */
  before(block: number): Place;
  /** The next PAGE rows after a place, that were before `end`, in order. */
  rowsAfter(tx: Queryable, reach: Reach, end: number, after: Place): Promise<Row[]>;
  placeOf(row: Row): Place;
  /** SQL: up to which instant the sums of the project `p` may be made. Null: there is no such instant. */
  readonly until: string | null;
  /**
   * From so many rows an hour on, the hours of a block have sums by value too: where the values are fewer than the rows. (The first
   * page of a block says how many there are.)
   */
  readonly denseFrom: number;
}

/** A sum: what rows with one value in common have together. */
interface Sum<Row, Stored> {
  readonly figures: Figures<Row, Stored>;
  readonly users: UserSketch;
}

/** The sums of one dimension in one span, by value. */
class Span<Row, Stored> {
  readonly sums = new Map<string | null, Sum<Row, Stored>>();
  private characters = 0;

  constructor(
    private readonly kind: { figures(isOfAll: boolean): Figures<Row, Stored> },
    readonly dimension: string,
    readonly seconds: number,
    /** Milliseconds since the epoch. */
    readonly start: number,
    public hasTooMany = false,
  ) {}

  /** The sum of a value. Null: there are too many values. */
  of(value: string | null): Sum<Row, Stored> | null {
    if (this.hasTooMany) return null;
    let sum = this.sums.get(value);
    if (sum) return sum;
    this.characters += value?.length ?? 0;
    if (this.sums.size === MOST_VALUES || this.characters > MOST_CHARACTERS) {
      this.hasTooMany = true;
      this.sums.clear();
      return null;
    }
    sum = { figures: this.kind.figures(this.dimension === ALL), users: new UserSketch() };
    this.sums.set(value, sum);
    return sum;
  }

  /** `part`: the part of the user's id that is kept; null: nobody's. */
  add(value: string | null, part: string | null, row: Row): void {
    const sum = this.of(value);
    if (!sum) return;
    sum.figures.add(row);
    if (part !== null) sum.users.add(part);
  }
}

/** SQL that sends a bit string in a sixth of its text: in base64, after its length in 4 bytes. */
export const sendBits = (bits: string): string => `encode(varbit_send(${bits}), 'base64')`;

/** The bits that sendBits has sent. */
export const bitsOf = (sent: string): Buffer => Buffer.from(sent, 'base64').subarray(4);

/** The users of a stored sum. */
interface StoredUsers {
  readonly place: number;
  readonly start: Date;
  readonly value: string | null;
  readonly list: Buffer | null;
  readonly bits: string | null;
}

const hex = (bytes: Uint8Array | null, begin: string): string | null =>
  bytes && begin + Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength).toString('hex');

/** A block whose sums are not right. */
export interface MarkedBlock {
  readonly reach: Reach;
  /** Its start; milliseconds since the epoch. */
  readonly block: number;
}

/**
 * Which marked blocks wait to be made. None waits that has more than MOST_WAITING marks. One that began at `settled` or later, which
 * goes on to change, waits unless it has sums and a mark that names no row: what was erased does not stay in them. Any other waits if
 * `isNamed` and all of its marks name rows, because answers read these beside its sums.
 */
export interface Waits {
  readonly settled: Date;
  readonly isNamed: boolean;
}

/** The marks of a kind, and the making of its sums. */
export interface Sums {
  /**
   * Of each project the latest marked block that began before `before` and does not have to wait (`waits`; default: none has to).
   * With a reach, of that project alone.
   */
  latestMarked(database: Database, before: Date, reach?: Reach | null, waits?: Waits): Promise<MarkedBlock[]>;
  /**
   * Leaves at most `atOnce` of the marks of a block that this sees. Each statement is a short transaction of its own, so that
   * `make` deletes few, however many changes a block has had. Ends early when `stop` is aborted.
   */
  thinMarks(database: Database, marked: MarkedBlock, stop: AbortSignal, atOnce?: number): Promise<void>;
  /**
   * Makes the sums of a block, and those of its day if no other block of the day is marked: otherwise the day has none. (Nor has a
   * day of which some may not be made yet.) One snapshot: a mark that it does not see stays, and
   * belongs to a change that it does not see either.
   *
   * All is read and added up before the first row is written. So the transaction has an id for a short time only: what waits for the
   * oldest transaction under way (the feed of changes, the minutes of presence) does not wait for the reading.
   *
   * Only one server at a time should do this (withSumsLock). If two do, one of them fails where they delete the same marks, or one
   * deletes the mark on which the other relies. But if one sees a mark of the other's block that the other does not see, both may
   * succeed and the sums of the day lack a block; that mark stays, so they are right when its block is made.
   *
   * When `stop` is aborted, it ends before the next page with the signal's reason, and nothing is made.
   */
  make(database: Database, marked: MarkedBlock, stop: AbortSignal): Promise<void>;
}

/** So many marks may wait in a block. An answer reads the rows that they name, 3 to 4 µs each; to make a block takes up to a second. */
export const MOST_WAITING = 500;
/** Projects that one statement looks at. With 800 waiting marks each: 0.1 s, or 0.7 s if Postgres has not vacuumed them yet. */
const PROJECTS_PAGE = 1_000;
/** Less than each id of a session or project. */
export const BEFORE_ALL = '00000000-0000-0000-0000-000000000000';

/** Marks that are deleted at once. */
const MARKS_AT_ONCE = 100_000;

/** The sums of a kind. */
export function sumsOf<Row extends Counted, Place, Stored extends object>(kind: Kind<Row, Place, Stored>): Sums {
  const { name, table, marks, dimensions, until } = kind;
  type Made = Span<Row, Stored>;

  /** Adds up the rows of a block. */
  async function sumBlock(tx: Queryable, reach: Reach, block: number, stop: AbortSignal): Promise<Made[]> {
    const end = block + BLOCK * 1_000;
    // Only spans in which something was get sums.
    const spansOf = (dimension: string, seconds: number) => {
      const length = seconds * 1_000;
      const spans = Array.from(
        { length: BLOCK / seconds },
        (_, at): Made => new Span(kind, dimension, seconds, block + at * length),
      );
      return { length, spans };
    };
    const within = [QUARTER, HOUR, BLOCK].map((seconds) => spansOf(ALL, seconds));
    const byValue = (seconds: number) =>
      dimensions.map((dimension, index) => ({ index, ...spansOf(dimension, seconds) }));
    const grouped = byValue(BLOCK);
    for (let after: Place | null = kind.before(block), isFirst = true; after !== null; isFirst = false) {
      stop.throwIfAborted();
      const page: Row[] = await kind.rowsAfter(tx, reach, end, after);
      const last = page.at(-1);
      const isWhole = page.length === PAGE;
      if (isFirst && isWhole && (last!.at - page[0]!.at) * kind.denseFrom <= PAGE * HOUR * 1_000)
        grouped.push(...byValue(HOUR));
      for (const row of page) {
        const part = row.userId && sketchedPart(row.userId);
        const since = row.at - block;
        for (const { length, spans } of within) spans[Math.floor(since / length)]!.add(null, part, row);
        for (const { index, length, spans } of grouped) {
          const span = spans[Math.floor(since / length)]!;
          const value = row.values[index]!;
          if (value === null || typeof value === 'string') span.add(value, part, row);
          else if (value.length === 0) span.add(null, part, row);
          else for (const one of value) span.add(one, part, row);
        }
      }
      after = isWhole ? kind.placeOf(last!) : null;
    }
    return [...within, ...grouped].flatMap(({ spans }) => spans);
  }

  function addPart(span: Made, value: string | null, stored: Stored, list: Uint8Array | null, bits: Uint8Array | null) {
    const sum = span.of(value);
    if (!sum) return;
    sum.figures.addStored(stored);
    if (list) sum.users.addList(list);
    if (bits) sum.users.addTable(bits);
  }

  /** Adds up the blocks of a day: `made`, which is not stored yet, and the sums of the others. */
  async function sumDay(
    tx: Queryable,
    { projectId }: Reach,
    day: number,
    made: Made,
    stop: AbortSignal,
  ): Promise<Made> {
    const span: Made = new Span(kind, made.dimension, DAY, day, made.hasTooMany);
    let added = 0;
    for (const [value, { figures, users }] of made.sums) {
      addPart(span, value, figures.stored(), users.list, users.bits);
      if (++added % AT_ONCE === 0) await pause();
    }
    for (let after: readonly [Date, number] | null = [new Date(day), TOO_MANY - 1]; after && !span.hasTooMany;) {
      stop.throwIfAborted();
      const page: (StoredUsers & Stored)[] = await tx.query<StoredUsers & Stored>({
        name: `${name}.ofDay`,
        text: `SELECT start, place, value, ${kind.columns.join(', ')}, user_list AS list, ${sendBits('user_bits')} AS bits
               FROM ${table}
               WHERE project_id = $1 AND dimension = $2 AND seconds = ${BLOCK} AND (start, place) > ($3, $4) AND start < $5
                 AND start <> $6 AND place <> ${PACKED}
               ORDER BY start, place LIMIT ${SUMS_PAGE}`,
        values: [projectId, made.dimension, ...after, new Date(day + DAY * 1_000), new Date(made.start)],
      });
      for (const row of page) {
        if (row.place === TOO_MANY) span.hasTooMany = true;
        addPart(span, row.value, row, row.list, row.bits === null ? null : bitsOf(row.bits));
      }
      const last = page.at(-1);
      after = page.length === SUMS_PAGE ? [last!.start, last!.place] : null;
    }
    return span;
  }

  /** The rows of a span, as JSON. */
  function* rowsOf(projectId: string, { dimension, seconds, start, sums, hasTooMany }: Made) {
    const place = { project_id: projectId, dimension, seconds, start: new Date(start).toISOString() };
    const none = { value: null, ...kind.figures(false).stored(), users: 0 };
    if (hasTooMany) yield { ...place, ...none, place: TOO_MANY };
    else {
      if (sums.size > MOST_UNPACKED) {
        const stored = [...sums.values()].map(({ figures }) => figures.stored());
        const { count, duration } = kind;
        yield {
          ...place,
          ...none,
          place: PACKED,
          all_values: [...sums.keys()],
          all_counts: stored.map((one) => one[count]),
          all_durations: duration && stored.map((one) => one[duration]),
        };
      }
      for (const [index, [value, { figures, users }]] of [...sums].entries()) {
        yield {
          ...place,
          place: index,
          value,
          ...figures.stored(),
          users: users.count(),
          user_list: hex(users.list, '\\x'),
          user_bits: hex(users.bits, 'x'),
        };
      }
    }
  }

  /** Bytes are written as Postgres reads them. */
  const asJson = (row: object): string =>
    JSON.stringify(
      Object.fromEntries(
        Object.entries(row).map(([column, value]: [string, unknown]) => [
          column,
          value instanceof Uint8Array ? hex(value, '\\x') : value,
        ]),
      ),
    );

  /** The rows of spans, as JSON of SUMS_PAGE rows each. */
  async function pagesOf({ projectId }: Reach, spans: readonly Made[], stop: AbortSignal): Promise<string[]> {
    const pages: string[] = [];
    let rows: string[] = [];
    const endPage = (): void => {
      pages.push(`[${rows.join(',')}]`);
      rows = [];
    };
    for (const span of spans) {
      for (const row of rowsOf(projectId, span)) {
        rows.push(asJson(row));
        if (rows.length % AT_ONCE === 0) await pause();
        if (rows.length < SUMS_PAGE) continue;
        endPage();
        stop.throwIfAborted();
      }
    }
    if (rows.length > 0) endPage();
    return pages;
  }

  const deleteSums = (tx: Queryable, { projectId }: Reach, seconds: number, start: number, end: number) =>
    tx.query({
      name: `${name}.delete`,
      // With each dimension, so that the primary key finds them.
      text: `DELETE FROM ${table} WHERE project_id = $1 AND dimension = ANY($2::text[]) AND seconds = $3 AND start >= $4 AND start < $5`,
      values: [projectId, [ALL, ...dimensions], seconds, new Date(start), new Date(end)],
    });

  /** A mark of another block of the day. Null: there is none. */
  async function otherMark(tx: Queryable, { projectId }: Reach, day: number, block: number) {
    const [mark] = await tx.query<{ block: Date; id: string }>({
      name: `${name}.otherMark`,
      text: `SELECT block, id FROM ${marks} WHERE project_id = $1 AND block >= $2 AND block < $3 AND block <> $4 LIMIT 1`,
      values: [projectId, new Date(day), new Date(day + DAY * 1_000), new Date(block)],
    });
    return mark ?? null;
  }

  /** Whether the sums of a whole day may be made. */
  async function isOver(tx: Queryable, { projectId }: Reach, day: number): Promise<boolean> {
    if (until === null) return true;
    const [row] = await tx.query<{ isOver: boolean }>({
      name: `${name}.isOver`,
      text: `SELECT coalesce(${until} >= $2, false) AS "isOver" FROM projects p WHERE p.id = $1`,
      values: [projectId, new Date(day + DAY * 1_000)],
    });
    return row?.isOver ?? false;
  }

  return {
    async latestMarked(database, before, reach = null, waits = { settled: before, isNamed: false }) {
      const mayBeMade = until === null ? '' : `AND block < ${until}`;
      const ofBlock = 'm.project_id = p.id AND m.block = b.block';
      const found: MarkedBlock[] = [];
      for (let after: string | null = reach?.projectId ?? BEFORE_ALL; after !== null;) {
        const page: { projectId: string; block: Date | null }[] = await database.query({
          name: `${name}.${reach ? 'marked' : 'look'}`,
          // From block to block. (With EXISTS, Postgres would gather all sums of blocks of a project, to find one.)
          text: `SELECT p.id AS "projectId", m.block
                 FROM (SELECT id FROM projects WHERE ${reach ? 'id = $1' : `id > $1 ORDER BY id LIMIT ${PROJECTS_PAGE}`}) p
                 LEFT JOIN LATERAL (
                   WITH RECURSIVE blocks AS (
                     (SELECT block FROM ${marks} WHERE project_id = p.id AND block < $2 ${mayBeMade} ORDER BY block DESC LIMIT 1)
                     UNION ALL
                     SELECT n.block FROM blocks b CROSS JOIN LATERAL (
                       SELECT block FROM ${marks} WHERE project_id = p.id AND block < b.block ORDER BY block DESC LIMIT 1
                     ) n
                   )
                   SELECT b.block FROM blocks b
                   WHERE (b.block < $3 AND NOT $4)
                     OR EXISTS (SELECT FROM ${marks} m WHERE ${ofBlock} OFFSET ${MOST_WAITING} LIMIT 1)
                     OR (b.block < $3 OR (SELECT s.place FROM ${table} s WHERE s.project_id = p.id AND s.dimension = '${ALL}'
                                            AND s.seconds = ${BLOCK} AND s.start = b.block) IS NOT NULL)
                        AND (SELECT m.block FROM ${marks} m WHERE ${ofBlock} AND m.added IS NULL LIMIT 1) IS NOT NULL
                   LIMIT 1
                 ) m ON true ORDER BY p.id`,
          values: [after, before, waits.settled, waits.isNamed],
        });
        for (const { projectId, block } of page)
          if (block) found.push({ reach: { projectId, userIds: null }, block: block.getTime() });
        after = reach || page.length < PROJECTS_PAGE ? null : page.at(-1)!.projectId;
      }
      return found;
    },

    async thinMarks(database, { reach: { projectId }, block }, stop, atOnce = MARKS_AT_ONCE) {
      for (let isMore = true; isMore && !stop.aborted;) {
        // The mark that is kept stands for those before it: anything may have changed. It is written, so whoever makes the block from
        // an older snapshot fails.
        const [row] = await database.query<{ isMore: boolean }>({
          name: `${name}.thinMarks`,
          text: `WITH kept AS (
                   UPDATE ${marks} SET added = NULL WHERE project_id = $1 AND block = $2 AND id = (
                     SELECT id FROM ${marks} WHERE project_id = $1 AND block = $2 ORDER BY id OFFSET $3 LIMIT 1
                   ) RETURNING id
                 ), gone AS (
                   DELETE FROM ${marks} WHERE project_id = $1 AND block = $2 AND id < (SELECT id FROM kept)
                 ) SELECT EXISTS (SELECT FROM kept) AS "isMore"`,
          values: [projectId, new Date(block), atOnce],
        });
        isMore = row!.isMore;
      }
    },

    make(database, { reach, block }, stop) {
      const { projectId } = reach;
      const day = startOfSpan(block, DAY);
      return database.transaction(async (tx) => {
        await tx.query({ name: `${name}.snapshot`, text: 'SET TRANSACTION ISOLATION LEVEL REPEATABLE READ' });
        const spans = await sumBlock(tx, reach, block, stop);
        const pages = await pagesOf(reach, spans, stop);
        const other = await otherMark(tx, reach, day, block);
        if (!other && (await isOver(tx, reach, day))) {
          for (const made of spans.filter(({ seconds }) => seconds === BLOCK))
            pages.push(...(await pagesOf(reach, [await sumDay(tx, reach, day, made, stop)], stop)));
        }

        await tx.query({
          name: `${name}.deleteMarks`,
          text: `DELETE FROM ${marks} WHERE project_id = $1 AND block = $2`,
          values: [projectId, new Date(block)],
        });
        if (other) {
          // Whoever makes the other block from a snapshot without this one fails, and does not make a wrong day.
          await tx.query({
            name: `${name}.keepMark`,
            text: `UPDATE ${marks} SET block = block WHERE project_id = $1 AND block = $2 AND id = $3`,
            values: [projectId, other.block, other.id],
          });
        }
        for (const seconds of [QUARTER, HOUR, BLOCK])
          await deleteSums(tx, reach, seconds, block, block + BLOCK * 1_000);
        await deleteSums(tx, reach, DAY, day, day + DAY * 1_000);
        for (const page of pages) {
          stop.throwIfAborted();
          await tx.query({
            name: `${name}.write`,
            text: `INSERT INTO ${table} SELECT * FROM json_populate_recordset(NULL::${table}, $1)`,
            values: [page],
          });
        }
      });
    },
  };
}

/**
 * Does `work` if no other server is at it. The transactions of `work` begin after the lock is taken, so that they see all that was
 * made before. `work` gets a check that throws when the connection that holds the lock is gone, and another server may be at it.
 */
export function withSumsLock(
  database: Database,
  work: (check: () => Promise<unknown>) => Promise<void>,
): Promise<void> {
  return database.transaction(async (tx) => {
    if (await holdLock(tx, 'sums', `hashtext('footsteps.session_sums')`))
      await work(() => tx.query({ name: 'sums.holding', text: 'SELECT 1' }));
  });
}
