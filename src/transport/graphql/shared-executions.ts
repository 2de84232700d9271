import { GraphQLError, type ExecutionArgs, type ExecutionResult } from 'graphql';
import { projectNameOf, readerName } from '../../domain/access.js';
import type { Context } from '../../schema/context.js';
import { checkAnswerSize } from './answer-size.js';
import { createBeside } from './beside.js';
import { createPrepareOperation } from './compiled-operations.js';
import { Line } from './line.js';
import { appErrorIn, mapErrors } from './mask-error.js';
import type { MessageTurns } from './message-turns.js';
import { kindOf } from './subscription-kind.js';

/**
 * A service hands one event object to many subscribers. Subscribers that select the same of it with the same rights (`kindOf`)
 * share one execution of the event, over every transport. The function takes the arguments of a subscription. It returns
 * a function that makes the result of an event: the same object for all subscribers that share. The result is there at once if
 * it has been made already, or if nothing has to be waited for. ShareExecution itself never throws.
 */
export type ShareExecution = (args: ExecutionArgs) => (event: object) => ExecutionResult | Promise<ExecutionResult>;

/** The most users of a presence update that are executed in one turn of the event loop: some 10 ms. */
const LARGE = 1_000;
/**
 * The most executions of an event that a reader has at a time, for different subscriptions: as many as a key has reading
 * statements. They wait for the same reads, and what follows a read is done in one turn of the event loop.
 */
const AT_ONCE = 4;

interface Large {
  readonly users: readonly unknown[];
}

const isLarge = (event: Partial<Large>): event is Large => (event.users?.length ?? 0) > LARGE;

/** Divides an update of many users into updates of at most LARGE users. */
function* slicesOf(event: Large): Generator<Large> {
  for (let from = 0; from < event.users.length; from += LARGE)
    yield { ...event, users: event.users.slice(from, from + LARGE) };
}

/** The error of a slice with the path in the whole list. The path is `[root, list, place, …]`; `place` grows by `by`. */
function movedOn(error: GraphQLError, by: number): GraphQLError {
  const { message, originalError, extensions, path } = error;
  if (by === 0 || typeof path?.[2] !== 'number') return error;
  const moved = [...path.slice(0, 2), path[2] + by, ...path.slice(3)];
  return new GraphQLError(message, { originalError, extensions, path: moved });
}

/** The errors without their places in the document, because the documents of those that share a result can differ there. */
const withoutLocations = (result: ExecutionResult): ExecutionResult =>
  mapErrors(
    result,
    ({ message, originalError, extensions, path }) => new GraphQLError(message, { originalError, extensions, path }),
  );

/**
 * Joins the results of the slices of an update to one result. Lists are joined in order, under every field name and alias. If
 * the data or a root field of a slice is null, the result of that slice is the whole result.
 */
function joinResults(results: readonly ExecutionResult[]): ExecutionResult {
  const whole = results.find(({ data }) => !data || Object.values(data).includes(null));
  if (whole) return whole;
  const [first, ...rest] = results as [ExecutionResult, ...ExecutionResult[]];
  const data = first.data as Record<string, Record<string, unknown>>;
  for (const [name, root] of Object.entries(data)) {
    for (const [field, value] of Object.entries(root)) {
      if (!Array.isArray(value)) continue;
      const lists = rest.map((result) => (result.data as typeof data)[name]![field] as unknown[]);
      root[field] = (value as unknown[]).concat(...lists);
    }
  }
  const errors = results.flatMap((result, at) => (result.errors ?? []).map((error) => movedOn(error, at * LARGE)));
  return errors.length > 0 ? { data, errors } : { data };
}

/**
 * Whether a message has errors and no data, for example because a read failed while it was made. The next messages do not
 * contain what it should have told, so its subscriptions end, and clients come back from their last cursor. A message that is
 * too large is different: it would be too large again.
 */
export const isLost = ({ data, errors }: ExecutionResult): boolean =>
  !data && errors !== undefined && errors.every((error) => appErrorIn(error)?.code !== 'ANSWER_TOO_LARGE');

/** A subscription whose events are executed. */
interface Executed {
  /** Those of the same kind share their results. */
  readonly kind: string;
  readonly project: string;
  readonly reader: string;
  readonly contextValue: Context;
  readonly run: ReturnType<ReturnType<typeof createPrepareOperation>>;
}

/** What is made of an event. */
interface Made {
  /** The results, by the kind of the subscription. */
  readonly byKind: Map<string, ExecutionResult | Promise<ExecutionResult>>;
  /** By the reader (readerName): the line of its executions, and what they share (Context.reads). */
  readonly byReader: Map<string, { readonly line: Line; readonly reads: object }>;
}

