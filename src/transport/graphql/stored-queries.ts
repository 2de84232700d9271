import { setImmediate as nextTurn } from 'node:timers/promises';
import {
  GraphQLError,
  Kind,
  OperationTypeNode,
  validate,
  type DocumentNode,
  type ExecutionArgs,
  type ExecutionResult,
  type FieldNode,
  type GraphQLSchema,
  type OperationDefinitionNode,
  type SelectionSetNode,
} from 'graphql';
import { LRUCache } from 'lru-cache';
import type { ProjectCaller } from '../../domain/access.js';
import type { FeedPlace } from '../../domain/change.js';
import { readFeedCursor, writeFeedCursor } from '../../domain/feed-cursor.js';
import { DEFAULT_SETTINGS } from '../../domain/project.js';
import { AppError } from '../../errors.js';
import type { Observer } from '../../observation.js';
import type { Context, Services } from '../../schema/context.js';
import { pointsOf, type RateLimits } from '../../services/access/rate-limits.js';
import type { Readers } from '../../services/access/reading-turns.js';
import { createView, type FeedChange, type FeedFilter } from '../../services/feed/feed-view.js';
import type { FeedReader } from '../../services/feed/read-feed.js';
import type { Made, Span, StoredQueries, StoredQuery, StoredReader } from '../../services/webhooks/stored-query.js';
import { checkAnswerSize } from './answer-size.js';
import { createRunOperation, openSource } from './compiled-operations.js';
import { parseWithin } from './graphql.js';
import { checkNesting, checkQuerySize } from './query-size.js';
import { isLost } from './shared-executions.js';
import { appErrorIn, mapErrors, maskError, withoutHttp } from './mask-error.js';

/** The most characters of all documents that are kept. A parsed document takes about 50 bytes for each of them. */
const MOST_KNOWN_CHARACTERS = 500_000;
/** Results that are made together. They share their reads; after each group the size of the message is looked at. */
const GROUP = 25;
/**
 * What the results of a group may cost together, in rows: no more than the points of the smallest limit that a project can
 * have (settings.rateLimit), and little enough to be made in the time that a message has. A result that costs more is made alone.
 */
const COST_OF_GROUP = 2_500;
/** Pages of the feed that are read for a message at most: then the place is written down, however few results there are. */
const MOST_PAGES = 50;
/** A subscription costs ten times its size once, and its messages nothing. A stored query is paid by its results instead. */
const PRICE_OF_RESULT = 0.1;

/** A query that has been found valid. */
interface Known {
  readonly document: DocumentNode;
  readonly operation: OperationDefinitionNode;
}

/** What a query asks of the feed. */
interface Asked {
  readonly filter: FeedFilter;
  /** The fields of events that are needed; undefined: all. */
  readonly fields: Parameters<FeedReader['read']>[2]['asked'];
}

/** Why a query is no query for a webhook. */
class Problem extends Error {
  constructor(readonly messages: readonly string[]) {
    super(messages[0]);
  }
}

/** Codes of errors that come again whenever the query is executed. */
const AT_FAULT: ReadonlySet<string> = new Set([
  'BAD_USER_INPUT',
  'FORBIDDEN',
  'QUERY_TOO_COMPLEX',
  'QUERY_TOO_DEEP',
  'TOO_MANY_ALIASES',
  'GRAPHQL_PARSE_FAILED',
  'GRAPHQL_VALIDATION_FAILED',
]);

const SHAPE = 'The query must be one subscription of changes, as in: subscription { changes { __typename cursor } }';

/** The fields of the root, in fragments too. */
function rootFields({ definitions }: DocumentNode, set: SelectionSetNode): FieldNode[] {
  return set.selections.flatMap((selection) => {
    // A left out root field would leave nothing to subscribe to.
    if (selection.directives?.length) throw new Problem(['The root field of the query must have no directive.']);
    if (selection.kind === Kind.FIELD) return [selection];
    if (selection.kind === Kind.INLINE_FRAGMENT)
      return rootFields({ definitions } as DocumentNode, selection.selectionSet);
    const fragment = definitions.find(
      (one) => one.kind === Kind.FRAGMENT_DEFINITION && one.name.value === selection.name.value,
    );
    return fragment && 'selectionSet' in fragment
      ? rootFields({ definitions } as DocumentNode, fragment.selectionSet)
      : [];
  });
}

