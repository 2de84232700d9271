import {
  getOperationAST,
  GraphQLError,
  Lexer,
  parse,
  TokenKind,
  validate,
  type DocumentNode,
  type ExecutionArgs,
  type ExecutionResult,
  type GraphQLSchema,
  type ValidationRule,
} from 'graphql';
import { createYoga, mapAsyncIterator, processRegularResult, type Plugin, type YogaServerInstance } from 'graphql-yoga';
import { LRUCache } from 'lru-cache';
import { projectNameOf, type Caller } from '../../domain/access.js';
import type { Sender } from '../../domain/sender.js';
import { AppError } from '../../errors.js';
import type { Observer } from '../../observation.js';
import type { Context, Services } from '../../schema/context.js';
import { checkAnswerSize } from './answer-size.js';
import { createRunOperation, openSource } from './compiled-operations.js';
import type { Deflater } from './deflate.js';
import { goOnAfter, messageOf, noteCursor, noteEnding, useEventStreams } from './event-stream.js';
import { pointsOf } from '../../services/access/rate-limits.js';
import type { Readers } from '../../services/access/reading-turns.js';
import type { LargeSends } from './large-sends.js';
import { maskError } from './mask-error.js';
import { EXECUTING, MessageTurns } from './message-turns.js';
import type { OpenStreams } from './open-streams.js';
import type { Places } from '../http/places.js';
import { MOST_BYTES } from '../http/receive-body.js';
import { checkNesting, checkQuerySize, QUERY_LIMITS } from './query-size.js';
import { selectionOf } from './subscription-kind.js';
import { takesGzip } from './text-stream.js';
import { createSharedExecutions, isLost, type ShareExecution } from './shared-executions.js';

/** What the transport passes with each operation: the authenticated caller, and what belongs to the request. */
export interface Door {
  readonly caller: Caller;
  readonly sender: Sender;
  readonly requestId: string;
  /** Takes points off the caller's rate limit. Throws RATE_LIMITED. */
  readonly charge: (points: number) => Promise<void>;
  /** An answer that is known already. The engine only writes it. */
  readonly result?: ExecutionResult | null;
}

/** Pages of any origin may send requests with a credential of their own. The server never reads cookies. */
const CORS = {
  origin: '*',
  credentials: false,
  methods: ['GET', 'POST', 'PUT', 'DELETE'],
  exposedHeaders: ['X-Request-Id', 'Retry-After', 'RateLimit', 'RateLimit-Policy'],
  // Seconds. A browser asks once in two hours (Chromium keeps no answer for longer) whether it may send, and not before each
  // request; so what a page sends while it is closed is one request and not two.
  maxAge: 7_200,
};

/** The same rules as headers of an answer. */
export const CORS_HEADERS = {
  'Access-Control-Allow-Origin': CORS.origin,
  'Access-Control-Expose-Headers': CORS.exposedHeaders.join(', '),
};

function withCode(error: GraphQLError, code: string): void {
  const extensions = error.extensions as Record<string, unknown>;
  extensions['code'] ??= code;
  // The HTTP status for clients that accept application/graphql-response+json. The engine removes it from the answer.
  extensions['http'] ??= { status: 400, spec: true };
}

/** Whether the parser stopped because the document has too many tokens, and not at a syntax error. */
function isTooLong({ source, positions }: GraphQLError): boolean {
  if (!source) return false;
  const lexer = new Lexer(source);
  try {
    for (let known = 0; known < QUERY_LIMITS.tokens; known += 1) lexer.advance();
    const { kind, start } = lexer.advance();
    return kind !== TokenKind.EOF && start === positions?.[0];
  } catch {
    // A syntax error comes before the limit of tokens.
    return false;
  }
}

/** Parses a document. Throws QUERY_TOO_COMPLEX and QUERY_TOO_DEEP if it is above the limits, and syntax errors. */
export function parseWithin(source: string, options?: object): DocumentNode {
  const { characters } = QUERY_LIMITS;
  if (source.length > characters)
    throw new AppError(
      'QUERY_TOO_COMPLEX',
      `The document has more than ${characters} characters. Send large values as variables.`,
    );
  try {
    return parse(source, { ...options, maxTokens: QUERY_LIMITS.tokens });
  } catch (error) {
    // The parser is recursive and has used up the stack.
    if (error instanceof RangeError) throw new AppError('QUERY_TOO_DEEP', 'The document is nested too deeply.');
    if (error instanceof GraphQLError && isTooLong(error)) {
      const { tokens } = QUERY_LIMITS;
      throw new AppError('QUERY_TOO_COMPLEX', `The document has too many tokens; at most ${tokens} are allowed.`);
    }
    throw error;
  }
}

