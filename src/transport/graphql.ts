import {
  createSourceEventStream,
  execute as interpret,
  getOperationAST,
  GraphQLError,
  Lexer,
  parse,
  TokenKind,
  type DocumentNode,
  type ExecutionArgs,
  type ExecutionResult,
  type GraphQLSchema,
} from 'graphql';
import { createYoga, mapAsyncIterator, processRegularResult, type Plugin, type YogaServerInstance } from 'graphql-yoga';
import { LRUCache } from 'lru-cache';
import type { Caller } from '../domain/access.js';
import type { Sender } from '../domain/sender.js';
import { AppError } from '../errors.js';
import type { Observer } from '../observation.js';
import type { Context, Services } from '../schema/context.js';
import { createRunOperation } from './compiled-operations.js';
import { useEventStreams } from './event-stream.js';
import { pointsOf } from '../services/rate-limits.js';
import { maskError } from './mask-error.js';
import type { OpenStreams } from './open-streams.js';
import { checkNesting, checkQuerySize, QUERY_LIMITS } from './query-size.js';

/** What a door hands over with each operation: who asks, already authenticated. */
export interface Door {
  readonly caller: Caller;
  readonly sender: Sender;
  readonly requestId: string;
  /** Takes the points of an operation off the caller's limit. Throws RATE_LIMITED. */
  readonly charge: (points: number) => Promise<void>;
  /** An answer that is there already, and has only to be put into words. */
  readonly result?: ExecutionResult | null;
}

/** 1,000 events of 8 kB; anything larger is better sent in several requests. */
export const MOST_BYTES = 8 * 1024 * 1024;

export const bodyTooLarge = (): AppError =>
  new AppError(
    'PAYLOAD_TOO_LARGE',
    `The body is larger than ${MOST_BYTES} bytes; send the events in several requests.`,
  );

/** For pages of any origin, with a credential of their own; no cookie is ever looked at. */
const CORS = {
  origin: '*',
  credentials: false,
  methods: ['GET', 'POST'],
  exposedHeaders: ['X-Request-Id', 'Retry-After', 'RateLimit', 'RateLimit-Policy'],
};

/** The same, on an answer. */
export const CORS_HEADERS = {
  'Access-Control-Allow-Origin': CORS.origin,
  'Access-Control-Expose-Headers': CORS.exposedHeaders.join(', '),
};

function withCode(error: GraphQLError, code: string): void {
  (error.extensions as Record<string, unknown>)['code'] ??= code;
}

/** Whether the parser has stopped at the first token that is too many, rather than at one that is out of place. */
function isTooLong({ source, positions }: GraphQLError): boolean {
  if (!source) return false;
  const lexer = new Lexer(source);
  try {
    for (let known = 0; known < QUERY_LIMITS.tokens; known += 1) lexer.advance();
    const { kind, start } = lexer.advance();
    return kind !== TokenKind.EOF && start === positions?.[0];
  } catch {
    // What is no token comes first.
    return false;
  }
}

function parseWithin(source: string, options?: object): DocumentNode {
  try {
    return parse(source, { ...options, maxTokens: QUERY_LIMITS.tokens });
  } catch (error) {
    // The parser recurses, and has no more stack.
    if (error instanceof RangeError) throw new AppError('QUERY_TOO_DEEP', 'The document nests too deep.');
    if (error instanceof GraphQLError && isTooLong(error)) {
      const { tokens } = QUERY_LIMITS;
      throw new AppError('QUERY_TOO_COMPLEX', `The document has more than the ${tokens} tokens that are allowed.`);
    }
    throw error;
  }
}

/** Holds an operation to the limits, and takes it off the caller's. Answers what it costs. */
export async function admitOperation(args: ExecutionArgs): Promise<number> {
  const operation = getOperationAST(args.document, args.operationName);
  if (!operation) return 0;
  const cost = checkQuerySize(args.schema, args.document, operation, args.variableValues ?? {});
  await (args.contextValue as DoorContext).charge(pointsOf(cost));
  return cost;
}