/** Executes stored queries, with the reads of the feed and the limits of readers. `services` is called once they are made. */
export function createStoredQueries(deps: {
  schema: GraphQLSchema;
  services: () => Services;
  feed: FeedReader;
  readers: Readers;
  rateLimits: RateLimits;
  observe: Observer;
}): StoredQueries {
  const { schema, services, feed, readers, rateLimits, observe } = deps;
  const documents = new LRUCache<string, Known>({
    maxSize: MOST_KNOWN_CHARACTERS,
    sizeCalculation: (_known, text) => Math.max(1, text.length),
  });
  const runOperation = createRunOperation();

  function callerOf({ reach, name, rateLimit }: StoredReader): ProjectCaller {
    return {
      kind: 'project',
      reach,
      identities: null,
      scopes: new Set(['READ', 'PRESENCE']),
      keyId: name,
      expiresAt: null,
      settings: { ...DEFAULT_SETTINGS, rateLimit },
      clientSettingsVersion: 0,
    };
  }

  function contextOf(reader: StoredReader, reads?: object): Context {
    const caller = callerOf(reader);
    return {
      caller,
      sender: { ipAddress: null, userAgent: null },
      requestId: `webhook ${reader.name}`,
      services: { ...services(), database: readers(caller) },
      charge: async (rows) => void (await rateLimits.chargeKey(caller, pointsOf(rows))),
      ...(reads && { reads }),
    };
  }

  /** Throws Problem. */
  function read(query: string): Known {
    const known = documents.get(query);
    if (known) return known;
    let document: DocumentNode;
    try {
      document = parseWithin(query);
      checkNesting(document);
    } catch (error) {
      throw new Problem([(error as Error).message]);
    }
    const errors = validate(schema, document, undefined, { maxErrors: 3 });
    if (errors.length > 0) throw new Problem(errors.map(tell));
    const operations = document.definitions.filter((one) => one.kind === Kind.OPERATION_DEFINITION);
    const [operation] = operations;
    const isOne = operations.length === 1 && operation!.operation === OperationTypeNode.SUBSCRIPTION;
    if (!isOne || rootFields(document, operation!.selectionSet).some(({ name }) => name.value !== 'changes'))
      throw new Problem([SHAPE]);
    const found = { document, operation: operation! };
    documents.set(query, found);
    return found;
  }

  /** The price of a result in rows. Throws Problem. */
  function priceOf({ document, operation }: Known, variables: StoredQuery['variables']): number {
    try {
      return checkQuerySize(schema, document, operation, variables) * PRICE_OF_RESULT;
    } catch (error) {
      throw new Problem([(error as Error).message]);
    }
  }

  /**
   * Opens the subscription as a subscriber does, and returns what its resolver asks of the feed, instead of its events: the filter, and
   * the fields of events. Throws Problem if the query or a variable is at fault, and other errors as they are.
   */
  async function askedBy(
    reader: StoredReader,
    { document }: Known,
    variables: StoredQuery['variables'],
  ): Promise<Asked> {
    let asked: Asked | null = null;
    const context = contextOf(reader);
    const feedOfQuery: Services['feed'] = {
      ...context.services.feed,
      watch: async (_reach, filter, { asked: fields }) => {
        asked = { filter, fields };
        return noEvents();
      },
    };
    const contextValue = { ...context, services: { ...context.services, feed: feedOfQuery } };
    const opened = await openSource({ schema, document, variableValues: variables, contextValue });
    if (Symbol.asyncIterator in opened) {
      if (asked) return asked;
      throw new Problem([SHAPE]);
    }
    const errors = opened.errors ?? [];
    const own = errors
      .map((error) => appErrorIn(error) ?? error.originalError)
      .find((error) => error && !isAtFault(error));
    if (own) throw own;
    throw new Problem(errors.map(tell));
  }

  /** The results of some changes, in order. They share their reads; what is too large together is made alone. */
  async function resultsOf(
    reader: StoredReader,
    args: ExecutionArgs,
    changes: readonly FeedChange[],
  ): Promise<ExecutionResult[]> {
    const run = async (event: FeedChange, reads: object): Promise<ExecutionResult> => {
      const result = await runOperation({ ...args, rootValue: event, contextValue: contextOf(reader, reads) });
      try {
        checkAnswerSize(result);
        return result;
      } catch (error) {
        return { errors: [new GraphQLError((error as Error).message, { originalError: error as Error })] };
      }
    };
    const reads = {};
    const results = await Promise.all(changes.map((event) => run(event, reads)));
    for (const [at, result] of results.entries()) {
      const isLarge = result.errors?.some((error) => appErrorIn(error)?.code === 'ANSWER_TOO_LARGE') ?? false;
      if (isLarge && changes.length > 1) results[at] = await run(changes[at]!, {});
    }
    return results;
  }

  /** A result as JSON. Throws the error of one that must be made again, because it says nothing. */
  function write(result: ExecutionResult, requestId: string): string {
    if (isLost(result)) {
      const [error] = result.errors!;
      throw appErrorIn(error) ?? error!.originalError ?? error!;
    }
    return JSON.stringify(mapErrors(result, (error) => withoutHttp(maskError(error, requestId, observe))));
  }

  /** Makes results into `made` until the span is over, or the signal is aborted. Returns where to go on. */
  async function makeInto(
    made: Ready,
    reader: StoredReader,
    stored: StoredQuery,
    { after, until, most, bytes }: Span,
    signal: AbortSignal,
  ): Promise<Made['next']> {
    const known = read(stored.query);
    const price = priceOf(known, stored.variables);
    const together = Math.max(1, Math.min(GROUP, Math.floor(COST_OF_GROUP / price)));
    const { filter, fields } = await askedBy(reader, known, stored.variables);
    const { reach } = reader;
    const view = createView(reach, filter);
    const { charge: pay, requestId } = contextOf(reader);
    let place = after === null ? await feed.oldest(reach) : placeOf(after);
    const end = until === null ? null : placeOf(until);
    const args = { schema, document: known.document, variableValues: stored.variables };
    for (let pages = 0; pages < MOST_PAGES && made.results.length < most; pages += 1) {
      const limit = most - made.results.length;
      // Each page has an allowance of its own, and waits for its turn among the project's reads.
      const another = () => readers(callerOf(reader));
      const options = {
        limit,
        pay,
        database: another(),
        another,
        ...(fields && { asked: fields }),
        ...(end && { until: end }),
      };
      const page = await feed.read(view, place, options);
      for (let from = 0; from < page.changes.length; from += together) {
        const group = page.changes.slice(from, from + together);
        await pay(group.length * price);
        const results = await resultsOf(reader, args, group);
        for (const [at, result] of results.entries()) {
          const text = write(result, requestId);
          const size = Buffer.byteLength(text);
          if (signal.aborted || (made.results.length > 0 && made.bytes + size > bytes)) return 'MORE';
          made.results.push(text);
          made.bytes += size;
          made.cursor = group[at]!.cursor;
          made.since ??= group[at]!.at;
        }
        await nextTurn();
      }
      if (signal.aborted) return 'MORE';
      place = page.next;
      made.cursor = end && !page.isMore ? until : writeFeedCursor(place);
      if (!page.isMore)
        return end ? 'MORE' : { transaction: place.transaction, part: place.part, at: new Date(place.at) };
    }
    return 'MORE';
  }

  async function make(reader: StoredReader, stored: StoredQuery, span: Span, signal: AbortSignal): Promise<Made> {
    const ready: Ready = { results: [], bytes: 0, cursor: span.after, since: null };
    const told = (next: Made['next']): Made => {
      const { results, cursor, since } = ready;
      return { results: [...results], cursor: cursor ?? '', since, next };
    };
    try {
      return told(await orAborted(makeInto(ready, reader, stored, span, signal), signal));
    } catch (error) {
      // What is ready is sent. The rest is made again for the next message, and then the error comes first.
      if (ready.cursor !== span.after) return told('MORE');
      throw error;
    }
  }

  return {
    async problems(reader, stored) {
      try {
        const known = read(stored.query);
        priceOf(known, stored.variables);
        await askedBy(reader, known, stored.variables);
        return [];
      } catch (error) {
        if (error instanceof Problem) return error.messages;
        throw error;
      }
    },
    async make(reader, stored, span, signal) {
      try {
        return await make(reader, stored, span, signal);
      } catch (error) {
        if (error instanceof Problem) return { refused: 'QUERY_INVALID', why: error.message };
        if (error instanceof AppError && (error.code === 'CURSOR_EXPIRED' || error.code === 'INVALID_CURSOR'))
          return { refused: 'CURSOR_EXPIRED', why: error.message };
        throw error;
      }
    },
  };
}