/**
 * Checks an operation against the limits and charges it to the caller. Throws RATE_LIMITED and what checkQuerySize throws.
 */
export async function admitOperation(args: ExecutionArgs): Promise<void> {
  const operation = getOperationAST(args.document, args.operationName);
  if (!operation) return;
  const cost = checkQuerySize(args.schema, args.document, operation, args.variableValues ?? {});
  await (args.contextValue as Context).charge(cost);
}

/** Runs a valid query or mutation. Its errors are masked for the caller. Rejects if a limit refuses the operation. */
type Execute = (args: ExecutionArgs) => Promise<ExecutionResult>;

function createExecute(mask: Mask): Execute {
  const run = createRunOperation();
  return async (args) => {
    const context = args.contextValue as Context;
    let requested = 0;
    const charge = (rows: number): Promise<void> => {
      requested += rows;
      return context.charge(rows);
    };
    // What its fields charge beside its cost is told too.
    const counting = { ...args, contextValue: { ...context, charge } };
    await admitOperation(counting);
    const answer = mask(await run(counting), context);
    checkAnswerSize(answer);
    return { ...answer, extensions: { ...answer.extensions, cost: { requested, limit: QUERY_LIMITS.rows } } };
  };
}

/**
 * A subscription over HTTP: its results, with errors as callers may see them. If its source or a whole message fails, the
 * error is the last result, since event streams have no other message for it. The stream writes a result as soon as it gets it, so
 * a large one waits here for its turn.
 */
const createSubscribe =
  (share: ShareExecution, mask: Mask, largeSends: LargeSends, deflater: Deflater) =>
  async (args: ExecutionArgs): Promise<AsyncIterableIterator<ExecutionResult> | ExecutionResult> => {
    const context = args.contextValue as Context & { request: Request };
    const execute = share(args);
    const { headers } = context.request;
    const last = headers.get('last-event-id');
    const inflates = takesGzip(headers.get('accept-encoding'));
    const failed = (error: Error): ExecutionResult =>
      mask({ errors: [new GraphQLError(error.message, { originalError: error })] }, context);
    const opened = await openSource(last ? goOnAfter(args, last) : args).catch(failed);
    if (!(Symbol.asyncIterator in opened)) return mask(opened, context);
    const events = opened as AsyncGenerator<object>;
    return mapAsyncIterator(
      events,
      async (event) => {
        const made = await execute(event);
        const result = mask(made, context);
        if (isLost(made)) {
          await events.return(undefined);
          return noteEnding(result);
        }
        noteCursor(result, event);
        const message = messageOf(result);
        if (message.isLarge) {
          const project = projectNameOf(context.caller);
          if (inflates) await message.compress(deflater, project);
          await new Promise<void>((resolve) => {
            largeSends.add(project, () => {
              resolve();
              return 'soon';
            });
          });
        }
        return result;
      },
      (error: Error) => noteEnding(failed(error)),
    );
  };

/**
 * The maximum number of characters of all cached documents together. A parsed document takes about 50 bytes for each of its
 * characters.
 */
const MOST_KNOWN_CHARACTERS = 1_000_000;

/** Valid documents by their text. Each is parsed and validated only once. */
type KnownDocuments = LRUCache<string, DocumentNode>;