/** Runs a query or mutation that is valid; what goes wrong is told as callers may hear it. Throws where a limit does not let it. */
type Execute = (args: ExecutionArgs) => Promise<ExecutionResult>;

function createExecute(mask: Mask): Execute {
  const run = createRunOperation();
  return async (args) => {
    const requested = await admitOperation(args);
    const answer = mask(await run(args), args.contextValue as Context);
    return { ...answer, extensions: { ...answer.extensions, cost: { requested, limit: QUERY_LIMITS.rows } } };
  };
}

/**
 * Makes of an event of a subscription the message that tells it. Each has a context of its own: what it reads it reads as
 * it is now, and nothing is kept of it for the next.
 */
export function executeEvent(args: ExecutionArgs, event: unknown): Promise<ExecutionResult> | ExecutionResult {
  return interpret({ ...args, rootValue: event, contextValue: { ...(args.contextValue as Context) } });
}

/** A subscription over HTTP. What its source fails with is its last message: a stream has no other way to say it. */
async function subscribe(args: ExecutionArgs): Promise<AsyncIterableIterator<ExecutionResult> | ExecutionResult> {
  const opened = await createSourceEventStream(args);
  if (!(Symbol.asyncIterator in opened)) return opened;
  return mapAsyncIterator(
    opened as AsyncIterableIterator<unknown>,
    (event) => executeEvent(args, event),
    (error: Error) => ({ errors: [new GraphQLError(error.message, { originalError: error })] }),
  );
}