/** `freshContext` makes a context with the same caller and services that has no cached reads, and shares its reads by `reads`. */
export function createSharedExecutions(
  freshContext: (like: Context, reads?: object) => Context,
  turns: MessageTurns,
): ShareExecution {
  const made = createBeside<Made>();
  /** The line of each project's large executions, while there are any. */
  const lines = new Map<string, Line>();
  /** Compiles operations that run often. */
  const prepare = createPrepareOperation();

  /**
   * Executes an event when its project has its turn. The context shares its reads with the other executions of the event for the
   * same reader, and with nothing else: so it reads current data, and caches nothing for the next event.
   */
  function execute(
    { project, contextValue, run }: Executed,
    event: object,
    reads: object | undefined,
  ): ExecutionResult | Promise<ExecutionResult> {
    return turns.begin(project, () => {
      const result = run(event, freshContext(contextValue, reads));
      return result instanceof Promise ? result.then(withoutLocations) : withoutLocations(result);
    });
  }

  function checked(result: ExecutionResult): ExecutionResult {
    try {
      checkAnswerSize(result);
      return result;
    } catch (error) {
      return { errors: [new GraphQLError((error as Error).message, { originalError: error as Error })] };
    }
  }

  function tell(
    executed: Executed,
    event: object,
    reads: object | undefined,
  ): ExecutionResult | Promise<ExecutionResult> {
    const result = execute(executed, event, reads);
    return result instanceof Promise ? result.then(checked) : checked(result);
  }

  /**
   * Executes a large event slice by slice. So other work waits for one slice at most, whatever number of large events there are.
   * The large events of a project are executed one after another, so that few of their results are in memory at the same time.
   * Those of other projects do not wait for its reads. The size of the answer is not checked here: the watcher was charged for
   * the users, and the size of a subscription is limited when it is opened.
   */
  async function tellInSlices(executed: Executed, event: Large, reads: object): Promise<ExecutionResult> {
    const { project } = executed;
    const line = lines.get(project) ?? new Line(1);
    lines.set(project, line);
    try {
      return await line.during(async () => {
        const results: ExecutionResult[] = [];
        for (const slice of slicesOf(event)) {
          const result = await execute(executed, slice, reads);
          if (isLost(result)) return result;
          results.push(result);
        }
        return joinResults(results);
      });
    } finally {
      if (line.isIdle) lines.delete(project);
    }
  }

  /** Makes the result of an event. */
  function make(executed: Executed, event: object, { byReader }: Made): ExecutionResult | Promise<ExecutionResult> {
    const { reader } = executed;
    let own = byReader.get(reader);
    if (!own) byReader.set(reader, (own = { line: new Line(AT_ONCE), reads: {} }));
    const { line, reads } = own;
    if (!isLarge(event)) return line.during(() => tell(executed, event, reads));
    // The reads of many users take much memory, and a snapshot is kept for a while.
    const forget = (): void => {
      if (line.isIdle) byReader.delete(reader);
    };
    return Promise.resolve(line.during(() => tellInSlices(executed, event, reads))).finally(forget);
  }

  /** Makes the result and keeps it. If it is lost, whoever asks later, for example for the same snapshot, gets another. */
  function makeAndKeep(executed: Executed, event: object, own: Made): ExecutionResult | Promise<ExecutionResult> {
    const { kind } = executed;
    const { byKind } = own;
    const keep = (result: ExecutionResult): ExecutionResult => {
      if (isLost(result)) byKind.delete(kind);
      else byKind.set(kind, result);
      return result;
    };
    const result = make(executed, event, own);
    if (!(result instanceof Promise)) return keep(result);
    const kept = result.then(keep);
    byKind.set(kind, kept);
    return kept;
  }

  return (args) => {
    const contextValue = args.contextValue as Context;
    const { caller } = contextValue;
    const executed: Executed = {
      kind: kindOf(args),
      project: projectNameOf(caller),
      reader: readerName(caller),
      contextValue,
      run: prepare(args),
    };
    return (event: object & { readonly isOwn?: boolean }) => {
      // Who comes from a cursor on gets very many that nobody shares. What is kept for sharing took a third of the server's time then.
      if (event.isOwn) return tell(executed, event, undefined);
      let own = made.get(event);
      if (!own) made.set(event, (own = { byKind: new Map(), byReader: new Map() }));
      return own.byKind.get(executed.kind) ?? makeAndKeep(executed, event, own);
    };
  };
}