/** Adds stable codes to the errors of a document, and refuses operations above the limits. */
function useChecks(
  execute: Execute,
  subscribe: ReturnType<typeof createSubscribe>,
  documents: KnownDocuments,
): Plugin<Door, Context> {
  const textOf = ({ loc }: DocumentNode): string => loc?.source.body ?? '';
  return {
    onParse({ setParseFn }) {
      setParseFn(((source: string, options?: object) => {
        const known = documents.get(source);
        if (known) return known;
        const document = parseWithin(source, options);
        checkNesting(document);
        return document;
      }) as never);
      return ({ result }) => {
        if (result instanceof GraphQLError) withCode(result, 'GRAPHQL_PARSE_FAILED');
      };
    },
    onValidate({ params: { documentAST }, setResult, setValidationFn }) {
      const document = documentAST as DocumentNode;
      const text = textOf(document);
      if (documents.peek(text) === document) {
        setResult([]);
        return undefined;
      }
      setValidationFn(((schema: GraphQLSchema, given: DocumentNode, rules: readonly ValidationRule[]) =>
        validate(schema, given, rules, { maxErrors: QUERY_LIMITS.errors }).slice(0, QUERY_LIMITS.errors)) as never);
      return ({ result, valid }) => {
        if (valid) documents.set(text, document);
        for (const error of result as readonly GraphQLError[]) withCode(error, 'GRAPHQL_VALIDATION_FAILED');
      };
    },
    onExecute({ setExecuteFn }) {
      setExecuteFn(execute);
    },
    async onSubscribe({ args, setSubscribeFn }) {
      await admitOperation(args);
      setSubscribeFn(subscribe);
    },
  };
}

/** The size, in characters, of the request that a subscription keeps. */
function lengthOf(params: unknown): number {
  try {
    return JSON.stringify(params).length;
  } catch {
    // The params are nested too deeply for JSON.stringify.
    return MOST_BYTES;
  }
}

/**
 * Takes the places of a subscription over HTTP, which is a connection of its own. Returns a function that gives them back.
 * Throws TOO_MANY_SUBSCRIPTIONS.
 */
function takePlaces(places: Places, args: ExecutionArgs): () => void {
  const { contextValue, document } = args;
  const { caller, sender, params } = contextValue as Context & { params: unknown };
  const taken: (() => void)[] = [];
  const leave = (): void => {
    for (const one of taken) one();
  };
  try {
    taken.push(places.ofAddress(sender.ipAddress));
    taken.push(places.ofKey(caller));
    taken.push(places.ofSubscription(caller, { bytes: lengthOf(params), document, selection: selectionOf(args) }));
    return leave;
  } catch (error) {
    leave();
    throw error;
  }
}

/**
 * Takes the places of each subscription over HTTP. Ends the subscription when its request ends, its caller's key is revoked or
 * its token expires. A WebSocket is closed as a whole (transport/websocket).
 */
function useLifetimes(streams: OpenStreams, places: Places): Plugin<Door, Context> {
  return {
    onSubscribe({ args }) {
      const { caller, request } = args.contextValue;
      const leave = takePlaces(places, args);
      return {
        onSubscribeResult({ result }) {
          if (!(Symbol.asyncIterator in result)) {
            leave();
            return undefined;
          }
          const iterator = result as AsyncGenerator;
          const end = (): void => void iterator.return(undefined);
          const close = streams.open(caller, end);
          const forget = (): void => {
            close();
            leave();
          };
          // If the client left while the subscription opened, nobody reads the answer, and onEnd would never run.
          const giveBack = (): void => {
            end();
            forget();
          };
          if (request.signal.aborted) giveBack();
          else request.signal.addEventListener('abort', giveBack, { once: true });
          return { onEnd: forget };
        },
      };
    },
  };
}

/** Refuses a subscription whose client accepts no stream, and ends it. */
function useStreamsOnly(): Plugin<Door, Context> {
  return {
    onResultProcess(processing) {
      const { result } = processing;
      if (processing.resultProcessor || !(Symbol.asyncIterator in result)) return;
      void (result as AsyncIterableIterator<unknown>).return?.();
      const message = 'The answer of a subscription is a stream. Send Accept: text/event-stream, or use a WebSocket.';
      const http = { status: 406, spec: false };
      processing.setResult({ errors: [new GraphQLError(message, { extensions: { code: 'BAD_USER_INPUT', http } })] });
      processing.setResultProcessor(processRegularResult as never, 'application/json');
    },
  };
}

/** Writes an answer that the transport already has, and does not run its operation again. */
function useAnswerThatIsThere(): Plugin<Door, Context> {
  return {
    onParams({ context, setResult }) {
      const { result } = context as Partial<Door>;
      if (result) setResult(result);
    },
  };
}

type Mask = <Result extends ExecutionResult>(result: Result, context: Pick<Context, 'requestId'>) => Result;

