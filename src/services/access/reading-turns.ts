import { readerName, type Caller } from '../../domain/access.js';
import { AppError } from '../../errors.js';
import {
  readsTooMuch,
  type Allowance,
  type CountingDatabase,
  type Models,
  type PrismaDatabase,
  type PrismaQueryable,
  type Queryable,
  type Statement,
} from '../../store/database.js';
import { createCounts } from '../counts.js';

/**
 * How many statements may run at the same time: for the users of a narrowed token (ofToken), for one key (ofKey), for
 * all keys of a project (ofProject), and in total (all). The total leaves two of the pool's connections for changes.
 * The last three (kept) are for projects that have no statement running. `waiting` is how many statements of a key, or
 * of a narrowed token, may wait.
 */
const LIMITS = { ofToken: 2, ofKey: 4, ofProject: 6, all: 10, kept: 3, waiting: 1_000 };
/** How long a statement waits for its turn: as long as for a connection. Milliseconds. */
const PATIENCE = 5_000;

/** The most bytes that one operation may read, in all its statements together. */
const MOST_READ = 8 * 1024 * 1024;

/** Whose turn it is. `name` is a token that is narrowed to users, or else a key; then that key, and its project. */
interface Holder {
  readonly name: string;
  readonly isToken: boolean;
  readonly key: string;
  readonly project: string;
}

function holderOf(caller: Caller): Holder {
  const { kind } = caller;
  if (kind === 'operator') return { name: kind, isToken: false, key: kind, project: kind };
  const { keyId: key, reach } = caller;
  const { projectId: project, userIds } = reach;
  return { name: readerName(caller), isToken: userIds !== null, key, project };
}

/** The statements that wait for their turn, in the order of asking. Each function is called when its turn has come. */
interface Queue {
  readonly holder: Holder;
  readonly waiting: Set<() => void>;
}

/** Makes the database for one operation of a caller. */
export type Readers = (caller: Caller) => CountingDatabase;

/**
 * Returns a function that makes the database for one operation of a caller. It limits how many statements run at a
 * time. The others wait for their turn, so that a caller who asks for much does not delay other callers. A statement
 * that gets no turn within 5 s fails with UNAVAILABLE. If too many statements of the same key or token already wait, it
 * fails with OVERLOADED at once. Each database may read 8 MiB in total (ANSWER_TOO_LARGE).
 */
export function createReaders(database: PrismaDatabase, limits: Partial<typeof LIMITS> = {}): Readers {
  const { ofToken, ofKey, ofProject, all, kept, waiting: mostWaiting } = { ...LIMITS, ...limits };
  const [tokens, keys, projects] = [createCounts(), createCounts(), createCounts()];
  let underWay = 0;
  /** By key or token. The queue that got the last turn is at the end. */
  const queues = new Map<string, Queue>();

  function mayBegin({ name, isToken, key, project }: Holder): boolean {
    if (isToken && tokens.of(name) >= ofToken) return false;
    const own = projects.of(project);
    return keys.of(key) < ofKey && own < ofProject && all - underWay > (own === 0 ? 0 : kept);
  }

  function count({ name, isToken, key, project }: Holder, more: 1 | -1): void {
    if (isToken) tokens.add(name, more);
    keys.add(key, more);
    projects.add(project, more);
    underWay += more;
  }

  function enter(holder: Holder): Promise<void> | void {
    const { name } = holder;
    let queue = queues.get(name);
    if (!queue && mayBegin(holder)) return count(holder, 1);
    if (!queue) queues.set(name, (queue = { holder, waiting: new Set() }));
    const { waiting } = queue;
    if (waiting.size >= mostWaiting)
      throw new AppError(
        'OVERLOADED',
        'Too many reads of this key or token are waiting. Send fewer requests at the same time.',
        { retryAfter: 1 },
      );
    return new Promise((resolve, reject) => {
      const begin = (): void => {
        clearTimeout(timer);
        resolve();
      };
      const timer = setTimeout(() => {
        waiting.delete(begin);
        if (waiting.size === 0) queues.delete(name);
        const message = 'Earlier reads of this key or project, or of the server, take too long. Try again shortly.';
        reject(new AppError('UNAVAILABLE', message, { retryAfter: 1 }));
      }, PATIENCE);
      waiting.add(begin);
    });
  }

  function leave(holder: Holder): void {
    count(holder, -1);
    // A queue that gets a turn here moves to the end, so this loop reaches it again; then it gets another turn or not.
    for (const [name, queue] of queues) {
      if (underWay >= all) return;
      if (!mayBegin(queue.holder)) continue;
      const [next] = queue.waiting;
      queue.waiting.delete(next!);
      queues.delete(name);
      if (queue.waiting.size > 0) queues.set(name, queue);
      count(queue.holder, 1);
      next!();
    }
  }

  async function inTurn<Result>(holder: Holder, work: () => Promise<Result>): Promise<Result> {
    await enter(holder);
    try {
      return await work();
    } finally {
      leave(holder);
    }
  }

  const within = (allowance: Allowance, queryable: Queryable): Queryable => ({
    query: (statement) => queryable.query({ ...statement, allowance }),
  });

  /**
   * Each open subscription keeps one of these objects. It is a class, because methods of a class take no memory for
   * each object.
   */
  class Reader implements CountingDatabase {
    private readonly allowance: Allowance = { left: MOST_READ };

    constructor(private readonly holder: Holder) {}

    get bytes(): number {
      return MOST_READ - this.allowance.left;
    }

    forShared(): CountingDatabase {
      return new Reader(this.holder);
    }

    countAlso(shared: CountingDatabase): void {
      this.allowance.left -= shared.bytes;
      if (this.allowance.left < 0) throw readsTooMuch();
    }

    query<Row>(statement: Statement): Promise<Row[]> {
      return inTurn(this.holder, () => database.query<Row>({ ...statement, allowance: this.allowance }));
    }

    transaction<Result>(work: (tx: Queryable) => Promise<Result>): Promise<Result> {
      return inTurn(this.holder, () => database.transaction((tx) => work(within(this.allowance, tx))));
    }

    /** Without the allowance, because Prisma reads little. */
    prisma<Result>(name: string, operation: (models: Models) => Promise<Result>): Promise<Result> {
      return inTurn(this.holder, () => database.prisma(name, operation));
    }

    prismaTransaction<Result>(work: (tx: PrismaQueryable) => Promise<Result>): Promise<Result> {
      return inTurn(this.holder, () => database.prismaTransaction(work));
    }

    apart(statement: Statement, stop: AbortSignal): Promise<void> {
      return database.apart(statement, stop);
    }

    close(): Promise<void> {
      return database.close();
    }
  }

  return (caller) => new Reader(holderOf(caller));
}