/** Stable codes for what is wrong with a document; and nothing larger than the limits is run. */
function useChecks(execute: Execute): Plugin<Door, Context> {
  return {
    onParse({ setParseFn }) {
      setParseFn(((source: string, options?: object) => {
        const document = parseWithin(source, options);
        checkNesting(document);
        return document;
      }) as never);
      return ({ result }) => {
        if (result instanceof GraphQLError) withCode(result, 'GRAPHQL_PARSE_FAILED');
      };
    },
    onValidate() {
      return ({ result }) => {
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

/** A subscription over HTTP ends with the caller's right to it, and with the request; a WebSocket is closed whole, elsewhere. */
function useLifetimes(streams: OpenStreams): Plugin<Door, Context> {
  return {
    onSubscribe({ args }) {
      const { caller, request } = args.contextValue;
      return {
        onSubscribeResult({ result }) {
          if (!(Symbol.asyncIterator in result)) return undefined;
          const iterator = result as AsyncGenerator;
          const end = (): void => void iterator.return(undefined);
          const forget = streams.open(caller, end);
          // Of a client that went while this was opened nobody reads the answer, and so nobody would give it back.
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

/** A subscription whose client takes no stream is refused, and what it has opened given back. */
function useStreamsOnly(): Plugin<Door, Context> {
  return {
    onResultProcess(processing) {
      const { result } = processing;
      if (processing.resultProcessor || !(Symbol.asyncIterator in result)) return;
      void (result as AsyncIterableIterator<unknown>).return?.();
      const message = 'A subscription is answered as a stream: send Accept: text/event-stream, or use a WebSocket.';
      const http = { status: 406, spec: false };
      processing.setResult({ errors: [new GraphQLError(message, { extensions: { code: 'BAD_USER_INPUT', http } })] });
      processing.setResultProcessor(processRegularResult as never, 'application/json');
    },
  };
}

/** Puts an answer that a door has already into words, instead of running its operation again. */
function useAnswerThatIsThere(): Plugin<Door, Context> {
  return {
    onParams({ context, setResult }) {
      const { result } = context as Partial<Door>;
      if (result) setResult(result);
    },
  };
}

type Mask = <Result extends ExecutionResult>(result: Result, context: Pick<Context, 'requestId'>) => Result;

/** Tells callers of errors what they can use, and the log the rest, with the request's id. */
function createMask(observe: Observer, masked: WeakSet<object>): Mask {
  return (result, { requestId }) => {
    if (!result.errors) return result;
    const errors = result.errors.map((error) => maskError(error, requestId, observe));
    for (const error of errors) masked.add(error);
    return { ...result, errors };
  };
}

/** What a subscription over HTTP fails with. */
function useMask(mask: Mask): Plugin<Door, Context> {
  return {
    onSubscribe: ({ args }) => ({
      onSubscribeResult: ({ result, setResult }) => {
        if (!(Symbol.asyncIterator in result)) setResult(mask(result as ExecutionResult, args.contextValue));
        return {
          onNext: (next) => {
            if (next.result) next.setResult(mask(next.result, args.contextValue));
          },
        };
      },
    }),
  };
}

/** A request's context, and how it is charged. */
type DoorContext = Context & Pick<Door, 'charge'>;

/** An operation as a client sends it. */
export interface OperationParams {
  readonly query: string;
  readonly operationName?: string | null | undefined;
  readonly variables?: Record<string, unknown> | null | undefined;
}

/** The GraphQL engine behind every door: schema, context, limits, and errors that tell callers what they can use. */
export interface GraphQLEngine {
  /** GraphQL over HTTP, whatever the form. */
  readonly http: YogaServerInstance<Door, Context>;
  /** Parses and validates an operation: what it runs with, or what is wrong with it. Throws where it does not parse. */
  open(
    door: Door,
    params: OperationParams,
  ): { readonly errors: readonly GraphQLError[] } | { readonly errors: null; readonly args: ExecutionArgs };
  readonly execute: Execute;
}

/** Characters of known documents at most; each is some 50 bytes of document. */
const MOST_KNOWN_CHARACTERS = 1_000_000;

/** Makes the engine. `streams` ends subscriptions over HTTP with their callers' rights; `observe` hears what callers do not. */
export function createGraphQL(deps: {
  schema: GraphQLSchema;
  services: Services;
  streams: OpenStreams;
  observe: Observer;
  /** How often a stream of events that is silent is sent a comment. Milliseconds. */
  commentEvery?: number | undefined;
}): GraphQLEngine {
  const { schema, services, streams, observe, commentEvery } = deps;
  const masked = new WeakSet<object>();
  const mask = createMask(observe, masked);
  const execute = createExecute(mask);
  const contextOf = ({ caller, sender, requestId, charge }: Door): DoorContext => ({
    caller,
    sender,
    requestId,
    services,
    charge,
  });
  const http = createYoga<Door, Context>({
    schema,
    context: contextOf,
    plugins: [
      useChecks(execute),
      useLifetimes(streams),
      useStreamsOnly(),
      useAnswerThatIsThere(),
      useMask(mask),
      useEventStreams(commentEvery),
    ],
    // What no operation is to blame for: documents that do not parse, and the like.
    maskedErrors: {
      maskError: (error) => (masked.has(error as object) ? (error as Error) : maskError(error, 'none', observe)),
    },
    maxRequestBodySize: MOST_BYTES,
    cors: CORS,
    graphiql: false,
    landingPage: false,
    multipart: false,
    batching: false,
    logging: false,
    // What comes again is known below; the rest is not worth keeping.
    parserAndValidationCache: false,
  });
  /** Documents that are valid, by their text, so that each is parsed and checked once. */
  const documents = new LRUCache<string, DocumentNode>({
    maxSize: MOST_KNOWN_CHARACTERS,
    sizeCalculation: (_document, text) => text.length,
  });

  function read(door: Door, params: OperationParams): { document: DocumentNode; errors: readonly GraphQLError[] } {
    // The engine keeps its notes on an operation by `params`.
    const enveloped = http.getEnveloped({ ...door, params } as Door);
    const document = enveloped.parse(params.query) as DocumentNode;
    return { document, errors: enveloped.validate(enveloped.schema, document) as readonly GraphQLError[] };
  }

  return {
    http,
    execute,
    open(door, params) {
      let document = documents.get(params.query);
      if (!document) {
        const found = read(door, params);
        if (found.errors.length > 0) return { errors: found.errors };
        ({ document } = found);
        documents.set(params.query, document);
      }
      const { operationName = null, variables } = params;
      return {
        errors: null,
        args: { schema, document, operationName, variableValues: variables ?? {}, contextValue: contextOf(door) },
      };
    },
  };
}