/** Masks the errors of a result for the caller. The log gets the full errors, with the id of the request. */
function createMask(observe: Observer, masked: WeakSet<object>): Mask {
  return (result, { requestId }) => {
    if (!result.errors) return result;
    const errors = result.errors.map((error) => maskError(error, requestId, observe));
    for (const error of errors) masked.add(error);
    return { ...result, errors };
  };
}

/** An operation as a client sends it. */
export interface OperationParams {
  readonly query: string;
  readonly operationName?: string | null | undefined;
  readonly variables?: Record<string, unknown> | null | undefined;
}

/** The GraphQL engine for all transports: schema, context, limits and masked errors. */
export interface GraphQLEngine {
  /** GraphQL over HTTP in all its forms. */
  readonly http: YogaServerInstance<Door, Context>;
  /**
   * Parses and validates an operation. Returns the arguments for its execution, or its validation errors. Throws if it does
   * not parse.
   */
  open(
    door: Door,
    params: OperationParams,
  ):
    | { readonly errors: readonly GraphQLError[]; readonly args?: never }
    | { readonly errors: null; readonly args: ExecutionArgs };
  readonly execute: Execute;
  /** Executes the messages of subscriptions, over HTTP and over WebSockets. */
  readonly share: ShareExecution;
}

/**
 * Makes the engine. `streams` ends subscriptions over HTTP when their key is revoked or their token expires. `observe` gets
 * the full errors.
 */
export function createGraphQL(deps: {
  schema: GraphQLSchema;
  services: Services;
  streams: OpenStreams;
  places: Places;
  readers: Readers;
  largeSends: LargeSends;
  deflater: Deflater;
  observe: Observer;
  /** The interval, in milliseconds, at which a silent event stream gets a comment. */
  commentEvery?: number | undefined;
}): GraphQLEngine {
  const { schema, services, streams, places, largeSends, deflater, readers, observe, commentEvery } = deps;
  const masked = new WeakSet<object>();
  const mask = createMask(observe, masked);
  const execute = createExecute(mask);
  const documents: KnownDocuments = new LRUCache({
    maxSize: MOST_KNOWN_CHARACTERS,
    sizeCalculation: (_document, text) => Math.max(1, text.length),
  });
  /**
   * A new context for each operation and for each message of a subscription, because the limit of what one may read is its
   * own.
   */
  const contextOf = ({ caller, sender, requestId, charge }: Door, reads?: object): Context => ({
    caller,
    sender,
    requestId,
    services: { ...services, database: readers(caller) },
    charge: (rows) => charge(pointsOf(rows)),
    // Here, and not in a copy of the result: `{ ...contextOf(like), reads }` takes twenty times as long, for each message.
    reads,
  });
  const share = createSharedExecutions(contextOf, new MessageTurns(EXECUTING));
  const http = createYoga<Door, Context>({
    schema,
    context: (door) => contextOf(door),
    plugins: [
      useChecks(execute, createSubscribe(share, mask, largeSends, deflater), documents),
      useLifetimes(streams, places),
      useStreamsOnly(),
      useAnswerThatIsThere(),
      useEventStreams(commentEvery),
    ],
    // Errors outside of an operation, e.g. of a document that does not parse. Yoga does not say which request they belong to.
    maskedErrors: {
      maskError: (error) => (masked.has(error as object) ? (error as Error) : maskError(error, null, observe)),
    },
    maxRequestBodySize: MOST_BYTES,
    cors: CORS,
    graphiql: false,
    landingPage: false,
    multipart: false,
    batching: false,
    logging: false,
    // `documents` is the cache of documents.
    parserAndValidationCache: false,
  });
  function read(door: Door, params: OperationParams): { document: DocumentNode; errors: readonly GraphQLError[] } {
    // The engine stores its data of an operation by `params`.
    const enveloped = http.getEnveloped({ ...door, params } as Door);
    const document = enveloped.parse(params.query) as DocumentNode;
    return { document, errors: enveloped.validate(enveloped.schema, document) as readonly GraphQLError[] };
  }

  return {
    http,
    execute,
    share,
    open(door, params) {
      let document = documents.get(params.query);
      if (!document) {
        const found = read(door, params);
        if (found.errors.length > 0) return { errors: found.errors };
        ({ document } = found);
      }
      const { operationName = null, variables } = params;
      return {
        errors: null,
        args: { schema, document, operationName, variableValues: variables ?? {}, contextValue: contextOf(door) },
      };
    },
  };
}