/** What has been made of a message so far. */
interface Ready {
  readonly results: string[];
  bytes: number;
  cursor: string | null;
  since: Date | null;
}

/** The place of a cursor. Throws INVALID_CURSOR. */
function placeOf(cursor: string): FeedPlace {
  const place = readFeedCursor(cursor);
  if (place) return place;
  throw new AppError('INVALID_CURSOR', 'This is not a cursor of the feed.');
}

/** Rejects with UNAVAILABLE when the signal is aborted. The work may go on for a moment; nobody waits for it. */
async function orAborted<Result>(work: Promise<Result>, signal: AbortSignal): Promise<Result> {
  let stop!: () => void;
  const aborted = new Promise<never>((_resolve, reject) => {
    stop = () => reject(new AppError('UNAVAILABLE', 'The results took too long to make.'));
  });
  signal.addEventListener('abort', stop, { once: true });
  if (signal.aborted) stop();
  try {
    return await Promise.race([work, aborted]);
  } finally {
    signal.removeEventListener('abort', stop);
  }
}

const isAtFault = (error: Error): boolean =>
  error instanceof AppError ? AT_FAULT.has(error.code) : error instanceof GraphQLError;

/** An error of a query in words for its owner, with its place in the query. */
const tell = ({ message, locations }: GraphQLError): string =>
  locations?.[0] ? `${message} (line ${locations[0].line}, column ${locations[0].column})` : message;

/** A source without events. */
// oxlint-disable-next-line require-yield
async function* noEvents(): AsyncGenerator<never> {}
